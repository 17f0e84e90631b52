// What trees of processes take, from /proc (Linux).
import { readdirSync, readFileSync } from "node:fs";

export interface Memory {
  /** Pages that several processes map are counted for each: what `ps` adds up to. */
  readonly residentMebibytes: number;
  /** Pages that several processes map are divided among them: what goes when these processes end, if they share with each other only. */
  readonly proportionalMebibytes: number;
}

/** Of `root` and all its descendants. */
export function memoryOf(root: number): Memory {
  let resident = 0;
  let proportional = 0;
  for (const pid of treeOf(root)) {
    const text = read(pid, "smaps_rollup");
    resident += kibibytes(text, "Rss");
    proportional += kibibytes(text, "Pss");
  }
  return { residentMebibytes: resident / 1024, proportionalMebibytes: proportional / 1024 };
}

/** The first descendant of `root` whose command line contains `text`. */
export const findDescendant = (root: number, text: string): number | undefined =>
  treeOf(root).find((pid) => pid !== root && read(pid, "cmdline").includes(text));

/** Milliseconds that all threads of a process have run. Threads that have ended are not counted. */
export function cpuMsOf(pid: number): number {
  let nanoseconds = 0;
  for (const thread of list(`/proc/${pid}/task`)) nanoseconds += Number(read(pid, `task/${thread}/schedstat`).split(" ", 1)[0]);
  return nanoseconds / 1e6;
}

function treeOf(root: number): number[] {
  const children = new Map<number, number[]>();
  for (const name of list("/proc")) {
    const pid = Number(name);
    if (!Number.isInteger(pid)) continue;
    const parent = Number(/^PPid:\s+(\d+)/m.exec(read(pid, "status"))?.[1]);
    children.set(parent, [...(children.get(parent) ?? []), pid]);
  }
  const found = [root];
  for (let i = 0; i < found.length; i++) found.push(...(children.get(found[i] as number) ?? []));
  return found;
}

const kibibytes = (text: string, name: string): number => Number(new RegExp(`^${name}:\\s+(\\d+)`, "m").exec(text)?.[1] ?? 0);

// Processes end while one looks: nothing is read of those.
function read(pid: number, file: string): string {
  try {
    return readFileSync(`/proc/${pid}/${file}`, "utf8");
  } catch {
    return "";
  }
}
function list(dir: string): string[] {
  try {
    return readdirSync(dir);
  } catch {
    return [];
  }
}
