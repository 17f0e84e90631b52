// Who dies, who notices, what happens: the rows of semantics.md §6 that cluster.test.ts and jobs.test.ts do not show.
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { killQuietly, TestCluster } from "./support/cluster.js";
import { driverFile } from "./support/program.js";
import { isAlive } from "./support/system.js";
import { until } from "./support/until.js";

let cluster: TestCluster;
beforeAll(async () => {
  cluster = await TestCluster.start({ cpus: 2 }, { name: "far", cpus: 1 });
});
afterAll(() => cluster?.destroy());

it("a driver is killed: its workers, its actors, their children and its objects go, and its resources come back", async () => {
  const driver = cluster.driver(driverFile("held.mjs"));
  const held = await driver.said<{ actorPid: number; taskPid: number; grandchild: number }>("held");
  const pids = Object.values(held);
  expect(pids.map(isAlive)).toEqual([true, true, true]);
  driver.kill("SIGKILL");
  await until("what the driver held to end", () => !pids.some(isAlive), { timeoutMs: 8_000, seen: () => pids.map(isAlive) });
  const status = await until("its resources and its objects to be given back", async () => {
    const now = await cluster.status();
    return now.nodes.every((n) => n.resources.used["CPU"] === 0 && n.objectStore.usedBytes === 0) && now;
  });
  expect(status.demand).toEqual([]);
  const actors = JSON.parse((await cluster.tray("list", "actors", "--filter", "name=holder", "-o", "json")).stdout) as { items: { state: string }[] };
  expect(actors.items.map((a) => a.state)).toEqual(["DEAD"]);
});

it("the head's supervisor and GCS are killed: tray start --head continues the cluster, its raylets live on", async () => {
  const before = await cluster.status();
  killQuietly(before.supervisorPid);
  killQuietly(before.gcsPid);
  await until("both to end", () => !isAlive(before.supervisorPid) && !isAlive(before.gcsPid));
  const again = await cluster.startHead({ name: "head", cpus: 2 });
  expect(again.gcsAddress).toBe(before.gcsAddress);
  const after = await until("both nodes to be there again", async () => {
    const now = await cluster.status();
    return now.nodes.filter((n) => n.state === "ALIVE").length === 2 && now;
  });
  expect(after.sessionName).toBe(before.sessionName);
  const identity = (nodes: typeof after.nodes): unknown => nodes.map((n) => [n.nodeName, n.nodeId, n.pid]);
  expect(identity(after.nodes)).toEqual(identity(before.nodes));
});

it("an owner dies: what it owned is lost; an actor's node dies: the actor is made again elsewhere", async () => {
  const gate = join(cluster.dir, "gate");
  const driver = cluster.driver(driverFile("survivor.mjs"), [gate]);
  expect(await driver.said("ownerDied")).toEqual({ code: "OWNER_DIED", isLost: true, isOwnerDied: true });
  expect(await driver.said("alive")).toEqual({ onFar: true, calls: 1 });
  const far = await cluster.node("far");
  const there = (await cluster.workers()).filter((w) => w.nodeId === far.nodeId);
  killQuietly(far.pid);
  await until("its workers to end with it", () => there.every((w) => !isAlive(w.pid))); // until then the actor may still answer
  writeFileSync(gate, "");
  expect(await driver.said("restarted")).toEqual({ onHead: true, reconstructed: true, calls: 1 });
  expect((await driver.result).code).toBe(0);
});

it("a raylet falls silent without ending: the cluster gives it up, and it ends when it can be told", async () => {
  await cluster.addNode({ name: "silent", cpus: 1 });
  const { nodeId, pid } = await cluster.node("silent");
  process.kill(pid, "SIGSTOP");
  const dead = await until("the silent node to be given up", async () =>
    (await cluster.status()).nodes.find((n) => n.nodeId === nodeId && n.state === "DEAD"),
  );
  expect(dead.deathReason).toMatch(/heartbeat|silent|answer/);
  process.kill(pid, "SIGCONT");
  await until("its process to end", () => !isAlive(pid));
});

it("the head's raylet is killed: a driver attached to it is told, and tray stop still cleans up", async () => {
  const driver = cluster.driver(driverFile("held.mjs"));
  await driver.said("held");
  killQuietly((await cluster.node("head")).pid);
  const result = await driver.result;
  expect(result.code).not.toBe(0);
  expect(result.stderr).toMatch(/raylet|node/);
  expect(result.stderr).toMatch(/ConnectionError|CONNECTION/);
  await cluster.stop();
});
