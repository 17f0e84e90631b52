// Memory of a tree of processes, from /proc (Linux).
import { readdirSync, readFileSync } from "node:fs";

/** Resident memory of `root` and all its descendants. Pages that several of them map are counted for each: what `ps` adds up to. */
export function residentMebibytes(root: number): number {
  const children = new Map<number, number[]>();
  for (const name of readdirSync("/proc")) {
    const pid = Number(name);
    if (!Number.isInteger(pid)) continue;
    const parent = statusOf(pid)?.parent;
    if (parent !== undefined) children.set(parent, [...(children.get(parent) ?? []), pid]);
  }
  let kibibytes = 0;
  const left = [root];
  for (let pid = left.pop(); pid !== undefined; pid = left.pop()) {
    kibibytes += statusOf(pid)?.residentKibibytes ?? 0;
    left.push(...(children.get(pid) ?? []));
  }
  return kibibytes / 1024;
}

function statusOf(pid: number): { parent: number; residentKibibytes: number } | undefined {
  try {
    const text = readFileSync(`/proc/${pid}/status`, "utf8");
    const number = (name: string): number => Number(new RegExp(`^${name}:\\s+(\\d+)`, "m").exec(text)?.[1] ?? 0);
    return { parent: number("PPid"), residentKibibytes: number("VmRSS") };
  } catch {
    return undefined; // it has ended
  }
}
