import { mkdirSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { systemClock, systemRandom, TrayError } from "@tray/common";
import { entrypointOf, quote } from "./commands/jobs.js";
import { lastLines } from "./commands/logs.js";
import { matches, parseFilter } from "./commands/list.js";
import { parseLabels, resolveStart } from "./commands/node-settings.js";
import { describeDemand, renderStatus, type StatusReport } from "./commands/status.js";
import { type CliContext, Interrupted } from "./context.js";
import { CliFailure, exitCodes, reportOf } from "./failure.js";
import { main, splitRun } from "./main.js";
import { usedOfTotal } from "./output/units.js";
import { collectFiles } from "./package/collect.js";
import { crc32, zipOf } from "./package/zip.js";

let dir: string;
beforeEach(() => {
  dir = mkdtempSync(join(tmpdir(), "tray-cli-"));
});
afterEach(() => rmSync(dir, { recursive: true, force: true }));

interface Ran {
  code: number;
  out: string;
  err: string;
}

async function tray(argv: readonly string[], env: Record<string, string> = {}): Promise<Ran> {
  const ran: Ran = { code: -1, out: "", err: "" };
  const stream = (write: (text: string) => void) => ({ isTTY: false, columns: 80, write });
  const context: CliContext = {
    env: { TRAY_DATA_DIR: join(dir, "data"), ...env },
    clock: systemClock,
    random: systemRandom,
    stdout: stream((t) => (ran.out += t)),
    stderr: stream((t) => (ran.err += t)),
    cwd: dir,
    homeDir: dir,
    pid: process.pid,
    execPath: process.execPath,
    binDir: join(dir, "bin"),
    nodeVersion: process.versions.node,
    interruption: new AbortController().signal,
  };
  ran.code = await main(argv, context, "1.2.3");
  return ran;
}

describe("arguments", () => {
  it("answers 2 and a suggestion to unknown flags and commands", async () => {
    expect(await tray(["status", "--wach"])).toEqual({ code: 2, out: "", err: "error: unknown option '--wach'\nhint: Did you mean --watch?\n" });
    expect((await tray(["stats"])).err).toContain("Did you mean status?");
    expect((await tray(["job"])).code).toBe(2);
  });
  it("writes errors as JSON where JSON was asked for, before or after the command", async () => {
    for (const argv of [
      ["-o", "json", "status", "--nope"],
      ["status", "--nope", "--json"],
      ["status", "--nope", "-o", "json"],
    ]) {
      const { code, err } = await tray(argv);
      expect(code).toBe(2);
      expect(JSON.parse(err)).toEqual({ error: { code: "INVALID_ARGUMENT", message: "unknown option '--nope'", hint: "see: tray --help" } });
    }
  });
  it("takes global flags on both sides of the command", async () => {
    expect((await tray(["--json", "version"])).out).toBe((await tray(["version", "--json"])).out);
  });
  it("prints versions and help on stdout with exit code 0", async () => {
    expect(await tray(["--version"])).toEqual({ code: 0, out: "1.2.3\n", err: "" });
    expect((await tray(["start", "--help"])).out).toContain("--num-cpus");
    expect((await tray([])).code).toBe(0);
  });
  it("answers 3 where no cluster runs, and says how to start one", async () => {
    for (const argv of [["status"], ["job", "list"], ["list", "nodes"], ["health-check"], ["logs"]]) {
      const { code, err } = await tray(argv);
      expect({ argv, code }).toEqual({ argv, code: 3 });
      expect(err).toContain("tray start --head");
    }
  });
  it("answers 3 where nothing listens at the address, 2 where it is none", async () => {
    expect((await tray(["status", "--address", "127.0.0.1:1", "--timeout", "300ms"])).code).toBe(3);
    expect((await tray(["job", "list"], { TRAY_ADDRESS: "http://127.0.0.1:1" })).code).toBe(3);
    expect((await tray(["status", "--address", "nonsense"])).code).toBe(2);
  });
  it("leaves what stands behind the file of `run` to the program", () => {
    expect(splitRun(["run", "a.ts", "-o", "json", "--address", "x"])).toEqual({ own: ["run", "a.ts"], runArgs: ["-o", "json", "--address", "x"] });
    expect(splitRun(["--address", "h:1", "run", "-q", "a.ts", "--", "-v"])).toEqual({
      own: ["--address", "h:1", "run", "-q", "a.ts"],
      runArgs: ["--", "-v"],
    });
    expect(splitRun(["submit", "--", "run", "a.ts"])).toEqual({ own: ["submit", "--", "run", "a.ts"], runArgs: [] });
  });
  it("refuses to start nothing in particular, and both things at once", async () => {
    expect((await tray(["start"])).code).toBe(2);
    expect((await tray(["start", "--head", "--address", "h:1"])).code).toBe(2);
    expect((await tray(["start", "--head", "--num-cpus", "two"])).err).toContain("--num-cpus");
  });
  it("says file, line and column of what is wrong in a configuration", async () => {
    const file = join(dir, "head.yaml");
    writeFileSync(file, "node:\n  numCpu: 2\n");
    const { code, err } = await tray(["start", "--head", "--config", file]);
    expect(code).toBe(2);
    expect(err).toContain(`${file}:2:3: unknown key "numCpu", did you mean "numCpus"?`);
    expect((await tray(["config", "validate", file])).code).toBe(2);
  });
});

describe("tokens", () => {
  it("generates once, shows, and replaces only when told to", async () => {
    expect((await tray(["auth", "token", "show"])).code).toBe(7);
    const file = join(dir, ".tray", "auth_token");
    expect((await tray(["auth", "token", "generate"])).out).toBe(`${file}\n`);
    const token = (await tray(["auth", "token", "show"])).out.trim();
    expect(token).toMatch(/^[0-9a-f]{64}$/);
    expect((await tray(["auth", "token", "generate"])).code).toBe(8);
    expect((await tray(["auth", "token", "generate", "--force"])).code).toBe(0);
    expect((await tray(["auth", "token", "show"])).out.trim()).not.toBe(token);
    expect((await tray(["auth", "token", "show"], { TRAY_AUTH_TOKEN: "abc" })).out).toBe("abc\n");
  });
});

describe("exit codes", () => {
  it.each([
    ["CONFIG", 2],
    ["CONNECTION", 3],
    ["AUTHENTICATION", 4],
    ["NOT_FOUND", 7],
    ["VERSION_MISMATCH", 8],
    ["SYSTEM", 70],
  ] as const)("%s is %i", (code, exitCode) => {
    expect(reportOf(new TrayError(code, "x")).exitCode).toBe(exitCode);
  });
  it("keeps those of commands, and calls the rest internal", () => {
    expect(reportOf(new CliFailure(exitCodes.timeout, "TIMEOUT", "x")).exitCode).toBe(5);
    expect(reportOf(new RangeError("x"))).toMatchObject({ exitCode: 70, code: "INTERNAL" });
    expect(new Interrupted(143).exitCode).toBe(143);
  });
});

describe("settings of a node", () => {
  it("prefer flag over environment over file over default", async () => {
    const file = join(dir, "head.yaml");
    writeFileSync(
      file,
      "node: {numCpus: 2, numGpus: 1, dataDir: /file}\nhead: {port: 1000, dashboardPort: 2000}\nsystemConfig: {healthCheckTimeout: 9s}\n",
    );
    const resolved = await resolveStart(
      { config: file, numCpus: "4", dashboardPort: "3000", systemConfig: '{"taskOomRetries": 3}' },
      { env: { TRAY_DATA_DIR: "/env", TRAY_ADDRESS: "x:1" } },
    );
    expect(resolved.nodes).toHaveLength(1);
    const [node] = resolved.nodes;
    expect(node?.isHead).toBe(true);
    expect(node?.settings).toMatchObject({ numCpus: 4, numGpus: 1, dataDir: "/env", port: 1000, dashboardPort: 3000, dashboardHost: "127.0.0.1" });
    expect(node?.settings.address).toBeUndefined(); // a head does not join what TRAY_ADDRESS names
    expect(node?.origins).toMatchObject({
      numCpus: { kind: "flag" },
      dataDir: { kind: "environment" },
      port: { kind: "file" },
      dashboardHost: { kind: "default" },
    });
    expect(resolved.systemConfig).toEqual({ healthCheckTimeout: 9000, taskOomRetries: 3 });
  });
  it("tell where each came from", async () => {
    const { out } = await tray(["config", "view", "--show-origin", "--num-cpus", "3"]);
    expect(out).toMatch(/^numCpus +3 +flag --num-cpus$/m);
    expect(out).toMatch(/^dataDir +\S+ +environment TRAY_DATA_DIR$/m);
    expect(out).toMatch(/^systemConfig\.healthCheckTimeout +5000 +default$/m);
  });
  it("reads labels", () => {
    expect(parseLabels("a=b, c=d=e")).toEqual({ a: "b", c: "d=e" });
    expect(() => parseLabels("a")).toThrow("not a label");
  });
});

describe("status", () => {
  const node = {
    nodeId: "a1",
    nodeName: "head-5",
    address: "h:1",
    state: "ALIVE",
    isHead: true,
    pid: 7,
    deathReason: null,
    startTime: null,
    endTime: null,
    idleMs: null,
    queued: 0,
    workers: 3,
    labels: {},
  } as const;
  const report: StatusReport = {
    sessionName: "s",
    gcsAddress: "h:1",
    dashboardUrl: null,
    version: "1",
    headPid: 7,
    gcsPid: 8,
    supervisorPid: 9,
    nodes: [
      {
        ...node,
        resources: { total: { CPU: 4 }, used: { CPU: 2 } },
        memory: { totalBytes: 16 * 2 ** 30, usedBytes: 3.1 * 2 ** 30 },
        objectStore: { capacityBytes: 4.8 * 2 ** 30, usedBytes: 0.2 * 2 ** 30, spilledBytes: 0 },
      },
      {
        ...node,
        nodeName: "w-1b",
        isHead: false,
        state: "DEAD",
        deathReason: "heartbeats stopped",
        endTime: "2026-11-23T00:00:00.000Z",
        resources: { total: {}, used: {} },
        memory: { totalBytes: 0, usedBytes: 0 },
        objectStore: { capacityBytes: 0, usedBytes: 0, spilledBytes: 0 },
      },
    ],
    demand: [
      { shape: { CPU: 4 }, count: 12, kind: "task", waitCause: "waiting-for-resources", sinceMs: 31_000, infeasible: false, detail: "" },
      { shape: { GPU: 1 }, count: 1, kind: "actor", waitCause: "infeasible", sinceMs: 5, infeasible: true, detail: "no node has GPU" },
    ],
    autoscaler: null,
  };
  it("is the table of the design", () => {
    expect(renderStatus(report, false, Date.parse("2026-11-23T00:00:12Z"))).toBe(
      [
        "NODE    STATE  CPU  MEMORY      OBJECTS      WORKERS  QUEUED  IDLE",
        "head-5  ALIVE  2/4  3.1/16 GiB  0.2/4.8 GiB  3        0       -",
        "w-1b    DEAD   -    -           -            -        -       heartbeats stopped 12s ago",
        "DEMAND      {CPU: 4} × 12 tasks: waiting for resources 31s",
        "            {GPU: 1} × 1 actor: infeasible, no node has GPU",
        "",
      ].join("\n"),
    );
  });
  it("counts in words", () => {
    expect(
      describeDemand({ shape: { CPU: 0.5 }, count: 1, kind: "task", waitCause: "waiting-for-worker", sinceMs: 0, infeasible: false, detail: "" }),
    ).toBe("{CPU: 0.5} × 1 task: waiting for a worker to start");
    expect(usedOfTotal(0, 0)).toBe("-");
  });
});

describe("filters", () => {
  it("compare as text, in any spelling of the key", () => {
    expect(matches({ nodeId: "A", state: null }, parseFilter("node-id=a"))).toBe(true);
    expect(matches({ nodeId: "A", state: null }, parseFilter("node_id!=a"))).toBe(false);
    expect(matches({ state: null }, parseFilter("state=ALIVE"))).toBe(false);
    expect(() => matches({ state: "x" }, parseFilter("stat=x"))).toThrow("no key 'stat'");
    expect(() => parseFilter("state")).toThrow("not a filter");
  });
  it("takes the last lines", () => {
    expect(lastLines("a\nb\nc\n", 2)).toBe("b\nc\n");
    expect(lastLines("a\nb\nc", 2)).toBe("b\nc");
    expect(lastLines("a\n", 0)).toBe("");
  });
});

describe("entrypoints", () => {
  it("are quoted for a shell, one text as it is, one script by tray run", () => {
    expect(entrypointOf(["node", "main.js", "a b", "it's"])).toBe(`node main.js 'a b' 'it'"'"'s'`);
    expect(entrypointOf(["echo a && echo b"])).toBe("echo a && echo b");
    expect(entrypointOf(["src/main.ts"])).toBe("tray run src/main.ts");
    expect(entrypointOf(["main.ts", "--files", "a b"])).toBe("tray run main.ts --files 'a b'");
    expect(quote("")).toBe("''");
  });
});

describe("packages", () => {
  const write = (path: string, text: string): void => {
    mkdirSync(join(dir, path, ".."), { recursive: true });
    writeFileSync(join(dir, path), text);
  };
  it("leave out what is ignored, deeper files having the last word", () => {
    for (const path of ["a.ts", "x.log", "sub/x.log", "sub/keep.log", ".git/HEAD", "node_modules/p/index.js", "secret/k", "big.bin"])
      write(path, path);
    write(".gitignore", "*.log\nsecret/\n");
    write("sub/.gitignore", "!keep.log\n");
    write(".trayignore", "/big.bin\n");
    mkdirSync(join(dir, "empty"));
    symlinkSync(dir, join(dir, "sub/loop"));
    expect(collectFiles(dir, ["a.ts"]).map((f) => f.path)).toEqual([
      ".gitignore",
      ".trayignore",
      "empty/",
      "node_modules/p/index.js",
      "sub/.gitignore",
      "sub/keep.log",
    ]);
  });
  it("are the same bytes for the same content", () => {
    write("b/a.txt", "hello");
    const archive = (): Buffer => Buffer.concat([...zipOf(collectFiles(dir), (f) => require("node:fs").readFileSync(f.absolute) as Buffer)]);
    const first = archive();
    rmSync(join(dir, "b"), { recursive: true });
    write("b/a.txt", "hello");
    expect(archive().equals(first)).toBe(true);
    expect(crc32(Buffer.from("123456789"))).toBe(0xcbf43926); // the check value of CRC-32
  });
});
