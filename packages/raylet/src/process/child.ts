// One child process with its group: output to files and to whoever listens, its end told once.
//
// Invariants
//   C1. The group is gone when `exited` settles: whatever the process started and left behind is killed, in a session of its own or not.
//   C2. fd 3 of the child is a pipe of which we hold the other end: it reads end-of-file there when we are gone, however we ended.
import { type ChildProcess, spawn } from "node:child_process";
import { appendFileSync } from "node:fs";
import type { Readable } from "node:stream";
import { type Clock, deferred, messageOf } from "@tray/common";
import { logLineBytesMax, stderrTailLines } from "../limits.js";
import { LineSplitter } from "../logs/line-splitter.js";
import { RotatingFile } from "../logs/rotating-file.js";
import type { ProcessExit, SpawnedProcess } from "../pool/spawner.js";
import { killMarked, signalGroup } from "./proc.js";

export interface ChildOptions {
  readonly clock: Clock;
  /** [executable, …arguments] */
  readonly command: readonly string[];
  readonly env: Readonly<Record<string, string>>;
  /** "NAME=value" of `env` that no other process has, but for its descendants: by it they are found. */
  readonly mark?: string | undefined;
  readonly cwd?: string | undefined;
  /** Path without ending for its output (".out", ".err"), when the pid is known. Absent: its output is not kept. */
  readonly logPath?: ((pid: number) => string) | undefined;
  readonly logBytesMax: number;
  readonly onLines?: ((isError: boolean, lines: readonly string[]) => void) | undefined;
  readonly onSpawned?: ((pid: number) => void) | undefined;
  readonly onExited?: (() => void) | undefined;
}

/** How long output may still come after the end of the process: somebody else may hold the pipe's other end. */
const drainMs = 500;

export function spawnChild(options: ChildOptions): SpawnedProcess {
  const exited = deferred<ProcessExit>();
  const fail = (failure: string): SpawnedProcess => {
    options.onExited?.();
    exited.resolve({ code: null, signal: "", stderrTail: [], failure });
    return { pid: 0, exited: exited.promise, kill: () => undefined };
  };
  const [file, ...args] = options.command;
  if (file === undefined) return fail("no command line is configured for this kind of process");
  let child: ChildProcess;
  try {
    child = spawn(file, args, { cwd: options.cwd, env: { ...options.env }, detached: true, stdio: ["ignore", "pipe", "pipe", "pipe"] });
  } catch (error) {
    return fail(`it cannot be started: ${messageOf(error)}`);
  }
  const pid = child.pid;
  if (pid === undefined) {
    child.once("error", (error) => {
      options.onExited?.();
      exited.resolve({ code: null, signal: "", stderrTail: [], failure: `${file} cannot be started: ${error.message}` });
    });
    return { pid: 0, exited: exited.promise, kill: () => undefined };
  }
  options.onSpawned?.(pid);
  child.on("error", () => undefined); // signals are sent to the group, not through `child`: nothing to learn here
  child.stdio[3]?.on("error", () => undefined); // C2: the child may close its end; we never write

  const tail: string[] = [];
  const path = options.logPath?.(pid);
  const copies = [
    copyOut(child.stdout as Readable, path === undefined ? undefined : `${path}.out`, options, (lines) => options.onLines?.(false, lines)),
    copyOut(child.stderr as Readable, path === undefined ? undefined : `${path}.err`, options, (lines) => {
      tail.push(...lines.slice(-stderrTailLines));
      if (tail.length > stderrTailLines) tail.splice(0, tail.length - stderrTailLines);
      options.onLines?.(true, lines);
    }),
  ];
  let gone = false;
  child.once("exit", (code, signal) => {
    gone = true;
    signalGroup(pid, "SIGKILL"); // C1
    if (options.mark !== undefined) killMarked(options.mark);
    const late = options.clock.after(drainMs, () => {
      child.stdout?.destroy();
      child.stderr?.destroy();
    });
    void Promise.all(copies).then(() => {
      late.cancel();
      child.stdio[3]?.destroy();
      options.onExited?.();
      exited.resolve({ code, signal: signal ?? "", stderrTail: tail, failure: "" });
    });
  });
  return { pid, exited: exited.promise, kill: (signal) => void (gone || signalGroup(pid, signal)) };
}

/** Resolves when the stream has ended and all of it was written. Reads no faster than the disk takes it. */
function copyOut(stream: Readable, path: string | undefined, options: ChildOptions, onLines: (lines: string[]) => void): Promise<void> {
  const lines = new LineSplitter(logLineBytesMax);
  let said = false;
  const file =
    path === undefined
      ? undefined
      : new RotatingFile(path, options.logBytesMax, (error) => {
          if (said) return;
          said = true;
          onLines([`tray: output is not written to ${path} any more: ${error.message}`]);
        });
  const done = deferred();
  stream.on("data", (chunk: Buffer) => {
    const whole = lines.push(chunk);
    if (whole.length > 0) onLines(whole);
    if (file === undefined || file.write(chunk)) return;
    stream.pause();
    void file.drained().then(() => stream.resume());
  });
  stream.on("error", () => undefined); // "close" follows
  stream.once("close", () => {
    const last = lines.end();
    if (last.length > 0) onLines(last);
    void Promise.resolve(file?.end()).then(done.resolve, done.resolve);
  });
  return done.promise;
}

/** Appends a line to a record file. */
export const appendLine = (path: string, line: string): void => appendFileSync(path, `${line}\n`, { mode: 0o600 });
