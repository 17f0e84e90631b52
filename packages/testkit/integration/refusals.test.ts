// Bad input: each time clear words, the exit code of cli.md, and a cluster that goes on as before.
import { mkdirSync, mkdtempSync, writeFileSync } from "node:fs";
import { createServer, type Server } from "node:net";
import { join } from "node:path";
import { TestCluster } from "./support/cluster.js";
import { driverFile, lastSaid, type Result, runNode } from "./support/program.js";
import { copyPackage } from "./support/package-copy.js";
import { until } from "./support/until.js";

interface Refused {
  name: string;
  code: string;
  message: string;
  hint: string | null;
  classes: string[];
}

let cluster: TestCluster;
let occupied: Server;
let occupiedPort: number;
let closedPort: number;
beforeAll(async () => {
  cluster = await TestCluster.start({ cpus: 1 });
  occupied = createServer();
  occupiedPort = await listen(occupied);
  const other = createServer();
  closedPort = await listen(other);
  await new Promise((resolve) => other.close(resolve));
});
afterAll(async () => {
  occupied?.close();
  await cluster?.destroy();
});

function listen(server: Server): Promise<number> {
  return new Promise((resolve) => server.listen(0, "127.0.0.1", () => resolve((server.address() as { port: number }).port)));
}

/** The command was refused with this exit code; its words are on stderr, and stdout has nothing. */
function expectRefusal(result: Result, code: number, words: RegExp): void {
  expect({ code: result.code, stdout: result.stdout, stderr: result.code === code ? "" : result.stderr }).toEqual({ code, stdout: "", stderr: "" });
  expect(result.stderr).toMatch(/^error: /);
  expect(result.stderr).toMatch(words);
  expect(result.stderr).not.toMatch(/^\s+at .*\(/m); // no stack trace for what is a user's mistake
}

async function connect(env: Record<string, string>, library?: string): Promise<Refused> {
  const result = await cluster.driver(driverFile("connect.mjs"), library === undefined ? [] : [library], { env }).result;
  expect(result).toMatchObject({ code: 1, stderr: "" });
  return lastSaid<Refused>(result.stdout, "failed");
}

describe("a wrong address", () => {
  it("is 3 for commands, with what to do", async () => {
    const result = await cluster.tray("status", "--timeout", "500ms", "--address", `127.0.0.1:${closedPort}`);
    expectRefusal(result, 3, new RegExp(`127\\.0\\.0\\.1:${closedPort}`));
    expect(result.stderr).toMatch(/^hint: /m);
    expectRefusal(await cluster.tray("status", "--address", "nonsense"), 2, /nonsense/);
  });
  it("is 3 for a node that would join, and nothing of it stays", async () => {
    expectRefusal(
      await cluster.tray("start", "--address", `127.0.0.1:${closedPort}`, "--node-name", "lost", "--timeout", "500ms"),
      3,
      /127\.0\.0\.1/,
    );
  });
  it("is a ConnectionError in a driver", async () => {
    const failed = await connect({ TRAY_ADDRESS: `127.0.0.1:${closedPort}` });
    expect(failed).toMatchObject({ code: "CONNECTION", classes: ["ConnectionError"] });
    expect(failed.message).toContain(`127.0.0.1:${closedPort}`);
  });
  it("is told as JSON when asked for", async () => {
    const result = await cluster.tray("status", "--timeout", "500ms", "--address", `127.0.0.1:${closedPort}`, "-o", "json");
    expect(result.code).toBe(3);
    expect(JSON.parse(result.stderr)).toEqual({ error: { code: "CONNECTION", message: expect.any(String), hint: expect.any(String) } });
  });
});

it("a taken metrics port is 8, with the flag, and nothing stays", async () => {
  const flags = ["--address", cluster.gcsAddress, "--node-name", "lost", "--num-cpus", "1", "--object-store-memory", "100MiB"];
  const result = await cluster.tray("start", ...flags, "--metrics-port", String(occupiedPort));
  expectRefusal(result, 8, new RegExp(`the metrics port .*:${occupiedPort} \\(--metrics-port\\) cannot be bound`));
});

describe("a wrong token", () => {
  const wrong = { TRAY_AUTH_TOKEN: "0".repeat(64) };
  it("is 4 for commands, over gRPC and over HTTP", async () => {
    expectRefusal(await cluster.trayWith({ env: wrong }, "status"), 4, /token/);
    expectRefusal(await cluster.trayWith({ env: wrong }, "job", "list"), 4, /token/);
    expectRefusal(await cluster.tray("status", "--token-file", join(cluster.dir, "no-such-file")), 4, /no-such-file/);
  });
  it("is 4 for a node that would join, and nothing of it stays", async () => {
    const flags = ["--address", cluster.gcsAddress, "--node-name", "stranger", "--num-cpus", "1", "--object-store-memory", "100MiB"];
    expectRefusal(await cluster.trayWith({ env: wrong }, "start", ...flags), 4, /token/);
  });
  it("is an AuthenticationError in a driver", async () => {
    expect(await connect(wrong)).toMatchObject({ code: "AUTHENTICATION", classes: ["AuthenticationError"], message: expect.stringMatching(/token/) });
  });
});

describe("another version of tray", () => {
  let other: string;
  beforeAll(() => {
    const dir = join(cluster.dir, "other-version");
    mkdirSync(dir);
    other = copyPackage(dir, "0.2.7");
  });
  const both = /0\.1\.0.*0\.2\.7|0\.2\.7.*0\.1\.0/;
  it("is 8 for commands and for a node that would join", async () => {
    const cli = join(other, "bin/tray.js");
    expect((await runNode([cli, "--version"])).stdout).toBe("0.2.7\n");
    expectRefusal(await runNode([cli, "status"], { env: cluster.env }), 8, both);
    const flags = ["--address", cluster.gcsAddress, "--node-name", "newer", "--num-cpus", "1", "--object-store-memory", "100MiB"];
    expectRefusal(await runNode([cli, "start", ...flags], { env: cluster.env }), 8, both);
  });
  it("is a VersionMismatchError in a driver, naming both", async () => {
    const failed = await connect({}, join(other, "dist/index.mjs"));
    expect(failed).toMatchObject({ code: "VERSION_MISMATCH", classes: ["VersionMismatchError"], message: expect.stringMatching(both) });
  });
});

describe("a taken port or place", () => {
  it("is 8 for the GCS and for the dashboard", async () => {
    const dir = mkdtempSync(join(cluster.dir, "second-"));
    const flags = ["--head", "--data-dir", dir, "--num-cpus", "1", "--object-store-memory", "100MiB", "--node-ip", "127.0.0.1"];
    expectRefusal(
      await cluster.tray("start", ...flags, "--port", String(occupiedPort), "--dashboard-port", "0"),
      8,
      new RegExp(String(occupiedPort)),
    );
    expectRefusal(
      await cluster.tray("start", ...flags, "--port", "0", "--dashboard-port", String(occupiedPort)),
      8,
      new RegExp(String(occupiedPort)),
    );
  });
  it("is 8 for a second head in the same data directory", async () => {
    expectRefusal(await cluster.tray("start", "--head", "--port", "0", "--dashboard-port", "0"), 8, /already|runs|serves/);
  });
});

describe("a mistake on the command line or in a file", () => {
  it("is 2 with a suggestion", async () => {
    const result = await cluster.tray("start", "--haed");
    expectRefusal(result, 2, /--haed/);
    expect(result.stderr).toMatch(/--head/);
    expectRefusal(await cluster.tray("statsu"), 2, /statsu/);
    expectRefusal(await cluster.tray("start", "--head", "--num-cpus", "many"), 2, /num-cpus|numCpus/);
    expectRefusal(await cluster.tray("list", "gadgets"), 2, /gadgets/);
  });
  it("is 2 with file, line and column for YAML", async () => {
    const file = join(cluster.dir, "head.yaml");
    writeFileSync(file, "head:\n  port: 0\nnode:\n  numCpuz: 4\n");
    expectRefusal(await cluster.tray("start", "--head", "--config", file), 2, /head\.yaml:4:3.*numCpuz/s);
    writeFileSync(file, 'node:\n  numCpus: "\n');
    expectRefusal(await cluster.tray("config", "validate", file), 2, /head\.yaml:\d+:\d+/);
  });
  it("is 2 or 7 for jobs that cannot be", async () => {
    expectRefusal(await cluster.tray("submit"), 2, /--/);
    expectRefusal(await cluster.tray("job", "logs", "no-such-job"), 7, /no-such-job/);
    expectRefusal(await cluster.tray("run", "no-such-file.mjs"), 7, /no-such-file/);
  });
});

it("a task that fits no node waits, and tray status says what for", async () => {
  const gate = join(cluster.dir, "gate");
  const driver = cluster.driver(driverFile("infeasible.mjs"), [gate]);
  expect(await driver.said("timedOut")).toEqual({ code: "GET_TIMEOUT" });
  const demand = await until("the demand to show", async () => {
    const { demand } = await cluster.status();
    return demand.length > 0 && demand;
  });
  expect(demand).toEqual([
    {
      shape: { CPU: 4, tpu: 1 },
      count: 1,
      kind: "task",
      waitCause: "infeasible",
      sinceMs: expect.any(Number),
      infeasible: true,
      detail: expect.stringMatching(/no node/),
    },
  ]);
  expect((await cluster.tray("status")).stdout).toMatch(/^DEMAND +\{CPU: 4, tpu: 1\} × 1 task: infeasible, no node/m);
  writeFileSync(gate, "");
  expect(await driver.said("cancelled")).toEqual({ code: "TASK_CANCELLED" });
  expect((await driver.result).code).toBe(0);
});

it("after all of that the cluster is as it was", async () => {
  const { nodes } = await cluster.status();
  expect(nodes.map((n) => [n.nodeName, n.state])).toEqual([["head", "ALIVE"]]);
  const result = await cluster.driver(driverFile("connect.mjs")).result;
  expect(result.code).toBe(0);
  expect(await cluster.stop()).toBe(0);
});
