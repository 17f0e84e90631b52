// What a driver is to its machine: module systems, TypeScript, its output, its end, and the cluster that it may have brought up itself.
import { TestCluster } from "./support/cluster.js";
import { driverFile, lastSaid } from "./support/program.js";
import { markedProcesses, sharedMemoryOf } from "./support/system.js";
import { until } from "./support/until.js";

// No cluster is started here: the drivers do that.
let cluster: TestCluster;
beforeAll(() => {
  cluster = TestCluster.empty();
});
afterAll(() => cluster?.destroy());

async function expectNothingLeft(): Promise<void> {
  await until("the driver's cluster to end", () => markedProcesses(cluster.mark).length === 0 && sharedMemoryOf([cluster.dataDir]).length === 0, {
    timeoutMs: 8_000,
    seen: () => [markedProcesses(cluster.mark), sharedMemoryOf([cluster.dataDir])],
  });
}

it.each(["shutdown", "end"])("a local cluster ends with its driver (%s); ES module and CommonJS are one instance", async (how) => {
  const result = await cluster.driver(driverFile("local.mjs"), [how]).result;
  expect({ code: result.code, signal: result.signal }).toEqual({ code: 0, signal: null });
  expect(lastSaid(result.stdout, "instances")).toEqual({ same: true, initialized: true });
  expect(lastSaid(result.stdout, "value")).toBe(42);
  expect(result.durationMs).toBeLessThan(15_000);
  await expectNothingLeft();
});

it("what tasks write reaches the driver, stream by stream; a local cluster ends with its driver though that is killed", async () => {
  const driver = cluster.driver(driverFile("local.mjs"), ["hang"]);
  await driver.stdoutMatch(/^\(chatty pid=\d+, node=local\) hello from 41$/m);
  await driver.stderrMatch(/^\(chatty pid=\d+, node=local\) and a warning$/m);
  await driver.said("worker");
  expect(markedProcesses(cluster.mark).length).toBeGreaterThan(3);
  driver.kill("SIGKILL");
  expect((await driver.result).signal).toBe("SIGKILL");
  await expectNothingLeft();
});

it("a CommonJS driver connects by itself and ends by itself", async () => {
  const result = await cluster.driver(driverFile("common.cjs")).result;
  expect({ code: result.code, stderr: result.stderr }).toEqual({ code: 0, stderr: "" });
  expect(lastSaid(result.stdout, "value")).toEqual([42, "new", true]);
  await expectNothingLeft();
});

it("tray run runs a TypeScript driver, with its arguments", async () => {
  const result = await cluster.tray("run", driverFile("typed.ts"), "--own-flag", "x");
  expect({ code: result.code, stderr: result.stderr }).toEqual({ code: 0, stderr: "" });
  expect(lastSaid(result.stdout, "value")).toEqual(["274 K", 300, ["--own-flag", "x"], "typed trouble"]);
  await expectNothingLeft();
});
