// What /proc tells about processes. Where there is no /proc nothing is known, and nothing is killed or removed on a guess.
import { readdirSync, readFileSync } from "node:fs";

/** Start time in clock ticks since boot: with the pid it names one process for good, although pids are used again. Empty = no such process, or unknown. */
export function startTimeOf(pid: number): string {
  try {
    const stat = readFileSync(`/proc/${pid}/stat`, "latin1");
    const fields = stat.slice(stat.lastIndexOf(")") + 2).split(" "); // the name may hold spaces and brackets
    if (fields[0] === "Z" || fields[0] === "X") return ""; // a zombie does nothing any more
    return fields[19] ?? "";
  } catch {
    return "";
  }
}

/** True while the process exists and is more than a zombie. */
export function processExists(pid: number): boolean {
  if (pid <= 0) return false;
  try {
    process.kill(pid, 0);
  } catch (error) {
    return (error as NodeJS.ErrnoException).code === "EPERM";
  }
  try {
    const stat = readFileSync(`/proc/${pid}/stat`, "latin1");
    return !/^[ZX]/.test(stat.slice(stat.lastIndexOf(")") + 2));
  } catch {
    return true; // no /proc here: the signal said that it exists
  }
}

/** Signals a process group. Answers whether there was one. */
export function signalGroup(pid: number, signal: NodeJS.Signals): boolean {
  if (pid <= 1) return false;
  try {
    process.kill(-pid, signal);
    return true;
  } catch {
    return false; // ESRCH: nobody is left
  }
}

/**
 * Kills every process whose environment holds this entry ("NAME=value"), whatever group or session it has made for itself: an environment is inherited.
 * Those that are not ours to read are not ours to kill. O(processes of the machine).
 */
export function killMarked(entry: string): void {
  // What was started between the look and the signal is found by the next look.
  for (let round = 0; round < 3; round++) {
    let found = 0;
    for (const name of listProc()) {
      if (Number(name) === process.pid || !hasEntry(name, entry)) continue;
      found++;
      try {
        process.kill(Number(name), "SIGKILL");
      } catch {
        // It has ended meanwhile.
      }
    }
    if (found === 0) return;
  }
}

function listProc(): string[] {
  try {
    return readdirSync("/proc").filter((name) => /^\d+$/.test(name));
  } catch {
    return []; // no /proc here
  }
}

function hasEntry(pid: string, entry: string): boolean {
  try {
    const environment = readFileSync(`/proc/${pid}/environ`, "latin1");
    return environment.startsWith(`${entry}\0`) || environment.includes(`\0${entry}\0`);
  } catch {
    return false; // ended, or another user's
  }
}
