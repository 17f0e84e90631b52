// Supervision with real processes: daemons that only say where they serve, so that what is tested is who is started, restarted and ended, and when.
import { existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { SeededRandom, silentLogger, systemClock } from "@tray/common";
import { liveDaemon, readAddressFile } from "./address-file.js";
import { ensureTokenFile, readToken, tokenSource } from "./auth-token.js";
import { findLocalCluster, listLocalNodes } from "./discover.js";
import { headSession } from "./head-session.js";
import { addressFileOf, linkLatest, listSessions, makeNodeDirs, newSessionName, nodeLayout, sessionLayout } from "./layout.js";
import { daemonEnvironment, planNode } from "./plan.js";
import { isAlive, readProcess, withDescendants } from "./processes.js";
import { stopNodes } from "./stop.js";
import { NodeSupervisor, type Report } from "./supervisor.js";
import { writeJsonAtomic } from "./address-file.js";

/** Serves at its configured port (4001 where it may choose), notes its life in a journal; `MODE=fail` ends before it serves. */
const fakeDaemon = `
const fs = require("node:fs");
const config = JSON.parse(fs.readFileSync(process.env.TRAY_PROCESS_CONFIG, "utf8"));
const name = process.argv[2];
const note = (text) => fs.appendFileSync(config.sessionDir + "/journal", name + " " + text + "\\n");
if (process.argv[3] === "fail") { fs.appendFileSync(config.logFile, JSON.stringify({ level: "error", message: "no luck" }) + "\\n"); process.exit(8); }
process.on("SIGTERM", () => { note("ends"); process.exit(0); });
const port = Number((config.listen ?? ":" + (config.httpPort ?? 0)).split(":").pop()) || 4001;
note("serves " + port);
fs.writeFileSync(config.addressFile + ".new", JSON.stringify({ pid: process.pid, address: "127.0.0.1:" + port, startedAt: 1, nodeId: "n1" }));
fs.renameSync(config.addressFile + ".new", config.addressFile);
setInterval(() => undefined, 1000);
`;

let dir: string;
beforeEach(() => {
  dir = mkdtempSync(join(tmpdir(), "tray-launcher-"));
  writeFileSync(join(dir, "daemon.cjs"), fakeDaemon);
});
afterEach(async () => {
  await stopNodes(dir, systemClock, { force: true, graceMs: 0, sparePids: new Set([process.pid]) });
  rmSync(dir, { recursive: true, force: true });
});

const layoutOf = (name = "head") => nodeLayout(sessionLayout(dir, "2026-11-23_00-00-00_abcdef"), name);

function planOf(modes: Partial<Record<"gcs-server" | "raylet" | "dashboard", string>> = {}) {
  const command = (name: "gcs-server" | "raylet" | "dashboard"): string[] => [
    process.execPath,
    join(dir, "daemon.cjs"),
    name,
    modes[name] ?? "serve",
  ];
  return planNode(
    {
      node: layoutOf(),
      commands: {
        "gcs-server": command("gcs-server"),
        raylet: command("raylet"),
        dashboard: command("dashboard"),
        worker: ["true"],
        jobSupervisor: ["true"],
        supervisor: ["true"],
      },
      nodeIp: "127.0.0.1",
      bindHost: "127.0.0.1",
      endWithStarter: false,
      startTimeoutMs: 10_000,
      stopGraceMs: 5_000,
    },
    { head: { port: 0, dashboard: { host: "127.0.0.1", port: 0 } } },
  );
}

function supervise(plan: ReturnType<typeof planOf>) {
  const reports: Report[] = [];
  const node = layoutOf();
  makeNodeDirs(node);
  writeJsonAtomic(node.planFile, plan);
  const supervisor = new NodeSupervisor(plan, {
    clock: systemClock,
    logger: silentLogger,
    pid: process.pid,
    env: daemonEnvironment(process.env),
    report: (r) => reports.push(r),
  });
  return { supervisor, reports, node, ended: supervisor.run() };
}

const until = async (holds: () => boolean): Promise<void> => {
  while (!holds()) await new Promise((resolve) => setTimeout(resolve, 5));
};
const journal = (): string[] => readFileSync(join(layoutOf().session.dir, "journal"), "utf8").trim().split("\n");

describe("NodeSupervisor", () => {
  it("starts, restarts the gcs-server on its port (U2), and ends all in order (U3)", async () => {
    const { supervisor, reports, node, ended } = supervise(planOf());
    await until(() => reports.length > 0);
    expect(reports[0]).toMatchObject({ kind: "ready", gcsAddress: "127.0.0.1:4001", nodeId: "n1" });
    const first = liveDaemon(node, "gcs-server");
    process.kill(first?.pid ?? 0, "SIGKILL");
    await until(() => (liveDaemon(node, "gcs-server")?.pid ?? first?.pid) !== first?.pid);
    expect(liveDaemon(node, "gcs-server")?.address).toBe("127.0.0.1:4001");
    await supervisor.stop();
    expect(await ended).toBe(0);
    expect(journal().filter((line) => line.endsWith("ends"))).toEqual(["raylet ends", "dashboard ends", "gcs-server ends"]);
    for (const daemon of ["gcs-server", "raylet", "dashboard"] as const) expect(existsSync(addressFileOf(node, daemon))).toBe(false);
    expect(existsSync(node.shmDir)).toBe(false);
  });

  it("leaves nothing of a start that failed (U4), and says what the daemon said", async () => {
    const { reports, node, ended } = supervise(planOf({ raylet: "fail" }));
    expect(await ended).toBe(8);
    expect(reports).toEqual([expect.objectContaining({ kind: "failed", daemon: "raylet", exitCode: 8, message: "raylet: no luck" })]);
    expect(journal()).toContain("gcs-server ends");
    expect(readAddressFile(addressFileOf(node, "gcs-server"))).toBeUndefined();
  });

  it("keeps the head's gcs-server when the raylet dies, and does not restart that (U1)", async () => {
    const { supervisor, reports, node, ended } = supervise(planOf());
    await until(() => reports.length > 0);
    const raylet = liveDaemon(node, "raylet");
    process.kill(raylet?.pid ?? 0, "SIGKILL");
    await until(() => !isAlive(raylet?.pid ?? 0));
    process.kill(liveDaemon(node, "dashboard")?.pid ?? 0, "SIGKILL"); // its restart tells that the supervisor has seen both
    await until(() => journal().filter((line) => line.startsWith("dashboard serves")).length === 2);
    expect(liveDaemon(node, "gcs-server")).toBeDefined();
    expect(liveDaemon(node, "raylet")).toBeUndefined();
    expect(headSession(dir)).toMatchObject({ kind: "new" }); // no tables were written by these daemons, so there is nothing to continue
    mkdirSync(node.session.tablesDir);
    writeFileSync(join(node.session.tablesDir, "data.mdb"), "");
    expect(headSession(dir)).toMatchObject({ kind: "continue" });
    await supervisor.stop();
    expect(await ended).toBe(1);
    expect(headSession(dir)).toMatchObject({ kind: "new" }); // it was ended on purpose
  });

  it("is found by others on this machine, who end it even without its supervisor", async () => {
    const { supervisor, reports, node, ended } = supervise(planOf());
    await until(() => reports.length > 0);
    expect(findLocalCluster(dir)).toMatchObject({ gcsAddress: "127.0.0.1:4001" });
    expect(() => headSession(dir)).toThrow("a head already serves at 127.0.0.1:4001");
    const pids = (["gcs-server", "raylet", "dashboard"] as const).map((d) => liveDaemon(node, d)?.pid ?? 0);
    const result = await stopNodes(dir, systemClock, { force: true, graceMs: 0, sparePids: new Set([process.pid]) });
    expect(result).toMatchObject({ nodes: ["head"], survivors: [] });
    expect(pids.filter(isAlive)).toEqual([]);
    await supervisor.stop(); // this one is in our own process, so it was spared, and would start them again
    await ended;
  });
});

describe("address files", () => {
  it("do not count when their process is another one by now", () => {
    const node = layoutOf();
    makeNodeDirs(node);
    writeJsonAtomic(node.planFile, planOf());
    writeJsonAtomic(addressFileOf(node, "gcs-server"), { pid: process.pid, address: "127.0.0.1:1", startedAt: 1 });
    expect(liveDaemon(node, "gcs-server")).toBeUndefined();
    expect(findLocalCluster(dir)).toBeUndefined();
    expect(listLocalNodes(dir)).toHaveLength(1);
  });
});

describe("sessions", () => {
  it("are named by time, listed newest first, linked atomically", () => {
    const random = new SeededRandom(1);
    const names = [Date.UTC(2026, 10, 23, 1, 40, 12), Date.UTC(2026, 10, 24)].map((ms) => newSessionName(ms, random));
    expect(names[0]).toMatch(/^2026-11-23_01-40-12_[0-9a-f]{6}$/);
    for (const name of names) {
      const session = sessionLayout(dir, name);
      makeNodeDirs(nodeLayout(session, "n"));
      linkLatest(session);
    }
    expect(listSessions(dir).map((s) => s.name)).toEqual([names[1], names[0]]);
    expect(statSync(join(dir, "session_latest")).ino).toBe(statSync(sessionLayout(dir, names[1] ?? "").dir).ino);
  });
});

describe("tokens", () => {
  const lookup = (env: Record<string, string> = {}, more = {}) => ({ env, homeDir: join(dir, "home"), ...more });
  it("come from flag, environment, the cluster here, home: in this order", () => {
    expect(tokenSource(lookup({ TRAY_AUTH_TOKEN: "t" }, { tokenFile: "/f" }))).toMatchObject({ kind: "file", file: "/f" });
    expect(tokenSource(lookup({ TRAY_AUTH_TOKEN: "t", TRAY_AUTH_TOKEN_PATH: "/p" }))).toMatchObject({ kind: "value", token: "t" });
    expect(tokenSource(lookup({ TRAY_AUTH_TOKEN_PATH: "/p" }, { clusterTokenFile: "/c" }))).toMatchObject({ file: "/p" });
    expect(tokenSource(lookup({}, { clusterTokenFile: "/c" }))).toMatchObject({ file: "/c" });
  });
  it("are made once, for their owner's eyes only", () => {
    const file = ensureTokenFile(lookup(), join(dir, "copy"), new SeededRandom(1));
    const token = readToken(tokenSource(lookup()));
    expect(token).toMatch(/^[0-9a-f]{64}$/);
    expect(statSync(file).mode & 0o777).toBe(0o600);
    expect(ensureTokenFile(lookup(), join(dir, "copy"), new SeededRandom(2))).toBe(file);
    expect(readToken(tokenSource(lookup()))).toBe(token);
    expect(() => readToken(tokenSource(lookup({ TRAY_AUTH_TOKEN_PATH: join(dir, "none") })))).toThrow("cannot read the token file");
    expect(readFileSync(ensureTokenFile(lookup({ TRAY_AUTH_TOKEN: "abc" }), join(dir, "copy"), new SeededRandom(3)), "utf8")).toBe("abc\n");
  });
});

describe("processes", () => {
  it("reads its own entry and finds descendants", () => {
    expect(readProcess(process.pid)).toMatchObject({ pid: process.pid, ppid: process.ppid });
    const p = (pid: number, ppid: number) => ({ pid, ppid, pgid: 0, sessionId: 0, state: "S", startTicks: 0 });
    expect(withDescendants([2], [p(1, 0), p(2, 1), p(3, 2), p(4, 3), p(5, 1)]).map((e) => e.pid)).toEqual([2, 3, 4]);
  });
});
