// One daemon of a node as a process: started from its configuration, or adopted when it already runs; and how it ended.
import { type Clock, deferred, type Deferred, messageOf } from "@tray/common";
import { processConfigVariable, type ProcessAddress } from "@tray/protocol";
import { spawn } from "node:child_process";
import { closeSync, existsSync, openSync, readFileSync, rmSync, statSync, watch } from "node:fs";
import { dirname } from "node:path";
import { readAddressFile, writeJsonAtomic } from "./address-file.js";
import { isSameProcess, readProcess, signalProcess } from "./processes.js";

export interface DaemonExit {
  readonly code: number | null;
  readonly signal: string | null;
}

/** A daemon that runs. `exited` resolves once, whether it is our child or was adopted (then code and signal are unknown: null). */
export interface DaemonProcess {
  readonly pid: number;
  readonly exited: Promise<DaemonExit>;
  kill(signal: NodeJS.Signals): void;
}

export interface DaemonSpec {
  readonly command: readonly string[];
  readonly config: object;
  readonly configFile: string;
  readonly addressFile: string;
  readonly logFile: string;
  readonly stderrFile: string;
  readonly env: Readonly<Record<string, string>>;
  readonly cwd: string;
}

export function startDaemon(spec: DaemonSpec): DaemonProcess {
  rmSync(spec.addressFile, { force: true }); // a stale one would look like readiness
  writeJsonAtomic(spec.configFile, spec.config);
  const [executable, ...args] = spec.command;
  const stderr = openSync(spec.stderrFile, "a", 0o600);
  const exited: Deferred<DaemonExit> = deferred();
  try {
    const child = spawn(executable as string, args, {
      detached: true, // its own session: a terminal's Ctrl-C is for the supervisor, which ends daemons in order
      stdio: ["ignore", stderr, stderr],
      env: { ...spec.env, [processConfigVariable]: spec.configFile },
      cwd: spec.cwd,
    });
    child.on("exit", (code, signal) => exited.resolve({ code, signal }));
    child.on("error", () => exited.resolve({ code: 70, signal: null }));
    const pid = child.pid ?? -1;
    return {
      pid,
      exited: exited.promise,
      kill: (signal) => void (pid > 0 && child.exitCode === null && child.signalCode === null && signalProcess(pid, signal)),
    };
  } finally {
    closeSync(stderr);
  }
}

/** Watches a daemon that an earlier supervisor started. It is no child of ours, so /proc is asked. */
export function adoptDaemon(pid: number, clock: Clock): DaemonProcess {
  const exited: Deferred<DaemonExit> = deferred();
  const identity = readProcess(pid);
  const timer = clock.every(200, () => {
    if (identity !== undefined && isSameProcess(identity)) return;
    timer.cancel();
    exited.resolve({ code: null, signal: null });
  });
  return { pid, exited: exited.promise, kill: (signal) => void (identity !== undefined && isSameProcess(identity) && signalProcess(pid, signal)) };
}

/** Resolves with the daemon's address record, or how it ended before it had one, or undefined after `timeoutMs`. */
export function awaitServing(
  daemon: DaemonProcess,
  addressFile: string,
  clock: Clock,
  timeoutMs: number,
): Promise<ProcessAddress | DaemonExit | undefined> {
  return new Promise((resolve) => {
    const finish = (outcome: ProcessAddress | DaemonExit | undefined): void => {
      watcher.close();
      poll.cancel();
      deadline.cancel();
      resolve(outcome);
    };
    const look = (): void => {
      const record = readAddressFile(addressFile);
      if (record !== undefined && record.pid === daemon.pid) finish(record);
    };
    const watcher = watch(dirname(addressFile), look);
    const poll = clock.every(100, look); // inotify may be exhausted or absent; then this is what tells
    const deadline = clock.after(timeoutMs, () => finish(undefined));
    void daemon.exited.then(finish);
    look();
  });
}

export const isExit = (outcome: ProcessAddress | DaemonExit): outcome is DaemonExit => !("address" in outcome);

/** SIGTERM, then SIGKILL after `graceMs`; resolves when it has ended. */
export async function endDaemon(daemon: DaemonProcess, clock: Clock, graceMs: number): Promise<void> {
  daemon.kill("SIGTERM");
  const timer = clock.after(graceMs, () => daemon.kill("SIGKILL"));
  await daemon.exited;
  timer.cancel();
}

export function describeExit(exit: DaemonExit): string {
  if (exit.signal !== null) return `was killed by ${exit.signal}`;
  return exit.code === null ? "has ended" : `ended with exit code ${exit.code}`;
}

/** The last lines that a daemon left behind, its log's messages made readable. */
export function lastWords(
  spec: Pick<DaemonSpec, "logFile" | "stderrFile">,
  sinceByte: { log: number; stderr: number } = { log: 0, stderr: 0 },
): string[] {
  const log = tail(spec.logFile, sinceByte.log, 8).map(readable);
  return [...log, ...tail(spec.stderrFile, sinceByte.stderr, 8)];
}

/** Where the logs end now, so that `lastWords` later tells only of what comes. */
export function logEnds(spec: Pick<DaemonSpec, "logFile" | "stderrFile">): { log: number; stderr: number } {
  return { log: sizeOf(spec.logFile), stderr: sizeOf(spec.stderrFile) };
}

function tail(file: string, from: number, lines: number): string[] {
  if (!existsSync(file)) return [];
  try {
    const text = readFileSync(file).subarray(from).toString("utf8");
    return text
      .split("\n")
      .filter((line) => line.trim() !== "")
      .slice(-lines);
  } catch (error) {
    return [`(cannot read ${file}: ${messageOf(error)})`];
  }
}

function readable(line: string): string {
  try {
    const { level, message, error } = JSON.parse(line) as { level?: string; message?: string; error?: unknown };
    const detail =
      typeof error === "object" && error !== null && "message" in error
        ? ` (${String(error.message)})`
        : typeof error === "string"
          ? ` (${error})`
          : "";
    return message === undefined ? line : `${level ?? "info"}: ${message}${detail}`;
  } catch {
    return line;
  }
}

const sizeOf = (file: string): number => statSync(file, { throwIfNoEntry: false })?.size ?? 0;
