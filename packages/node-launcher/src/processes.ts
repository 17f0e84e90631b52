// What /proc tells about processes: who lives, who descends from whom, who belongs to a session. Pids are reused, so identity is always checked by
// something that the process cannot have by accident: its start time, or the configuration file named in its environment.
import { processConfigVariable } from "@tray/protocol";
import { readdirSync, readFileSync } from "node:fs";

export interface ProcessEntry {
  readonly pid: number;
  readonly ppid: number;
  readonly pgid: number;
  readonly sessionId: number;
  /** "R", "S", "Z", … */
  readonly state: string;
  /** Clock ticks since boot; with the pid it names one process for good. */
  readonly startTicks: number;
}

/** Undefined when there is no such process. */
export function readProcess(pid: number): ProcessEntry | undefined {
  const text = read(`/proc/${pid}/stat`);
  if (text === undefined) return undefined;
  // The second field is the name in parentheses and may hold anything, parentheses and spaces included.
  const fields = text.slice(text.lastIndexOf(")") + 2).split(" ");
  return {
    pid,
    state: fields[0] ?? "?",
    ppid: Number(fields[1]),
    pgid: Number(fields[2]),
    sessionId: Number(fields[3]),
    startTicks: Number(fields[19]),
  };
}

export function listProcesses(): ProcessEntry[] {
  const out: ProcessEntry[] = [];
  for (const name of readdirSync("/proc")) {
    if (!/^\d+$/.test(name)) continue;
    const entry = readProcess(Number(name));
    if (entry !== undefined) out.push(entry);
  }
  return out;
}

/** A zombie has ended: only its parent has not looked yet, and where nothing reaps orphans it never will. */
export function isAlive(pid: number): boolean {
  const entry = readProcess(pid);
  return entry !== undefined && entry.state !== "Z" && entry.state !== "X";
}

/** The same process as when `entry` was read. */
export function isSameProcess(entry: ProcessEntry): boolean {
  const now = readProcess(entry.pid);
  return now !== undefined && now.state !== "Z" && now.state !== "X" && now.startTicks === entry.startTicks;
}

/** The environment a process was started with; undefined when it is gone or someone else's. */
export function environmentOf(pid: number): ReadonlyMap<string, string> | undefined {
  const text = read(`/proc/${pid}/environ`);
  if (text === undefined) return undefined;
  const out = new Map<string, string>();
  for (const entry of text.split("\0")) {
    const at = entry.indexOf("=");
    if (at > 0) out.set(entry.slice(0, at), entry.slice(at + 1));
  }
  return out;
}

/** The configuration file that a tray process, or a process that descends from one, was started with. */
export function processConfigOf(pid: number): string | undefined {
  return environmentOf(pid)?.get(processConfigVariable);
}

export function commandLineOf(pid: number): string[] {
  return read(`/proc/${pid}/cmdline`)?.split("\0").slice(0, -1) ?? [];
}

/** The plan of a supervisor, from its command line. */
export function planFileOf(pid: number): string | undefined {
  const args = commandLineOf(pid);
  const at = args.indexOf("__supervise");
  return at < 0 ? undefined : args[at + 1];
}

/** Living processes of this user whose configuration lies under `dir`: daemons, workers, and what user code in them started. */
export function processesUnder(dir: string, except: ReadonlySet<number> = new Set()): ProcessEntry[] {
  return listProcesses().filter((p) => p.state !== "Z" && !except.has(p.pid) && (processConfigOf(p.pid)?.startsWith(`${dir}/`) ?? false));
}

/**
 * Kills what a process has started, itself not: its descendants, and whoever carries its configuration in the environment, in a session of its own or not.
 * What cut both ties (double fork and an environment of its own) is not found.
 */
export function killBelongings(pid: number, configFile: string): void {
  // What was started between the look and the signal is found by the next look.
  for (let round = 0; round < 3; round++) {
    const all = listProcesses().filter((p) => p.state !== "Z");
    const marked = all.filter((p) => processConfigOf(p.pid) === configFile).map((p) => p.pid);
    const left = withDescendants([pid, ...marked], all).filter((p) => p.pid !== pid);
    if (left.length === 0) return;
    for (const p of left) signalProcess(p.pid, "SIGKILL");
  }
}

/** `roots` and all their descendants among `all`. */
export function withDescendants(roots: Iterable<number>, all: readonly ProcessEntry[]): ProcessEntry[] {
  const children = new Map<number, ProcessEntry[]>();
  for (const p of all) {
    const siblings = children.get(p.ppid);
    if (siblings === undefined) children.set(p.ppid, [p]);
    else siblings.push(p);
  }
  const wanted = new Set(roots);
  const out = new Map<number, ProcessEntry>();
  const queue = all.filter((p) => wanted.has(p.pid));
  for (let p = queue.pop(); p !== undefined; p = queue.pop()) {
    if (out.has(p.pid)) continue;
    out.set(p.pid, p);
    queue.push(...(children.get(p.pid) ?? []));
  }
  return [...out.values()];
}

/** Sends a signal; false when there is no such process any more. */
export function signalProcess(pid: number, signal: NodeJS.Signals): boolean {
  try {
    process.kill(pid, signal);
    return true;
  } catch {
    return false; // ESRCH: it has ended; EPERM: the pid is someone else's by now
  }
}

function read(path: string): string | undefined {
  try {
    return readFileSync(path, "utf8");
  } catch {
    return undefined; // the process ended, or is not ours to read
  }
}
