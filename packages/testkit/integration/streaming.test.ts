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

it("leaves nothing in the object stores", async () => {
  await until("the objects to go", async () => (await cluster.status()).nodes.every((n) => n.state === "DEAD" || n.objectStore.usedBytes === 0));
  expect(await cluster.stop()).toBe(0);
});
