// Objects that do not fit into the store: they go to disk and come back, from there to other nodes, and away when nobody needs them.
import { existsSync, readdirSync } from "node:fs";
import { join } from "node:path";
import { killQuietly, TestCluster } from "./support/cluster.js";
import { driverFile } from "./support/program.js";
import { isAlive } from "./support/system.js";
import { until } from "./support/until.js";

const MiB = 2 ** 20;
let cluster: TestCluster;
afterEach(() => cluster?.destroy());

const databases = (dir: string): string[] =>
  existsSync(dir) ? readdirSync(dir, { recursive: true, encoding: "utf8" }).filter((name) => /spill.*data\.mdb$/.test(name)) : [];

it("ten times the object store goes through it with every byte in its place; tray status tells; nothing stays on disk", async () => {
  cluster = await TestCluster.start({ cpus: 2, objectStore: "64MiB" });
  const driver = cluster.driver(driverFile("spilling.mjs"), ["64"], { timeoutMs: 90_000 });
  const stored = await driver.said<number>("stored");
  const { objectStore } = await until("the node to report what it spilled", async () => {
    const node = await cluster.node("head");
    return node.objectStore.spilledBytes + node.objectStore.usedBytes >= stored && node;
  });
  expect(objectStore.spilledBytes).toBeGreaterThan(stored - 64 * MiB);
  const { objects } = JSON.parse((await cluster.tray("memory", "-o", "json")).stdout) as { objects: { state: string }[] };
  expect(new Set(objects.map(({ state }) => state))).toContain("spilled");
  expect(objectStore.usedBytes).toBeLessThanOrEqual(64 * MiB);
  expect(await driver.said("shuffled")).toBe(true);
  expect(await driver.said("tasks")).toBe(true);
  expect((await driver.result).code).toBe(0);
  await until("everything to be deleted", async () => {
    const node = await cluster.node("head");
    return node.objectStore.spilledBytes === 0 && node.objectStore.usedBytes === 0;
  });
  await until("the files to go with what was in them", () => databases(cluster.sessionDir).length === 0);
  await cluster.stop();
}, 120_000);

it("what one node has spilled is read by another", async () => {
  cluster = await TestCluster.start({ cpus: 1, objectStore: "64MiB" }, { name: "far", cpus: 1, resources: { far: 1 }, objectStore: "64MiB" });
  const driver = cluster.driver(driverFile("spill-far.mjs"), [], { timeoutMs: 90_000 });
  expect(await driver.said("read")).toBe(true);
  expect((await driver.result).code).toBe(0);
  await cluster.stop();
}, 120_000);

it("a disk that takes nothing more is an OutOfDiskError; nothing is lost, and there is room again when objects are released", async () => {
  // Every disk is fuller than a hundredth.
  const full = ["--system-config", JSON.stringify({ localFsCapacityThreshold: 0.01 })];
  cluster = await TestCluster.start({ cpus: 1, objectStore: "64MiB", extra: full });
  const driver = cluster.driver(driverFile("spill-full.mjs"), [], { timeoutMs: 60_000 });
  expect(await driver.said("refused")).toEqual({
    stored: 6,
    code: "OUT_OF_DISK",
    isOutOfDisk: true,
    message: expect.stringMatching(/object store is full .* fuller than localFsCapacityThreshold \(1 %\)/),
  });
  expect(await driver.said("intact")).toBe(true);
  expect(await driver.said("resumed")).toBe(true);
  expect((await driver.result).code).toBe(0);
  await cluster.stop();
}, 120_000);

it("what a killed raylet had spilled is removed by the next one that spills to the same directory", async () => {
  const empty = TestCluster.empty();
  cluster = empty;
  const spillDir = join(empty.dir, "disk");
  const extra = ["--spill-dir", spillDir];
  await empty.startHead({ name: "head", cpus: 1, objectStore: "64MiB", extra });
  const driver = empty.driver(driverFile("spilling.mjs"), ["64"], { timeoutMs: 60_000 });
  await driver.said("stored");
  const { pid } = await empty.node("head");
  const [mine] = readdirSync(spillDir);
  expect(databases(spillDir).length).toBeGreaterThan(0);
  killQuietly(pid);
  await until("the raylet to end", () => !isAlive(pid));
  expect(readdirSync(spillDir)).toContain(mine);
  await empty.addNode({ name: "next", cpus: 1, objectStore: "64MiB", ownDataDir: true, extra });
  expect(readdirSync(spillDir)).not.toContain(mine);
  expect(databases(spillDir)).toEqual([]);
  await driver.result;
  await empty.stop();
  expect(readdirSync(spillDir)).toEqual([]);
}, 120_000);
