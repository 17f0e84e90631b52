// A cluster whose every channel speaks TLS, on two nodes with certificates and data directories of their own; and everybody who has not the right certificates.
import { cpSync, mkdirSync, readFileSync, statSync } from "node:fs";
import { get } from "node:https";
import { type AddressInfo, connect as connectPlain, createServer } from "node:net";
import { join } from "node:path";
import { connect } from "node:tls";
import { json, TestCluster } from "./support/cluster.js";
import { driverFile, lastSaid, Program, type ProgramOptions, type Result } from "./support/program.js";
import { listeningSockets, markedProcesses } from "./support/system.js";
import { until } from "./support/until.js";

let cluster: TestCluster;
let stranger: string;
let nowhere: string;
let metricsUrl: string;
const filesIn = (dir: string): { ca: Buffer; cert: Buffer; key: Buffer } => ({
  ca: readFileSync(join(dir, "ca.pem")),
  cert: readFileSync(join(dir, "cert.pem")),
  key: readFileSync(join(dir, "key.pem")),
});
const dirOf = (name: string): string => join(cluster.dir, name);
const shouldWork = (result: Result): Result => {
  expect({ code: result.code, stderr: result.code === 0 ? "" : result.stderr }).toEqual({ code: 0, stderr: "" });
  return result;
};

beforeAll(async () => {
  cluster = TestCluster.empty();
  stranger = dirOf("stranger");
  nowhere = dirOf("no-cluster-here");
  mkdirSync(nowhere);
  shouldWork(await cluster.tray("cert", "init", "--tls-dir", dirOf("head-tls")));
  shouldWork(await cluster.tray("cert", "issue", dirOf("other-tls"), "--host", "127.0.0.1", "--tls-dir", dirOf("head-tls")));
  shouldWork(await cluster.tray("cert", "init", "--tls-dir", stranger));
  await cluster.startHead({ name: "head", cpus: 2, extra: ["--tls-dir", "head-tls"], cwd: cluster.dir });
  const extra = ["--tls-dir", dirOf("other-tls"), "--metrics-port", "0"];
  const other = await cluster.addNode({ name: "other", cpus: 2, resources: { other: 1 }, ownDataDir: true, extra });
  metricsUrl = other.metricsUrl ?? "";
});
afterAll(() => cluster?.destroy());

/** As on another machine: nothing is known of the cluster but what the environment says. */
const elsewhere = (env: Record<string, string> = {}): ProgramOptions => ({
  env: { TRAY_DATA_DIR: nowhere, TRAY_ADDRESS: cluster.gcsAddress, ...env },
});

it("runs jobs on both nodes, which move objects to each other", async () => {
  const result = shouldWork(await cluster.tray("submit", "--entrypoint-resources", '{"other": 1}', "--", "node", driverFile("shuffle.mjs"), "0"));
  const { sum, expected } = lastSaid<{ sum: number; expected: number }>(result.stdout, "result");
  expect(sum).toBe(expected);
  expect(Object.keys(lastSaid<Record<string, number>>(result.stdout, "mapped")).sort()).toEqual(["head", "other"]);
});

it("tells jobs where their certificates are, and nothing of somebody else's", async () => {
  const result = shouldWork(await cluster.trayWith({ env: { TRAY_TLS_DIR: dirOf("head-tls") } }, "submit", "--", "echo dir=$TRAY_TLS_DIR"));
  expect(result.stdout).toContain(`dir=${dirOf("head-tls")}\n`);
  const other = shouldWork(await cluster.tray("submit", "--entrypoint-resources", '{"other": 1}', "--", "echo dir=$TRAY_TLS_DIR"));
  expect(other.stdout).toContain(`dir=${dirOf("other-tls")}\n`);
});

