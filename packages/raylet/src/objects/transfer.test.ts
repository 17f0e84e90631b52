import { Metrics, SeededRandom, SimClock, silentLogger, TrayError } from "@tray/common";
import { defaultSystemConfig } from "@tray/config";
import type { Bulk, BulkOutcome, BulkPull } from "@tray/object-store";
import type { NodeAddress } from "@tray/protocol";
import { transferSizes } from "../limits.js";
import type { RayletEnvironment } from "../node.js";
import { Transfer } from "./transfer.js";

const objectId = "b".repeat(40);
const address = (node: string): NodeAddress => ({ nodeId: node, raylet: `${node}:1`, bulk: `${node}:2` });
const byteAt = (at: number): number => (at * 7 + (at >>> 8)) & 0xff;

type Peer = (pull: BulkPull, give: (bytes: number) => Promise<void>) => Promise<BulkOutcome>;

/** Everything that was asked; answers come from the peers' scripts, in chunks of a millisecond each. */
class FakeBulk implements Bulk {
  readonly asked: BulkPull[] = [];
  readonly peers = new Map<string, Peer>();
  constructor(private readonly clock: SimClock) {}
  async pull(pull: BulkPull): Promise<BulkOutcome> {
    this.asked.push(pull);
    const peer = this.peers.get(pull.address);
    if (peer === undefined) throw new TrayError("UNAVAILABLE", `nobody at ${pull.address}`);
    let given = 0;
    return peer(pull, async (bytes) => {
      await new Promise<void>((resolve) => this.clock.after(1, resolve));
      pull.signal?.throwIfAborted();
      const offset = (pull.offset ?? 0) + given;
      for (let i = 0; i < bytes; i += 4096) pull.into[given + i] = byteAt(offset + i);
      given += bytes;
      pull.onBytes?.(bytes);
    });
  }
  async close(): Promise<void> {}
  from(node: string): BulkPull[] {
    return this.asked.filter((pull) => pull.address === address(node).bulk);
  }
}

const { stripeBytesMin } = transferSizes;
const chunk = 2 ** 20;
const serves: Peer = async (pull, give) => {
  for (let left = pull.into.byteLength; left > 0; left -= chunk) await give(Math.min(chunk, left));
  return { kind: "complete" };
};
const breaksAfter =
  (chunks: number): Peer =>
  async (_pull, give) => {
    for (let i = 0; i < chunks; i++) await give(chunk);
    throw new TrayError("UNAVAILABLE", "it died");
  };
const hasNot: Peer = () => Promise.reject(new TrayError("NOT_FOUND", "not here"));
const says =
  (nodeId: string, receiving = true): Peer =>
  (pull, give) =>
    pull.mayRedirect ? Promise.resolve({ kind: "elsewhere", nodeId, receiving }) : serves(pull, give);

function world(size: number, nodes: string[], dead: string[] = []) {
  const clock = new SimClock();
  const bulk = new FakeBulk(clock);
  const metrics = new Metrics();
  const env = {
    clock,
    metrics,
    logger: silentLogger,
    config: defaultSystemConfig,
    random: new SeededRandom(1),
    node: { nodeId: "self" },
  } as unknown as RayletEnvironment;
  const transfer = new Transfer(env, bulk, { isDead: (node) => dead.includes(node), bulkAddress: (node) => address(node).bulk }, transferSizes);
  const ranges = transfer.rangesFor(size, nodes.length);
  const into = new Uint8Array(size);
  const missing: string[] = [];
  const aborter = new AbortController();
  return {
    bulk,
    clock,
    missing,
    ranges,
    aborter,
    bring: () => clock.complete(transfer.bring(objectId, into, ranges, nodes.map(address), missing, aborter.signal), 120_000),
    isIntact: () => into.every((byte, at) => at % 4096 !== 0 || byte === byteAt(at)),
  };
}

