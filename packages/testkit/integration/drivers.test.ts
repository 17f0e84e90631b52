// What a driver is to its machine: module systems, TypeScript, its output, its end, and the cluster that it may have brought up itself.
import { copyFileSync } from "node:fs";
import { join } from "node:path";
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
  expect(lastSaid(result.stdout, "value")).toEqual([42, "new", true, [41, 42]]);
  await expectNothingLeft();
});

it("tray run runs a TypeScript driver, with its arguments", async () => {
  const result = await cluster.tray("run", driverFile("typed.ts"), "--own-flag", "x");
  expect({ code: result.code, stderr: result.stderr }).toEqual({ code: 0, stderr: "" });
  expect(lastSaid(result.stdout, "value")).toEqual(["274 K", 300, ["--own-flag", "x"], "typed trouble", [10, 2, 5], "in another module"]);
  await expectNothingLeft();
});

describe("a TypeScript driver outside of any package", () => {
  const run = (name: string, ...args: string[]): ReturnType<TestCluster["tray"]> => {
    const file = join(cluster.dir, name);
    copyFileSync(driverFile(name), file);
    return cluster.tray("run", file, ...args);
  };

  it("that becomes CommonJS can use tray inside of tasks; lines are right in code that is a module there as well", async () => {
    copyFileSync(driverFile("nested-part.ts"), join(cluster.dir, "nested-part.ts"));
    const result = await run("nested.ts");
    expect({ code: result.code, stderr: result.stderr }).toEqual({ code: 0, stderr: "" });
    expect(lastSaid(result.stdout, "value")).toEqual([1, 3]);
    expect(lastSaid(result.stdout, "stack")).toMatch(/^RangeError: over the limit\n {4}at [^\n]*nested-part\.ts:14:28\)?$/);
  });

  it("may await at its top level, and an uncaught error names its lines, there and in the task, and nothing of tray's", async () => {
    const { code, stderr } = await run("stacks.ts");
    expect(code).toBe(1);
    expect(stderr).toMatch(/^[^\n]*stacks\.ts:24\nawait tray\.get\(/); // the code frame is the user's
    expect(stderr).toMatch(/^TaskError: train threw RangeError: too much: 2\n {4}at async [^\n]*stacks\.ts:24:1/m);
    expect(stderr).toMatch(/\[cause\]: RangeError: too much: 2\n +at check \([^\n]*stacks\.ts:11:11\)\n +at train \([^\n]*stacks\.ts:20:10\)\n/);
    expect(stderr).not.toMatch(/index\.cjs|hint: undefined|details/);
  });

  it("sees the same of what is refused at once", async () => {
    const option = await run("stacks.ts", "option");
    expect(option.stderr).toMatch(/stacks\.ts:22\n/);
    expect(option.stderr).toMatch(/did you mean numCpus\?/);
    expect(option.stderr).not.toMatch(/index\.cjs/);
    const argument = await run("stacks.ts", "argument");
    expect(argument.stderr).toMatch(
      /^SerializationError: argument 1 of train cannot be shipped: \.callback → a WeakMap\n {4}at [^\n]*stacks\.ts:23:/m,
    );
    expect(argument.stderr).not.toMatch(/index\.cjs/);
    await expectNothingLeft();
  });
});
