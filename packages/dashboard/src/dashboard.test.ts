// The HTTP API as Ray's client sees it: the real server on a real port, over a GCS and a raylet that answer from memory on a simulated network.
import { mkdtempSync, rmSync } from "node:fs";
import { request } from "node:http";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Metrics, silentLogger, systemClock, systemRandom } from "@tray/common";
import { ClusterStatus, GcsService, NodeState, RayletService, type ServiceDef, type StartJobRequest } from "@tray/protocol";
import { Endpoint, type Handlers, MemoryNetwork } from "@tray/rpc";
import { WebSocket } from "ws";
import { type RunningDashboard, startDashboard } from "./dashboard.js";
import { JobStore } from "./jobs/job-store.js";
import { finish, run } from "./jobs/record.js";

const token = "secret";

/** Handlers of a service of which only some methods are asked; another one fails the test by its error. */
function only<S extends ServiceDef>(service: S, handlers: Partial<Handlers<S>>): Handlers<S> {
  const missing = (name: string) => () => {
    throw new Error(`unexpected call of ${name}`);
  };
  return Object.fromEntries(
    Object.keys(service.methods).map((name) => [name, handlers[name as keyof typeof handlers] ?? missing(name)]),
  ) as unknown as Handlers<S>;
}

class FakeCluster {
  readonly kv = new Map<string, Buffer>();
  readonly started: StartJobRequest[] = [];
  readonly stopped: string[] = [];
  readonly logs = new Map<string, Buffer>();
  nodeState = NodeState.ALIVE;
  readonly network = new MemoryNetwork({ clock: systemClock, random: systemRandom, delayMs: [0, 0] });
  readonly endpoints: Endpoint[] = [];

  endpoint(host: string, kind: "gcs" | "raylet" | "dashboard" | "cli"): Endpoint {
    const endpoint = new Endpoint({
      transport: this.network.transport(host),
      clock: systemClock,
      random: systemRandom,
      logger: silentLogger,
      metrics: new Metrics(),
      self: { kind, id: host, incarnation: systemRandom.hex(4), version: "1", nodeVersion: "20.0.0" },
      token,
    });
    this.endpoints.push(endpoint);
    return endpoint;
  }

  async start(): Promise<void> {
    const empty = Buffer.alloc(0);
    const keyOf = (k: { namespace: string; key: string }): string => `${k.namespace}/${k.key}`;
    const gcs = this.endpoint("gcs", "gcs");
    gcs.serve(
      GcsService,
      only(GcsService, {
        kvGet: (k) => ({ found: this.kv.has(keyOf(k)), value: this.kv.get(keyOf(k)) ?? empty }),
        kvPut: (k) => {
          this.kv.set(keyOf(k), k.value);
          return { stored: true };
        },
        kvList: ({ namespace }) => ({
          entries: [...this.kv].filter(([k]) => k.startsWith(`${namespace}/`)).map(([k, value]) => ({ key: k.slice(namespace.length + 1), value })),
        }),
        kvCas: (k) => {
          const current = this.kv.get(keyOf(k)) ?? empty;
          if (!current.equals(k.expected)) return { swapped: false, current };
          if (k.value.length === 0) this.kv.delete(keyOf(k));
          else this.kv.set(keyOf(k), k.value);
          return { swapped: true, current: k.value };
        },
        listJobs: () => ({ jobs: [] }),
        listNodes: () => ({ nodes: [] }),
        status: () => this.status(),
      }),
    );
    await gcs.listen("gcs:1");
    const raylet = this.endpoint("raylet", "raylet");
    raylet.serve(
      RayletService,
      only(RayletService, {
        startJob: (job) => {
          if (!this.started.some((s) => s.submissionId === job.submissionId)) this.started.push(job);
          return { supervisorPid: 1, rejected: false, detail: "" };
        },
        stopJob: ({ submissionId }) => {
          this.stopped.push(submissionId);
          return { running: true };
        },
        readLog: ({ file, offset, maxBytes }) => {
          const all = this.logs.get(file) ?? empty;
          return { data: all.subarray(offset, offset + Math.min(maxBytes, 7)), offset, size: all.length }; // seven bytes: cuts code points
        },
      }),
    );
    await raylet.listen("raylet:1");
  }

