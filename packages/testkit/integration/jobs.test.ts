// Jobs over HTTP: what Ray's client would send, and the command line over it.
import { cpSync, existsSync, mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { WebSocket } from "ws";
import { killQuietly, TestCluster } from "./support/cluster.js";
import { driverFile, lastSaid } from "./support/program.js";
import type { JobDetails } from "./support/shapes.js";
import { isAlive } from "./support/system.js";
import { until } from "./support/until.js";

let cluster: TestCluster;
beforeAll(async () => {
  cluster = await TestCluster.start({ cpus: 1 }, { name: "other", resources: { other: 1 } });
});
afterAll(() => cluster?.destroy());

async function submit(body: object): Promise<string> {
  const answer = await cluster.http("POST", "/api/jobs/", body);
  expect(answer).toMatchObject({ status: 200 });
  const reply = JSON.parse(answer.text) as { job_id: string; submission_id: string };
  expect(Object.keys(reply).sort()).toEqual(["job_id", "submission_id"]);
  expect(reply.job_id).toBe(reply.submission_id);
  return reply.submission_id;
}

async function info(id: string): Promise<JobDetails> {
  const answer = await cluster.http("GET", `/api/jobs/${id}`);
  expect(answer).toMatchObject({ status: 200 });
  return JSON.parse(answer.text) as JobDetails;
}

function untilStatus(id: string, ...wanted: JobDetails["status"][]): Promise<JobDetails> {
  return until(`job ${id} to be ${wanted.join(" or ")}`, async () => {
    const job = await info(id);
    return wanted.includes(job.status) && job;
  });
}

const ended = async (id: string): Promise<string> => (await untilStatus(id, "SUCCEEDED", "FAILED", "STOPPED"), id);

const logs = async (id: string): Promise<string> => (JSON.parse((await cluster.http("GET", `/api/jobs/${id}/logs`)).text) as { logs: string }).logs;

/** The whole tail of a job and how it was closed. */
function tail(id: string): Promise<{ text: string; code: number; statusAtClose: Promise<JobDetails> }> {
  return new Promise((resolve, reject) => {
    const socket = new WebSocket(`${cluster.dashboardUrl.replace(/^http/, "ws")}/api/jobs/${id}/logs/tail`, {
      headers: { Authorization: `Bearer ${cluster.token}` },
    });
    let text = "";
    socket.on("message", (data: Buffer, binary: boolean) => {
      if (binary) reject(new Error("a binary frame, which Ray's client drops"));
      text += data.toString("utf8");
    });
    socket.on("error", reject);
    socket.on("close", (code: number) => resolve({ text, code, statusAtClose: info(id) }));
  });
}

function projectDirectory(name: string): string {
  const dir = join(cluster.dir, name);
  mkdirSync(join(dir, "data"), { recursive: true });
  mkdirSync(join(dir, "ignored"));
  cpSync(driverFile("job-driver.mjs"), join(dir, "main.mjs"));
  writeFileSync(join(dir, "data/input.txt"), "from the working directory");
  writeFileSync(join(dir, "ignored/secret.txt"), "not to be uploaded");
  writeFileSync(join(dir, ".trayignore"), "ignored/\n");
  return dir;
}

it("/api/version is what Ray's client accepts", async () => {
  const { status, text } = await cluster.http("GET", "/api/version");
  expect(status).toBe(200);
  expect(JSON.parse(text)).toMatchObject({ version: "4", ray_version: expect.stringMatching(/^2\.\d+\.\d+/), session_name: expect.any(String) });
});

it("without the token nothing is answered", async () => {
  expect((await fetch(`${cluster.dashboardUrl}/api/jobs/`, { headers: { Connection: "close" } })).status).toBe(401);
  const wrong = { Authorization: `Bearer ${"0".repeat(64)}`, Connection: "close" };
  expect((await fetch(`${cluster.dashboardUrl}/api/jobs/`, { headers: wrong })).status).toBe(403);
});

it("tray submit uploads the working directory, prints the driver's output, and ends with the job's fate", async () => {
  const dir = projectDirectory("project");
  const env = JSON.stringify({ env_vars: { GREETING: "hello" } });
  const flags = ["--submission-id", "with-dir", "--working-dir", dir, "--runtime-env-json", env, "--metadata", "team=a"];
  const result = await cluster.tray("submit", ...flags, "--", "node", "main.mjs");
  expect({ code: result.code, stderr: result.code === 0 ? "" : result.stderr + result.stdout }).toEqual({ code: 0, stderr: "" });
  const told = lastSaid<Record<string, unknown>>(result.stdout, "told");
  expect(told).toEqual({ value: 42, jobId: expect.any(String), submission: "with-dir", env: "hello", data: "from the working directory" });
  expect(result.stdout.startsWith("told ")).toBe(true); // nothing but what the driver wrote
  const job = await info("with-dir");
  expect(job).toMatchObject({
    type: "SUBMISSION",
    submission_id: "with-dir",
    job_id: told["jobId"],
    status: "SUCCEEDED",
    entrypoint: "node main.mjs",
    message: "Job finished successfully.",
    error_type: null,
    metadata: { team: "a" },
    driver_exit_code: 0,
  });
  expect(job.driver_info).toMatchObject({ id: told["jobId"], pid: expect.stringMatching(/^\d+$/) });
  expect(Number.isInteger(job.start_time) && Number.isInteger(job.end_time)).toBe(true);
  expect((await info(String(told["jobId"]))).submission_id).toBe("with-dir"); // found by either id
  expect(await logs("with-dir")).toMatch(/^Running entrypoint for job with-dir: node main\.mjs$/m);
});

it("a job that fails: exit code, message with its last lines, and 1 from tray submit", async () => {
  const result = await cluster.tray("submit", "--submission-id", "bad", "--", "echo to-stdout; echo to-stderr >&2; exit 7");
  expect(result.code).toBe(1);
  expect(result.stdout).toBe("to-stdout\nto-stderr\n");
  const job = await info("bad");
  expect(job).toMatchObject({ status: "FAILED", driver_exit_code: 7, error_type: "JOB_ENTRYPOINT_COMMAND_ERROR" });
  expect(job.message).toMatch(/^Job entrypoint command failed with exit code 7, last available logs[^]*to-stderr/);
});

it("a runtime environment that this version cannot make fails the job and says why; what is empty in it does not", async () => {
  const refused = await info(await submit({ entrypoint: "echo ran", runtime_env: { pip: { packages: ["x"], pip_check: false } } }).then(ended));
  expect(refused).toMatchObject({ status: "FAILED", error_type: "RUNTIME_ENV_SETUP_FAILURE", driver_exit_code: null });
  expect(refused.message).toMatch(/^runtime_env setup failed: runtime_env 'pip' is not supported by this version of tray; it knows working_dir, /);
  const mistyped = await cluster.tray("submit", "--runtime-env-json", '{"working_dri": "."}', "--", "echo ran");
  expect({ code: mistyped.code, stdout: mistyped.stdout }).toEqual({ code: 1, stdout: expect.not.stringContaining("ran") });
  expect(mistyped.stderr).toContain("did you mean 'working_dir'?");
  const empty = { pip: { packages: [], pip_check: false }, _ray_commit: "0".repeat(40), conda: null, py_modules: [], working_dir: "", env_vars: {} };
  expect(await info(await submit({ entrypoint: "true", runtime_env: empty }).then(ended))).toMatchObject({ status: "SUCCEEDED" });
});

it("directories of ended jobs are kept up to a size, and those of running ones whatever it is", async () => {
  const small = await TestCluster.start({ cpus: 1, extra: ["--system-config", '{"runtimeEnvCacheSize": "3MiB", "packageMaxSize": "1MiB"}'] });
  try {
    const dir = join(small.sessionDir, "jobs", "work");
    const submitTo = async (id: string, command: string): Promise<void> => {
      const result = await small.tray("submit", "--submission-id", id, "--", `dd if=/dev/zero of=two-mb bs=1M count=2 2>/dev/null; ${command}`);
      expect({ code: result.code, stderr: result.code === 0 ? "" : result.stderr }).toEqual({ code: 0, stderr: "" });
    };
    const gate = join(small.dir, "gate");
    const running = submitTo("running", `until [ -e ${gate} ]; do sleep 0.05; done`);
    await until("it to run", () => existsSync(join(dir, "running", "two-mb")));
    await submitTo("first", "true");
    await until("the first to be told ended", () => readFileSync(`${dir}.owners/first.json`, "utf8").includes("ended"));
    expect(existsSync(join(dir, "first", "two-mb"))).toBe(true);
    await submitTo("second", "true");
    await until("the first to go", () => !existsSync(join(dir, "first")));
    expect(["running", "second"].map((id) => existsSync(join(dir, id, "two-mb")))).toEqual([true, true]);
    writeFileSync(gate, "");
    await running;
    await until("the second to go", () => !existsSync(join(dir, "second")));
    await small.stop();
  } finally {
    await small.destroy();
  }
});

it("a taken id, an unknown id, a bad request", async () => {
  const again = await cluster.http("POST", "/api/jobs/", { entrypoint: "true", submission_id: "bad" });
  expect(again.status).not.toBe(200);
  expect(again.text).toContain("Job with submission_id bad already exists");
  expect((await cluster.tray("submit", "--submission-id", "bad", "--", "true")).code).toBe(8);
  for (const [method, path] of [
    ["GET", ""],
    ["GET", "/logs"],
    ["POST", "/stop"],
    ["DELETE", ""],
  ] as const)
    expect(await cluster.http(method, `/api/jobs/nobody${path}`)).toEqual({ status: 404, text: "Job nobody does not exist" });
  expect(await cluster.http("POST", "/api/jobs/", { entrypoint: 5 })).toMatchObject({
    status: 400,
    text: expect.stringContaining("entrypoint must be a string"),
  });
  expect(await cluster.http("POST", "/api/jobs/", { entrypoint: "true", color: "red" })).toMatchObject({
    status: 400,
    text: expect.stringContaining("color"),
  });
});

it("stop kills the whole tree of processes, one in a session of its own included", async () => {
  const file = join(cluster.dir, "tree.json");
  const id = await submit({ entrypoint: `node ${driverFile("job-tree.mjs")} ${file}` });
  await until("the tree", async () => existsSync(file) && (await logs(id)).includes("tree is up"));
  const pids = JSON.parse(readFileSync(file, "utf8")) as number[];
  expect(pids.map(isAlive)).toEqual([true, true, true]);
  expect(await cluster.http("DELETE", `/api/jobs/${id}`)).toMatchObject({
    status: 500,
    text: expect.stringContaining("but it is in a non-terminal state"),
  });
  expect(await cluster.http("POST", `/api/jobs/${id}/stop`)).toEqual({ status: 200, text: '{"stopped":true}' });
  const job = await untilStatus(id, "STOPPED");
  expect(job).toMatchObject({ message: "Job was intentionally stopped.", driver_exit_code: null });
  await until("the tree to be gone", () => !pids.some(isAlive));
  expect(await cluster.http("DELETE", `/api/jobs/${id}`)).toEqual({ status: 200, text: '{"deleted":true}' });
  expect((await cluster.http("GET", `/api/jobs/${id}`)).status).toBe(404);
});

it("the tail has the whole log as text and closes after the job's end is known", async () => {
  const gate = join(cluster.dir, "tail-gate");
  const id = await submit({ entrypoint: `echo first; until [ -e ${gate} ]; do sleep 0.05; done; printf 'läst ✓\\n'` });
  const tailing = tail(id);
  await until("the first line", async () => (await logs(id)).includes("first\n"));
  writeFileSync(gate, "");
  const { text, code, statusAtClose } = await tailing;
  expect(code).toBe(1000);
  expect(text).toContain(`Running entrypoint for job ${id}: `);
  expect(text).toMatch(/^first\nläst ✓\n$/m);
  expect((await statusAtClose).status).toBe("SUCCEEDED");
});

it("a job outlives the command that submitted it, and tells how to find it again", async () => {
  const gate = join(cluster.dir, "outlive-gate");
  const submitting = cluster.trayProgram(
    "submit",
    "--submission-id",
    "outlive",
    "--",
    `echo begun; until [ -e ${gate} ]; do sleep 0.05; done; echo ended`,
  );
  await submitting.stdoutMatch(/^begun$/m);
  submitting.kill("SIGINT");
  const interrupted = await submitting.result;
  expect(interrupted.code).toBe(130);
  expect(interrupted.stderr).toMatch(/tray job logs -f outlive/);
  expect((await info("outlive")).status).toBe("RUNNING");
  expect((await cluster.tray("job", "wait", "outlive", "--timeout", "200ms")).code).toBe(5);
  writeFileSync(gate, "");
  expect((await cluster.tray("job", "wait", "outlive")).code).toBe(0);
  expect((await cluster.tray("job", "logs", "outlive")).stdout).toMatch(/begun\nended\n$/);
});

it("a job outlives the dashboard: killed, it is restarted and knows the job's end", async () => {
  const gate = join(cluster.dir, "dashboard-gate");
  const id = await submit({ entrypoint: `until [ -e ${gate} ]; do sleep 0.05; done; echo through` });
  await untilStatus(id, "RUNNING");
  const record = JSON.parse(readFileSync(join(cluster.sessionDir, "nodes/head/dashboard.json"), "utf8")) as { pid: number };
  killQuietly(record.pid);
  writeFileSync(gate, "");
  const job = await until("the job's end from the new dashboard", async () => {
    const answer = await cluster.http("GET", `/api/jobs/${id}`).catch(() => undefined);
    const details = answer?.status === 200 ? (JSON.parse(answer.text) as JobDetails) : undefined;
    return details?.status === "SUCCEEDED" && details;
  });
  expect(job.driver_exit_code).toBe(0);
  expect(await logs(id)).toContain("through");
});

it("the list has submissions first, then drivers that came by themselves", async () => {
  const driver = await cluster.driver(driverFile("connect.mjs")).result;
  const { jobId } = lastSaid<{ jobId: string }>(driver.stdout, "connected");
  const jobs = JSON.parse((await cluster.http("GET", "/api/jobs/")).text) as JobDetails[];
  const types = jobs.map((j) => j.type);
  expect(types).toEqual([...types].sort().reverse());
  expect(jobs.find((j) => j.type === "DRIVER" && j.job_id === jobId)).toMatchObject({ status: "SUCCEEDED", submission_id: null });
  expect(jobs.filter((j) => j.submission_id === "with-dir")).toHaveLength(1);
  expect(jobs.filter((j) => j.type === "DRIVER" && j.job_id === jobs.find((k) => k.submission_id === "with-dir")?.job_id)).toHaveLength(0);
  expect((await cluster.tray("job", "list", "-o", "name")).stdout).toContain("with-dir\n");
});

it("a job whose node dies is FAILED, and its processes are gone", async () => {
  const file = join(cluster.dir, "orphans.json");
  const id = await submit({ entrypoint: `node ${driverFile("job-tree.mjs")} ${file}`, entrypoint_resources: { other: 1 } });
  await until("the tree on the other node", () => existsSync(file));
  const pids = JSON.parse(readFileSync(file, "utf8")) as number[];
  const other = await cluster.node("other");
  expect((await info(id)).driver_node_id).toBe(other.nodeId);
  killQuietly(other.pid);
  const job = await untilStatus(id, "FAILED");
  expect(job).toMatchObject({ error_type: "JOB_SUPERVISOR_ACTOR_DIED", driver_exit_code: null });
  expect(job.message).toMatch(/died/);
  await until("its processes to be gone", () => !pids.some(isAlive));
});

it("tray stop leaves nothing behind, running jobs included", async () => {
  const file = join(cluster.dir, "last.json");
  await submit({ entrypoint: `node ${driverFile("job-tree.mjs")} ${file}` });
  await until("the tree", () => existsSync(file));
  await cluster.stop();
  expect((JSON.parse(readFileSync(file, "utf8")) as number[]).some(isAlive)).toBe(false);
});
