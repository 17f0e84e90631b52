import { Heartbeat, NodeInfo, NodeState } from "@tray/protocol";
import { NodesCore } from "./core.js";

const limits = { historyMax: 2, healthCheckTimeoutMs: 5000, healthCheckPeriodMs: 500, rejoinGraceMs: 2000 };
const info = (nodeId: string): NodeInfo => NodeInfo.create({ nodeId, raylet: `${nodeId}:1` });
const beat = (nodeId: string): Heartbeat => Heartbeat.create({ nodeId });

function tick(core: NodesCore, fromMs: number, toMs: number): string[] {
  const silent: string[] = [];
  for (let now = fromMs; now <= toMs; now += 500) silent.push(...core.silent(now).map((s) => s.nodeId));
  return silent;
}

describe("NodesCore", () => {
  it("judges silence by heartbeats", () => {
    const core = new NodesCore(limits);
    core.register(info("a"), 0, 0);
    core.register(info("b"), 0, 0);
    expect(tick(core, 500, 4500)).toEqual([]);
    expect(core.heartbeat(beat("b"), 4600, 0)).toBe("taken");
    expect(tick(core, 5000, 5500)).toEqual(["a"]);
  });

  it("does not count time in which it did not run itself", () => {
    const core = new NodesCore(limits);
    core.register(info("a"), 0, 0);
    expect(tick(core, 500, 1000)).toEqual([]);
    expect(core.silent(61_000)).toEqual([]); // stopped for a minute, with its machine
    expect(tick(core, 61_500, 64_500)).toEqual([]);
    expect(tick(core, 65_000, 65_000)).toEqual(["a"]); // 1 s before, 4.5 s after
  });

  it("keeps death final, and forgets the oldest dead", () => {
    const core = new NodesCore(limits);
    for (const id of ["a", "b", "c"]) {
      core.register(info(id), 0, 0);
      expect(core.bury(id, "gone", 7)?.info).toMatchObject({ state: NodeState.DEAD, deathReason: "gone", endWallMs: 7 });
      expect(core.bury(id, "again", 8)).toBeUndefined();
    }
    expect([core.get("a"), core.isDead("c")]).toEqual([undefined, true]);
    expect([core.register(info("c"), 0, 0), core.heartbeat(beat("c"), 0, 0), core.heartbeat(beat("z"), 0, 0)]).toEqual([
      undefined,
      "dead",
      "unknown",
    ]);
  });

  it("waits longer for those that were alive before a restart", () => {
    const core = new NodesCore(limits);
    core.replay(
      [
        { ...info("a"), state: NodeState.ALIVE },
        { ...info("d"), state: NodeState.DEAD },
      ],
      0,
    );
    expect(tick(core, 500, 7000)).toEqual([]);
    expect(tick(core, 7500, 7500)).toEqual(["a"]);
    expect(core.register(info("a"), 8000, 0)?.changed).toBe(false); // the same node: nothing to store
    expect(core.register({ ...info("a"), raylet: "a:2" }, 8000, 0)?.changed).toBe(true);
  });
});