  status(): ClusterStatus {
    const node = {
      nodeId: "n1",
      nodeName: "n",
      host: "raylet",
      raylet: "raylet:1",
      bulk: "",
      isHead: true,
      pid: 1,
      labels: {},
      total: { amounts: { CPU: 20_000 } },
    };
    return ClusterStatus.fromPartial({
      nodes: [{ info: { ...node, state: this.nodeState, deathReason: "gone" }, available: { amounts: { CPU: 20_000 } } }],
    });
  }

  /** What a job supervisor does on the node: its record's moves. */
  async supervise(): Promise<{ store: JobStore; address: string; incarnation: string; close(): Promise<void> }> {
    const endpoint = this.endpoint("supervisor", "cli");
    const address = await endpoint.listen("supervisor:0");
    const gcs = endpoint.connect("gcs:1", { reconnect: "forever" });
    await gcs.opened();
    return {
      store: new JobStore(gcs.client(GcsService)),
      address,
      incarnation: (endpoint as unknown as { self: { incarnation: string } }).self.incarnation,
      close: () => endpoint.close(),
    };
  }
}

describe("the dashboard", () => {
  let cluster: FakeCluster;
  let dashboard: RunningDashboard;
  let dir: string;

  beforeEach(async () => {
    dir = mkdtempSync(join(tmpdir(), "tray-dashboard-"));
    cluster = new FakeCluster();
    await cluster.start();
    dashboard = await startDashboard(config(), host());
  });
  afterEach(async () => {
    await dashboard.close();
    await Promise.all(cluster.endpoints.map((e) => e.close()));
    rmSync(dir, { recursive: true, force: true });
  });
  const config = () => ({
    sessionDir: dir,
    sessionName: "s1",
    logFile: "",
    logLevel: "info" as const,
    addressFile: "",
    systemConfig: { packageMaxSize: 1000, runtimeEnvCacheSize: 1000 },
    gcsAddress: "gcs:1",
    httpHost: "127.0.0.1",
    httpPort: 0,
    jobsDir: join(dir, "jobs"),
  });
  const host = () => ({
    endpoint: cluster.endpoint("dashboard", "dashboard"),
    clock: systemClock,
    random: systemRandom,
    logger: silentLogger,
    pid: 1,
    version: "1",
    token,
  });

  interface Answer {
    status: number;
    text: string;
  }
  function ask(
    method: string,
    path: string,
    body?: unknown,
    headers: Record<string, string> = { authorization: `Bearer ${token}` },
  ): Promise<Answer> {
    return new Promise((resolve, reject) => {
      const req = request(dashboard.url + path, { method, headers, agent: false }, (res) => {
        let text = "";
        res.setEncoding("utf8").on("data", (chunk: string) => (text += chunk));
        res.on("end", () => resolve({ status: res.statusCode ?? 0, text }));
      });
      req.on("error", reject);
      req.end(body === undefined ? undefined : Buffer.isBuffer(body) ? body : JSON.stringify(body));
    });
  }
  const until = async (holds: () => boolean | Promise<boolean>): Promise<void> => {
    while (!(await holds())) await new Promise((resolve) => setTimeout(resolve, 5));
  };
  const statusOf = async (id: string): Promise<string> => (JSON.parse((await ask("GET", `/api/jobs/${id}`)).text) as { status: string }).status;

  it("lets nobody in without the token, and no browser change anything", async () => {
    expect(await ask("GET", "/api/version", undefined, {})).toEqual({ status: 401, text: "Unauthorized: Missing authentication token" });
    expect(await ask("GET", "/api/version", undefined, { authorization: "Bearer no" })).toEqual({
      status: 403,
      text: "Forbidden: Invalid authentication token",
    });
    const accepted: Record<string, string>[] = [{ "x-ray-authorization": `Bearer ${token}` }, { cookie: `a=b; ray-authentication-token=${token}` }];
    for (const headers of accepted) expect((await ask("GET", "/api/version", undefined, headers)).status).toBe(200);
    expect((await ask("GET", "/api/healthz", undefined, {})).status).toBe(200);
    const browser = { authorization: `Bearer ${token}`, origin: "http://evil" };
    expect(await ask("POST", "/api/jobs/", { entrypoint: "x" }, browser)).toEqual({
      status: 405,
      text: "'POST' method not allowed for browser traffic.",
    });
    expect((await ask("GET", "/api/version", undefined, { authorization: `Bearer ${token}`, host: "evil.example" })).status).toBe(421);
  });
  it("refuses a public address without a token, and a taken port", async () => {
    await expect(startDashboard({ ...config(), httpHost: "0.0.0.0" }, { ...host(), token: undefined })).rejects.toMatchObject({ code: "CONFIG" });
    await expect(startDashboard({ ...config(), httpPort: Number(new URL(dashboard.url).port) }, host())).rejects.toMatchObject({ code: "CONFLICT" });
  });
  it("tells a version that Ray's client takes", async () => {
    expect(JSON.parse((await ask("GET", "/api/version")).text)).toMatchObject({ version: "4", ray_version: "2.58.0", session_name: "session_s1" });
    expect(await ask("GET", "/api/nothing")).toEqual({ status: 404, text: "404: Not Found" });
  });

  it("takes a job through its life", async () => {
    const submitted = await ask("POST", "/api/jobs/", { entrypoint: "echo hi", submission_id: "j1", metadata: { a: "b" } });
    expect(submitted).toEqual({ status: 200, text: '{"job_id":"j1","submission_id":"j1"}' });
    expect((await ask("POST", "/api/jobs/", { entrypoint: "echo hi", submission_id: "j1" })).text).toContain(
      "Job with submission_id j1 already exists",
    );
    await until(() => cluster.started.length === 1);
    expect(JSON.parse(cluster.started[0]?.jobJson ?? "")).toMatchObject({ entrypoint: "echo hi", attempt: 1, dashboardUrl: dashboard.url });

    const supervisor = await cluster.supervise();
    await supervisor.store.update("j1", (r) => run(r, 1, { address: supervisor.address, incarnation: supervisor.incarnation, pid: 1 }, 1));
    expect(await statusOf("j1")).toBe("RUNNING");
    expect((await ask("DELETE", "/api/jobs/j1")).text).toContain("but it is in a non-terminal state RUNNING");
    expect((await ask("POST", "/api/jobs/j1/stop")).text).toBe('{"stopped":true}');
    await until(() => cluster.stopped.includes("j1"));
    await supervisor.store.update("j1", (r) => finish(r, { status: "STOPPED" }, 2));
    expect((await ask("POST", "/api/jobs/j1/stop")).text).toBe('{"stopped":false}');

    const [details] = JSON.parse((await ask("GET", "/api/jobs/")).text) as object[];
    expect(Object.keys(details ?? {})).toHaveLength(15);
    expect(details).toMatchObject({
      type: "SUBMISSION",
      status: "STOPPED",
      job_id: null,
      driver_node_id: "n1",
      end_time: 2,
      metadata: { a: "b" },
      driver_exit_code: null,
    });
    expect((await ask("DELETE", "/api/jobs/j1")).text).toBe('{"deleted":true}');
    expect(await ask("GET", "/api/jobs/j1")).toEqual({ status: 404, text: "Job j1 does not exist" });
    expect((await ask("DELETE", "/api/jobs/j1")).status).toBe(404);
  });

  it("fails a job whose supervisor's process is gone", async () => {
    await ask("POST", "/api/jobs/", { entrypoint: "x", submission_id: "j2" });
    await until(() => cluster.started.length === 1);
    const supervisor = await cluster.supervise();
    await supervisor.store.update("j2", (r) => run(r, 1, { address: supervisor.address, incarnation: supervisor.incarnation, pid: 1 }, 1));
    await supervisor.close();
    await until(async () => (await statusOf("j2")) === "FAILED");
    expect(JSON.parse((await ask("GET", "/api/jobs/j2")).text)).toMatchObject({
      error_type: "JOB_SUPERVISOR_ACTOR_DIED",
      message: expect.stringContaining("Job supervisor actor died"),
    });
  });

  it("fails a running job with its node, and places a pending one anew", async () => {
    await ask("POST", "/api/jobs/", { entrypoint: "x", submission_id: "running" });
    await until(() => cluster.started.length === 1);
    const supervisor = await cluster.supervise();
    await supervisor.store.update("running", (r) => run(r, 1, { address: supervisor.address, incarnation: supervisor.incarnation, pid: 1 }, 1));
    await ask("POST", "/api/jobs/", { entrypoint: "x", submission_id: "pending" });
    await until(() => cluster.started.length === 2);
    cluster.nodeState = NodeState.DEAD;
    await until(async () => (await statusOf("running")) === "FAILED");
    await until(async () => (await supervisor.store.get("pending"))?.placement === null);
    expect(await statusOf("pending")).toBe("PENDING");
    expect((await ask("POST", "/api/jobs/pending/stop")).text).toBe('{"stopped":true}');
    expect(await statusOf("pending")).toBe("STOPPED");
  });

  it("tails a log from its beginning to its end, code points whole, and closes with 1000 after the status is terminal", async () => {
    await ask("POST", "/api/jobs/", { entrypoint: "x", submission_id: "j3" });
    await until(() => cluster.started.length === 1);
    const supervisor = await cluster.supervise();
    await supervisor.store.update("j3", (r) => run(r, 1, { address: supervisor.address, incarnation: supervisor.incarnation, pid: 1 }, 1));
    const part = "début 日本語 🚀\n";
    cluster.logs.set("job-driver-j3.log", Buffer.from(part));
    const socket = new WebSocket(`${dashboard.url.replace("http", "ws")}/api/jobs/j3/logs/tail`, { headers: { authorization: `Bearer ${token}` } });
    let text = "";
    socket.on("message", (data: Buffer) => {
      text += data.toString("utf8");
    });
    const closed = new Promise<number>((resolve) => socket.on("close", (code: number) => resolve(code)));
    await until(() => text === part);
    cluster.logs.set("job-driver-j3.log", Buffer.from(`${part}end\n`));
    await supervisor.store.update("j3", (r) => finish(r, { status: "SUCCEEDED", exitCode: 0 }, 9));
    expect(await closed).toBe(1000);
    expect(text).toBe(`${part}end\n`);
    expect(JSON.parse((await ask("GET", "/api/jobs/j3/logs")).text)).toEqual({ logs: `${part}end\n` });
  });

  it("refuses tails without the token and of jobs that are not there", async () => {
    const outcome = (path: string, headers: Record<string, string>): Promise<number> =>
      new Promise((resolve) => {
        const socket = new WebSocket(`${dashboard.url.replace("http", "ws")}${path}`, { headers });
        socket.on("unexpected-response", (_req: unknown, res: { statusCode: number; resume(): void }) => {
          res.resume();
          socket.terminate();
          resolve(res.statusCode);
        });
        socket.on("error", () => undefined);
      });
    expect(await outcome("/api/jobs/x/logs/tail", {})).toBe(401);
    expect(await outcome("/api/jobs/x/logs/tail", { authorization: `Bearer ${token}` })).toBe(404);
    expect(await outcome("/api/jobs/x/logs/tail", { authorization: `Bearer ${token}`, origin: "http://evil" })).toBe(400);
  });

  it("stores packages whole or not at all", async () => {
    const path = "/api/packages/gcs/_ray_pkg_00.zip";
    expect(await ask("GET", path)).toEqual({ status: 404, text: "Package gcs://_ray_pkg_00.zip does not exist" });
    expect((await ask("PUT", path, Buffer.alloc(1001))).status).toBe(413);
    expect((await ask("GET", path)).status).toBe(404);
    expect(await ask("PUT", path, Buffer.from("zip"))).toEqual({ status: 200, text: "" });
    expect(await ask("GET", path)).toEqual({ status: 200, text: "" });
    expect(await ask("GET", "/api/tray/packages/_ray_pkg_00.zip")).toEqual({ status: 200, text: "zip" });
    expect((await ask("PUT", "/api/packages/gcs/..%2Fevil", Buffer.from("x"))).status).toBe(400);
    expect((await ask("PUT", "/api/packages/s3/a.zip", Buffer.from("x"))).status).toBe(500);
  });

  it("answers the State API in its envelope, and metrics", async () => {
    await ask("POST", "/api/jobs/", { entrypoint: "x", submission_id: "j4" });
    const { result, data } = JSON.parse((await ask("GET", "/api/v0/jobs?limit=10")).text) as {
      result: boolean;
      data: { result: { total: number; result: object[] } };
    };
    expect({ result, total: data.result.total }).toEqual({ result: true, total: 1 });
    expect(data.result.result[0]).toMatchObject({ submission_id: "j4", type: "SUBMISSION" });
    expect((await ask("GET", "/api/v0/jobs?filter_keys=x&filter_predicates==&filter_values=1")).status).toBe(400);
    expect((await ask("GET", "/metrics")).text).toMatch(/^tray_nodes\{state="ALIVE"\} 1$/m);
  });
});
