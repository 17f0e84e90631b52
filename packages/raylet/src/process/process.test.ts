import { spawn } from "node:child_process";
import { existsSync, mkdtempSync, readFileSync, readdirSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { deferred, sleep, systemClock } from "@tray/common";
import type { WorkerProcessConfig } from "@tray/protocol";
import { FileLogStore } from "../logs/file-store.js";
import { LineSplitter } from "../logs/line-splitter.js";
import { arenaPath, removeDeadArenas } from "./arena-file.js";
import { spawnChild } from "./child.js";
import { detectCpus, detectMemory } from "./machine.js";
import { PidRecord } from "./pid-record.js";
import { processExists, startTimeOf } from "./proc.js";
import { ProcessSpawners } from "./spawners.js";

let dir: string;
beforeEach(() => {
  dir = mkdtempSync(join(tmpdir(), "raylet-test-"));
});
afterEach(() => rmSync(dir, { recursive: true, force: true }));

const gone = async (pid: number): Promise<void> => {
  for (let i = 0; processExists(pid); i++) {
    if (i > 300) throw new Error(`process ${pid} is left`);
    await sleep(systemClock, 10);
  }
};

/** A worker that prints, starts a grandchild that would live for ever, and then waits, or ends as its environment says. */
const script = `
const grandchild = require("node:child_process").spawn(process.execPath, ["-e", "setInterval(() => {}, 1000)"], { stdio: "ignore" });
const config = JSON.parse(require("node:fs").readFileSync(process.env.TRAY_PROCESS_CONFIG, "utf8"));
process.stdout.write(JSON.stringify({ grandchild: grandchild.pid, workerId: config.workerId, greeting: process.env.GREETING }) + "\\nno line end");
process.stderr.write("one\\ntwo\\n");
if (process.env.END) process.exit(Number(process.env.END));
new (require("node:net").Socket)({ fd: 3, readable: true, writable: false }).on("end", () => process.exit(0)).resume();
`;

function spawners(command: string[], env: Record<string, string> = {}): ProcessSpawners {
  const node = { nodeId: "n", gcsAddress: "", bindHost: "", advertiseHost: "", sessionDir: dir, logLevel: "info", watchPid: process.pid } as const;
  return new ProcessSpawners({
    clock: systemClock,
    env: { ...process.env, ...env },
    pids: new PidRecord(join(dir, "pids"), process.pid),
    configDir: join(dir, "run"),
    logsDir: join(dir, "logs"),
    logBytesMax: 1 << 20,
    workerCommand: command,
    supervisorCommand: undefined,
    worker: { ...node, sessionName: "s", systemConfig: {} } satisfies Partial<WorkerProcessConfig>,
    supervisor: node,
  });
}
const launch = (more: { envJson?: string; lines?: string[] } = {}) => ({
  workerId: "w1",
  startToken: "t",
  envHash: "",
  envJson: more.envJson ?? "",
  rayletAddress: "r:1",
  onLines: (isError: boolean, lines: readonly string[]): void => void more.lines?.push(...lines.map((line) => (isError ? `err ${line}` : line))),
});

describe("worker processes", () => {
  it("tell their end and last words, leave whole lines and log files, and take what they started along", async () => {
    const lines: string[] = [];
    const child = spawners([process.execPath, "-e", script], { END: "3" }).spawn(launch({ lines, envJson: '{"envVars":{"GREETING":"hi"}}' }));
    expect(child.pid).toBeGreaterThan(0);
    expect(await child.exited).toEqual({ code: 3, signal: "", stderrTail: ["one", "two"], failure: "" });
    const said = JSON.parse(lines[0] as string) as { grandchild: number; workerId: string; greeting: string };
    expect(said).toMatchObject({ workerId: "w1", greeting: "hi" });
    expect(lines.filter((line) => !line.startsWith("err ")).slice(1)).toEqual(["no line end"]);
    await gone(child.pid);
    await gone(said.grandchild);
    const logs = new FileLogStore(join(dir, "logs"));
    expect(await logs.list()).toEqual([`worker-w1-${child.pid}.err`, `worker-w1-${child.pid}.out`]);
    expect(Buffer.from((await logs.read(`worker-w1-${child.pid}.err`, -4, 100)).data).toString()).toBe("two\n");
    await expect(logs.read("../pids", 0, 10)).rejects.toMatchObject({ code: "INVALID_ARGUMENT" });
    expect(readdirSync(join(dir, "run"))).toEqual([]); // its configuration held a token
  });

  it("are killed as a group", async () => {
    const lines: string[] = [];
    const started = deferred();
    const onLines = (_: boolean, more: readonly string[]): void => {
      lines.push(...more);
      if (more.some((line) => line.includes("grandchild"))) started.resolve();
    };
    const child = spawners([process.execPath, "-e", script]).spawn({ ...launch(), onLines });
    await started.promise;
    child.kill("SIGKILL");
    expect(await child.exited).toMatchObject({ code: null, signal: "SIGKILL" });
    await gone(child.pid);
    const grandchild = lines.map((line) => /"grandchild":(\d+)/.exec(line)?.[1]).find((pid) => pid !== undefined);
    await gone(Number(grandchild));
    child.kill("SIGKILL"); // after the end: nothing
  });

  it("that cannot be started end at once, with the reason", async () => {
    const exit = await spawners([join(dir, "nothing-here")]).spawn(launch()).exited;
    expect(exit.failure).toMatch(/nothing-here cannot be started/);
    expect(await spawners([]).spawn(launch()).exited).toMatchObject({ code: null });
  });

  it("read end-of-file on descriptor 3 when their raylet is killed; the next raylet ends those who do not care", async () => {
    // A raylet in a process of its own, with one child that watches fd 3 and one that does not.
    const parent = `
      const { spawn } = require("node:child_process");
      const start = (code) => spawn(process.execPath, ["-e", code], { detached: true, stdio: ["ignore", "ignore", "ignore", "pipe"] }).pid;
      console.log(JSON.stringify([start('new (require("node:net").Socket)({ fd: 3 }).on("end", () => process.exit(0)).resume()'), start("setInterval(() => {}, 1000)")]));
      setInterval(() => {}, 1000);
    `;
    const raylet = spawn(process.execPath, ["-e", parent], { stdio: ["ignore", "pipe", "inherit"] });
    const [watching, careless] = await new Promise<[number, number]>((resolve) =>
      raylet.stdout.once("data", (chunk: Buffer) => resolve(JSON.parse(chunk.toString()) as [number, number])),
    );
    const path = join(dir, "raylet.pids");
    const entry = (role: string, pid: number, start = startTimeOf(pid)): string => `${JSON.stringify({ role, pid, start })}\n`;
    writeFileSync(
      path,
      entry("raylet", raylet.pid ?? 0) + entry("child", watching) + entry("child", careless) + entry("child", process.pid, "1") + '{"role":"chi',
    );
    expect(new PidRecord(path, process.pid).takeOver()).toBeUndefined(); // P2: it lives
    raylet.kill("SIGKILL");
    await new Promise((resolve) => raylet.once("exit", resolve));
    await gone(watching);
    expect(processExists(careless)).toBe(true);
    const record = new PidRecord(path, process.pid);
    expect(record.takeOver()).toBe(1); // P1: not us, whose start time differs
    await gone(careless);
    expect(readFileSync(path, "utf8")).toBe(entry("raylet", process.pid));
  });

  it("whose output is larger than a log file rotate it", async () => {
    const path = join(dir, "big");
    const child = spawnChild({
      clock: systemClock,
      command: [process.execPath, "-e", 'for (let i = 0; i < 30; i++) process.stdout.write("x".repeat(9999) + "\\n")'],
      env: {},
      logPath: () => path,
      logBytesMax: 100_000,
    });
    expect(await child.exited).toMatchObject({ code: 0 });
    // Files end where chunks end, and how large those are is the kernel's choice; a file is full with the chunk that takes it past its limit.
    const [present, before] = [`${path}.out`, `${path}.out.1`].map((file) => (existsSync(file) ? readFileSync(file).length : 0)) as [number, number];
    expect(present).toBeLessThan(100_000); // none when the last chunk just filled the file before it
    expect(before).toBeGreaterThanOrEqual(100_000);
    expect(readdirSync(dir).every((name) => name === "big.out" || name === "big.out.1" || name === "big.err" || name === "big.err.1")).toBe(true);
  });
});

describe("what is left in shared memory", () => {
  it("is removed when its raylet is gone, and only then", () => {
    const live = arenaPath(dir, 1000, "aa", process.pid);
    const names = [live, join(dir, `tray-1000-bb-${process.pid}-1`), join(dir, "tray-1001-cc-1-1"), join(dir, "other")];
    for (const name of names) writeFileSync(name, "");
    expect(removeDeadArenas(dir, 1000)).toEqual([names[1]]);
    expect(readdirSync(dir).sort()).toEqual([names[0], names[2], names[3]].map((name) => (name as string).slice(dir.length + 1)).sort());
  });
});

describe("detection", () => {
  it("heeds control group limits", () => {
    writeFileSync(join(dir, "cpu.max"), "100000 100000\n");
    writeFileSync(join(dir, "memory.max"), "1048576\n");
    expect([detectCpus(dir), detectMemory(dir)]).toEqual([1, 1_048_576]);
    writeFileSync(join(dir, "cpu.max"), "max 100000\n");
    writeFileSync(join(dir, "memory.max"), "max\n");
    expect(detectCpus(dir)).toBe(detectCpus(join(dir, "none")));
    expect(detectMemory(dir)).toBeGreaterThan(1_048_576);
  });
});

describe("LineSplitter", () => {
  it("keeps characters and lines whole, cuts what is too long", () => {
    const splitter = new LineSplitter(4);
    const bytes = Buffer.from("a\r\nü€\nlonger\nrest");
    const lines = [...bytes].flatMap((byte) => splitter.push(Uint8Array.of(byte)));
    expect([...lines, ...splitter.end()]).toEqual(["a", "ü€", "long", "er", "rest"]);
  });
});