it("has no socket that does not speak TLS, drivers' and workers' included", async () => {
  const gate = dirOf("gate");
  const job = new Program(["--expose-gc", driverFile("shuffle.mjs"), "0", gate], { env: cluster.env });
  await job.said("mapped");
  const sockets = listeningSockets(markedProcesses(cluster.mark).map((p) => p.pid));
  expect(sockets.length).toBeGreaterThanOrEqual(7); // GCS, dashboard, two raylets with two each, a driver; and workers
  const handshakes = await Promise.all(sockets.map(async (address) => `${address} ${await handshake(address, filesIn(dirOf("head-tls")))}`));
  expect(handshakes).toEqual(sockets.map((address) => `${address} TLSv1.3`));
  // Without a certificate only HTTP answers; there the token is what counts.
  const open = await Promise.all(sockets.map(async (address) => ((await talks(address)) ? [address] : [])));
  expect(open.flat().sort()).toEqual([new URL(cluster.dashboardUrl).host, new URL(metricsUrl).host].sort());
  mkdirSync(gate);
  shouldWork(await job.result);
});

it("serves HTTPS to those who trust its authority", async () => {
  expect(cluster.dashboardUrl).toMatch(/^https:/);
  const { ca } = filesIn(dirOf("head-tls"));
  expect(await fetchText(`${cluster.dashboardUrl}/api/version`, { ca })).toMatchObject({ status: 200 });
  await expect(fetchText(`${cluster.dashboardUrl}/api/version`, {})).rejects.toThrow(/certificate/);
});

it("serves a node's metrics over HTTPS, to those who have the token", async () => {
  expect(metricsUrl).toMatch(/^https:\/\/127\.0\.0\.1:\d+\/metrics$/);
  const { ca } = filesIn(dirOf("head-tls"));
  const { status, text } = await fetchText(metricsUrl, { ca });
  expect(status).toBe(200);
  const value = (name: string): number => Number(new RegExp(`^${name}\\{node_id="[0-9a-f]{32}",node_name="other"\\} (\\S+)$`, "m").exec(text)?.[1]);
  expect(value("tray_object_store_capacity_bytes")).toBe(200 * 2 ** 20);
  expect(value("tray_raylet_workers")).toBeGreaterThanOrEqual(0); // none where no job runs; and not NaN
  expect(value("process_resident_memory_bytes")).toBeGreaterThan(2 ** 20);
  expect(await fetchText(metricsUrl, { ca }, "wrong")).toMatchObject({ status: 401 });
});

it("lets a client of another machine in that has certificates", async () => {
  const env = { TRAY_TLS_DIR: dirOf("other-tls") };
  const driver = await cluster.driver(driverFile("connect.mjs"), [], elsewhere(env)).result;
  expect(lastSaid<{ jobId: string }>(shouldWork(driver).stdout, "connected").jobId).toMatch(/^[0-9a-f]{8}$/);
  const status = await cluster.trayWith(elsewhere(), "status", "--address", cluster.gcsAddress, "--tls-dir", dirOf("other-tls"), "-o", "json");
  expect(json<{ nodes: unknown[] }>(status, "tray status").nodes).toHaveLength(2);
  const listed = await cluster.trayWith(elsewhere(env), "job", "list", "--address", cluster.dashboardUrl, "-o", "json");
  expect(json<{ total: number }>(listed, "tray job list").total).toBeGreaterThan(0);
});