describe("Transfer", () => {
  it("brings a small object from one node, whichever", async () => {
    const { bulk, bring, isIntact } = world(3 * chunk, ["a", "b"]);
    bulk.peers.set("a:2", serves).set("b:2", serves);
    expect(await bring()).toBe(true);
    expect(isIntact()).toBe(true);
    expect(bulk.asked).toHaveLength(1);
  });

  it("brings a large one from several nodes at a time", async () => {
    const { bulk, bring, isIntact, clock } = world(stripeBytesMin, ["a", "b", "c", "d"]);
    for (const node of ["a", "b", "c", "d"]) bulk.peers.set(`${node}:2`, serves);
    expect(await bring()).toBe(true);
    expect(isIntact()).toBe(true);
    expect(clock.now()).toBe(stripeBytesMin / chunk / 4); // a quarter of what one would take
  });

  it("T4: goes on where a source died, with what the others have", async () => {
    const { bulk, bring, isIntact } = world(8 * chunk, ["a", "b"]);
    bulk.peers.set("a:2", breaksAfter(3)).set("b:2", breaksAfter(3));
    let asked = 0;
    const dies = breaksAfter(3);
    const both: Peer = (pull, give) => (++asked <= 2 ? dies(pull, give) : serves(pull, give));
    bulk.peers.set("a:2", both).set("b:2", both);
    expect(await bring()).toBe(true);
    expect(isIntact()).toBe(true);
    expect(bulk.asked.map(({ offset }) => (offset ?? 0) / chunk)).toEqual([0, 3, 6]);
  });

  it("a stripe's source that dies leaves its part to the others", async () => {
    const { bulk, bring, isIntact, missing } = world(stripeBytesMin, ["a", "b"], ["a"]);
    bulk.peers.set("a:2", breaksAfter(1)).set("b:2", serves);
    expect(await bring()).toBe(true);
    expect(isIntact()).toBe(true);
    expect(missing).toEqual(["a"]);
  });

  it("T2: names those that do not have it, waits for those that are out of reach, and gives up on them in the end", async () => {
    const { bulk, bring, missing, clock } = world(chunk, ["a", "b", "c"], ["c"]);
    bulk.peers.set("a:2", hasNot);
    expect(await bring()).toBe(false);
    expect(missing.sort()).toEqual(["a", "b", "c"]);
    expect(clock.now()).toBeGreaterThanOrEqual(defaultSystemConfig.objectPullTimeout);
    expect(bulk.from("a")).toHaveLength(1);
    expect(bulk.from("b").length).toBeGreaterThan(3);
    expect(bulk.from("c")).toHaveLength(1);
  });

  it("T2: a source that breaks off after minutes of sending is not given up for the time before", async () => {
    const { bulk, bring, missing, clock } = world(4 * chunk, ["a"]);
    const { objectPullTimeout } = defaultSystemConfig;
    let asked = 0;
    bulk.peers.set("a:2", async (pull, give) => {
      if (++asked > 1) return serves(pull, give);
      await new Promise<void>((resolve) => clock.after(2 * objectPullTimeout, resolve));
      return breaksAfter(1)(pull, give);
    });
    expect(await bring()).toBe(true);
    expect([missing, asked]).toEqual([[], 2]);
  });

  it("T3: after a failure it begins at a complete copy, and does not wait for one that is itself receiving", async () => {
    const { bulk, bring } = world(8 * chunk, ["a", "b"]);
    const [first, second] = [says("x"), breaksAfter(0)];
    let asked = 0;
    const either: Peer = (pull, give) => (++asked === 1 ? second : first)(pull, give);
    bulk.peers.set("a:2", either).set("b:2", either).set("x:2", serves);
    expect(await bring()).toBe(true);
    expect([asked, bulk.from("x")]).toEqual([2, []]);
  });

  it("takes parts only from one that is being sent the object", async () => {
    const { bulk, bring } = world(8 * chunk, ["a"]);
    bulk.peers.set("a:2", says("b", false)).set("b:2", serves);
    expect(await bring()).toBe(true);
    expect(bulk.asked.map(({ takesPartial }) => takesPartial)).toEqual([false, false]);
  });

  it("follows where a busy source sends it, and on from there", async () => {
    const { bulk, bring, isIntact } = world(8 * chunk, ["a"]);
    bulk.peers.set("a:2", says("b")).set("b:2", says("c")).set("c:2", serves);
    expect(await bring()).toBe(true);
    expect(isIntact()).toBe(true);
    expect(bulk.asked.map(({ address: at, takesPartial }) => [at, takesPartial])).toEqual([
      ["a:2", false],
      ["b:2", true],
      ["c:2", true],
    ]);
  });

  it("insists at its source when the one it was sent to cannot help, and keeps what it had", async () => {
    const { bulk, bring, isIntact, missing } = world(8 * chunk, ["a"]);
    bulk.peers.set("a:2", says("b")).set("b:2", breaksAfter(2));
    expect(await bring()).toBe(true);
    expect(isIntact()).toBe(true);
    expect(bulk.asked.map(({ address: at, offset, mayRedirect }) => [at, (offset ?? 0) / chunk, mayRedirect])).toEqual([
      ["a:2", 0, true],
      ["b:2", 0, true],
      ["a:2", 2, false],
    ]);
    expect(missing).toEqual([]);
  });

  it("T3: is not sent elsewhere in the middle, nor with several sources", async () => {
    const { bulk, bring } = world(stripeBytesMin, ["a", "b"]);
    bulk.peers.set("a:2", says("x")).set("b:2", says("x"));
    expect(await bring()).toBe(true);
    expect(bulk.from("x")).toEqual([]);
  });

  it("T1: aborted, it rejects with the reason and asks nobody else", async () => {
    const { bulk, bring, aborter, clock } = world(8 * chunk, ["a", "b"]);
    bulk.peers.set("a:2", serves).set("b:2", serves);
    const reason = new Error("nobody wants it");
    clock.after(3.5, () => aborter.abort(reason));
    await expect(bring()).rejects.toBe(reason);
    expect(bulk.asked).toHaveLength(1);
  });
});
