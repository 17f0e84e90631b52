// Streaming generators against real nodes; what follows from the death of a node in mid-stream.
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { describeChecks } from "./support/checks.js";
import { killQuietly, TestCluster } from "./support/cluster.js";
import { driverFile } from "./support/program.js";
import { until } from "./support/until.js";

let cluster: TestCluster;
beforeAll(async () => {
  cluster = await TestCluster.start({ cpus: 2 });
});
afterAll(() => cluster?.destroy());

describeChecks("api-streaming.mjs", () => cluster);

it("a stream's node dies: items that went with it are made again, the rest follows in order", async () => {
  await cluster.addNode({ name: "far", cpus: 2 });
  const gate = join(cluster.dir, "gate");
  const driver = cluster.driver(driverFile("stream-survivor.mjs"), [gate]);
  expect(await driver.said("taken")).toEqual({ onFar: true });
  killQuietly((await cluster.node("far")).pid);
  await until("the node's death to be known", async () => (await cluster.status()).nodes.some((n) => n.nodeName === "far" && n.state === "DEAD"));
  writeFileSync(gate, "");
  expect(await driver.said("rest")).toEqual({ values: [1, 2, 3, 4, 5, 6], again: [1, 2, 3] });
  expect((await driver.result).code).toBe(0);
});

it("a chain of streams over nodes keeps its order; streams of one actor take turns; those that fail leave nothing when they are forgotten", async () => {
  await cluster.addNode({ name: "third", cpus: 1 });
  await cluster.addNode({ name: "fourth", cpus: 1 });
  const end = join(cluster.dir, "end-chain");
  const driver = cluster.driver(driverFile("stream-chain.mjs"), [end]);
  const values = Array.from({ length: 12 }, (_, i) => 3000 + i);
  expect(await driver.said("chain")).toEqual({ values, ways: ["0 1 2 0"], nodes: 3 });
  const items = (name: string): string[] => Array.from({ length: 5 }, (_, i) => `${name}${i}`);
  expect(await driver.said("concurrent")).toEqual([items("a"), items("b")]);
  expect(await driver.said("forgotten")).toMatchObject({
    throws: [5, "TaskError"],
    dies: [6, "none"],
    "dies for good": [expect.any(Number), "WorkerCrashedError"],
    ends: [6, "none"],
    "actor throws": [5, "TaskError"],
    "actor dies": [expect.any(Number), "ActorDiedError"],
    "actor ends": [6, "none"],
  });
  interface Memory {
    objects: { references: { kind: string }[] }[];
    nodes: { usedBytes: number }[];
  }
  let last: Memory | undefined;
  await until(
    "every item to go while the driver lives",
    async () => {
      last = JSON.parse((await cluster.tray("memory", "--collect", "-o", "json")).stdout) as Memory;
      return last.nodes.every((n) => n.usedBytes === 0) && last.objects.every((o) => o.references.every((r) => r.kind === "actor-handle"));
    },
    { seen: () => last },
  );
  writeFileSync(end, "");
  expect((await driver.result).code).toBe(0);
});

it("a node dies after streams on it have ended: items are made again though nobody holds the generators, or fail with words", async () => {
  await cluster.addNode({ name: "doomed", cpus: 2 });
  const gate = join(cluster.dir, "gate-doomed");
  const driver = cluster.driver(driverFile("stream-lost.mjs"), [gate]);
  expect(await driver.said("taken")).toEqual({ plain: 5, failing: 5, unretried: 3 });
  const { nodeId, pid } = await cluster.node("doomed");
  killQuietly(pid);
  await until("the node's death to be known", async () => (await cluster.status()).nodes.some((n) => n.nodeId === nodeId && n.state === "DEAD"));
  writeFileSync(gate, "");
  const good = (i: number): unknown => ({ i, isNew: true, right: true });
  expect(await driver.said("again")).toEqual([1, 2, 3, 4, 5].map(good));
  expect(await driver.said("sums")).toEqual([1, 2, 3, 4, 5].map((i) => i * 50_000));
  const thrown = { error: "TaskError", code: "TASK_ERROR", message: expect.stringContaining("not again: 3"), cause: "not again: 3" };
  expect(await driver.said("failed")).toEqual([good(1), good(2), thrown, thrown, thrown]);
  const lost = {
    error: "ObjectReconstructionFailedError",
    code: "OBJECT_RECONSTRUCTION_FAILED",
    message: expect.stringContaining("may not run twice (maxRetries is 0)"),
  };
  expect(await driver.said("unretried")).toEqual([lost, lost, lost]);
  expect((await driver.result).code).toBe(0);
});

it("leaves nothing in the object stores", async () => {
  await until("the objects to go", async () => (await cluster.status()).nodes.every((n) => n.state === "DEAD" || n.objectStore.usedBytes === 0));
  expect(await cluster.stop()).toBe(0);
});