describe("a client without the right certificates", () => {
  async function refusedDriver(env: Record<string, string>): Promise<{ code: string; message: string; hint: string; classes: string[] }> {
    const result = await cluster.driver(driverFile("connect.mjs"), [], elsewhere(env)).result;
    expect(result).toMatchObject({ code: 1, stderr: "" });
    expect(result.durationMs).toBeLessThan(5_000); // at once, not when it gives up
    return lastSaid(result.stdout, "failed");
  }
  async function refusedCommand(code: number, env: Record<string, string>, ...args: string[]): Promise<string> {
    const result = await cluster.trayWith(elsewhere(env), ...args);
    expect({ code: result.code, stdout: result.stdout }).toEqual({ code, stdout: "" });
    expect(result.stderr).toMatch(/^error: .*\nhint: .*\n$/);
    return result.stderr;
  }

  it("is told that there are none", async () => {
    const failed = await refusedDriver({});
    expect(failed).toMatchObject({ code: "AUTHENTICATION", classes: ["AuthenticationError"] });
    expect(failed.message).toBe(`${cluster.gcsAddress} speaks TLS, and this side was given no certificates`);
    expect(failed.hint).toMatch(/--tls-dir .*TRAY_TLS_DIR/);
    expect(await refusedCommand(4, {}, "status", "--address", cluster.gcsAddress)).toContain("speaks TLS");
    expect(await refusedCommand(4, {}, "start", "--address", cluster.gcsAddress, "--node-name", "lost")).toContain("speaks TLS");
    expect(await refusedCommand(4, {}, "job", "list", "--address", cluster.dashboardUrl)).toMatch(/certificate of https.*is not accepted/);
    expect(await refusedCommand(3, {}, "job", "list", "--address", cluster.dashboardUrl.replace("https", "http"))).toContain("https://");
  });
  it("is told that they are another authority's", async () => {
    const failed = await refusedDriver({ TRAY_TLS_DIR: stranger });
    expect(failed).toMatchObject({ code: "AUTHENTICATION" });
    expect(failed.message).toContain(`the certificate of ${cluster.gcsAddress} is not from the authority in our ca.pem`);
    expect(await refusedCommand(4, { TRAY_TLS_DIR: stranger }, "status", "--address", cluster.gcsAddress)).toContain("authority");
    expect(await refusedCommand(4, { TRAY_TLS_DIR: stranger }, "job", "list", "--address", cluster.dashboardUrl)).toContain("not accepted");
  });
  it("is told when only its own is another authority's", async () => {
    const mixed = dirOf("mixed");
    mkdirSync(mixed);
    for (const [from, name] of [
      ["head-tls", "ca.pem"],
      ["stranger", "cert.pem"],
      ["stranger", "key.pem"],
    ] as const)
      cpSync(join(dirOf(from), name), join(mixed, name));
    expect(await refusedCommand(2, { TRAY_TLS_DIR: mixed }, "status", "--address", cluster.gcsAddress)).toContain("was not issued by the authority");
  });
  it("is told when a certificate is for another name", async () => {
    const [host = "", port] = cluster.gcsAddress.split(":");
    const relay = createServer((near) =>
      near
        .pipe(connectPlain({ host, port: Number(port) }))
        .pipe(near)
        .on("error", () => near.destroy()),
    );
    await new Promise<void>((resolve) => relay.listen(0, "127.0.0.2", resolve));
    const address = `127.0.0.2:${(relay.address() as AddressInfo).port}`;
    try {
      expect(await refusedCommand(4, { TRAY_TLS_DIR: dirOf("head-tls") }, "status", "--address", address)).toMatch(
        /certificate of 127\.0\.0\.2:\d+ is not for 127\.0\.0\.2, but for .*IP Address:127\.0\.0\.1/,
      );
    } finally {
      relay.close();
    }
  });
  it("is told what is wrong with its directory", async () => {
    expect(await refusedCommand(2, { TRAY_TLS_DIR: nowhere }, "status", "--address", cluster.gcsAddress)).toMatch(/ca\.pem cannot be read: ENOENT/);
    const failed = await refusedDriver({ TRAY_TLS_DIR: nowhere });
    expect(failed).toMatchObject({ code: "CONFIG" });
    expect(await refusedCommand(2, {}, "start", "--head", "--port", "0", "--tls-dir", nowhere)).toContain("ca.pem");
  });
});

it("is told to a client with certificates that a cluster has none", async () => {
  const plain = await TestCluster.start({ cpus: 1 });
  try {
    const failed = await plain.trayWith({ env: { TRAY_DATA_DIR: nowhere, TRAY_TLS_DIR: stranger } }, "status", "--address", plain.gcsAddress);
    expect({ code: failed.code, stderr: failed.stderr }).toEqual({ code: 4, stderr: expect.stringContaining("does not speak TLS") });
    // Found by its data directory, its own plan says so, and the variable counts for nothing.
    shouldWork(await plain.trayWith({ env: { TRAY_TLS_DIR: stranger } }, "status"));
    shouldWork(await plain.driver(driverFile("connect.mjs"), [], { env: { TRAY_TLS_DIR: stranger } }).result);
    await plain.stop();
  } finally {
    await plain.destroy();
  }
});

it("does not concern the cluster that a driver starts for itself", async () => {
  const driver = cluster.driver(driverFile("local.mjs"), ["shutdown"], {
    env: { TRAY_DATA_DIR: nowhere, TRAY_ADDRESS: undefined, TRAY_TLS_DIR: stranger },
  });
  expect(await driver.said("value")).toBe(42);
  shouldWork(await driver.result);
});

it("keeps what it has: an authority is not replaced unasked, nor a machine's certificate", async () => {
  const before = readFileSync(join(stranger, "ca.pem"), "utf8");
  expect((await cluster.tray("cert", "init", "--tls-dir", stranger)).code).toBe(8);
  expect((await cluster.tray("cert", "issue", dirOf("other-tls"), "--host", "a", "--tls-dir", stranger)).code).toBe(8);
  expect((await cluster.tray("cert", "issue", dirOf("new-tls"), "--host", "a", "--tls-dir", dirOf("other-tls"))).code).toBe(7);
  expect((await cluster.tray("cert", "issue", dirOf("new-tls"), "--tls-dir", stranger)).code).toBe(2);
  expect(readFileSync(join(stranger, "ca.pem"), "utf8")).toBe(before);
  shouldWork(await cluster.tray("cert", "init", "--force", "--tls-dir", stranger));
  expect(readFileSync(join(stranger, "ca.pem"), "utf8")).not.toBe(before);
  expect(statSync(join(stranger, "key.pem")).mode & 0o777).toBe(0o600);
});

it("goes on after its GCS was killed, and leaves nothing behind", async () => {
  const { gcsPid } = await cluster.status();
  process.kill(gcsPid, "SIGKILL");
  await until("the GCS to be back", async () => {
    const result = await cluster.tray("status", "--timeout", "2s", "-o", "json");
    return result.code === 0 && json<{ gcsPid: number; nodes: { state: string }[] }>(result, "tray status").gcsPid !== gcsPid;
  });
  shouldWork(await cluster.tray("submit", "--", "node", driverFile("shuffle.mjs"), "0"));
  expect(await cluster.stop()).toBe(0);
});

/** The protocol that both ends settled on, or why not. */
function handshake(address: string, options: object): Promise<string> {
  return new Promise((resolve) => {
    const [host = "", port] = address.split(":");
    const socket = connect({ host, port: Number(port), ...options }, () => {
      resolve(socket.getProtocol() ?? "none");
      socket.destroy();
    });
    socket.on("error", (error) => resolve(error.message));
  });
}

/** True when a peer without a certificate gets as far as to be answered. */
function talks(address: string): Promise<boolean> {
  return new Promise((resolve) => {
    const [host = "", port] = address.split(":");
    const socket = connect({ host, port: Number(port), rejectUnauthorized: false }, () =>
      socket.write("GET /api/version HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n"),
    );
    socket.on("data", () => {
      resolve(true);
      socket.destroy();
    });
    socket.on("error", () => resolve(false));
    socket.on("close", () => resolve(false));
  });
}

function fetchText(url: string, options: { ca?: Buffer }, token = cluster.token): Promise<{ status: number; text: string }> {
  return new Promise((resolve, reject) => {
    get(url, { ...options, headers: { Authorization: `Bearer ${token}` }, agent: false }, (response) => {
      let text = "";
      response.setEncoding("utf8").on("data", (chunk: string) => (text += chunk));
      response.on("end", () => resolve({ status: response.statusCode ?? 0, text }));
    }).on("error", reject);
  });
}
