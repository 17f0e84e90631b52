// PidRecord: which processes this node runs, on disk, so that the next raylet of the same node directory can end what a crashed one left.
//
// Invariants
//   P1. Only a process whose pid and start time both match the record is killed: pids are used again.
//   P2. Nothing is killed while the raylet that wrote the record lives.
import { readFileSync, rmSync, writeFileSync } from "node:fs";
import { appendLine } from "./child.js";
import { signalGroup, startTimeOf } from "./proc.js";

interface Entry {
  readonly role: "raylet" | "child";
  readonly pid: number;
  readonly start: string;
}

/** Lines after which the file is written anew with the living only. */
const linesMax = 2_000;

export class PidRecord {
  private readonly live = new Map<number, string>();
  private lines = 0;
  private readonly self: Entry;

  constructor(
    private readonly path: string,
    pid: number,
  ) {
    this.self = { role: "raylet", pid, start: startTimeOf(pid) };
  }

  /** Kills what a dead predecessor left, and begins a record of our own. @returns how many groups were killed; undefined = the predecessor lives. */
  takeOver(): number | undefined {
    const entries = readEntries(this.path);
    const predecessor = entries.find((entry) => entry.role === "raylet");
    if (predecessor !== undefined && predecessor.pid !== this.self.pid && isAlive(predecessor)) return undefined; // P2
    let killed = 0;
    for (const entry of entries) if (entry.role === "child" && isAlive(entry) && signalGroup(entry.pid, "SIGKILL")) killed++; // P1
    this.rewrite();
    return killed;
  }

  add(pid: number): void {
    const start = startTimeOf(pid);
    if (start === "") return;
    this.live.set(pid, start);
    if (++this.lines > linesMax) this.rewrite();
    else appendLine(this.path, JSON.stringify({ role: "child", pid, start } satisfies Entry));
  }

  remove(pid: number): void {
    this.live.delete(pid);
  }

  /** All ended well: there is nothing to record. */
  close(): void {
    rmSync(this.path, { force: true });
  }

  private rewrite(): void {
    const entries: Entry[] = [this.self, ...[...this.live].map(([pid, start]): Entry => ({ role: "child", pid, start }))];
    this.lines = entries.length;
    writeFileSync(this.path, entries.map((entry) => `${JSON.stringify(entry)}\n`).join(""), { mode: 0o600 });
  }
}

const isAlive = ({ pid, start }: Entry): boolean => start !== "" && startTimeOf(pid) === start;

function readEntries(path: string): Entry[] {
  let text: string;
  try {
    text = readFileSync(path, "utf8");
  } catch {
    return []; // the first raylet here
  }
  const entries: Entry[] = [];
  for (const line of text.split("\n")) {
    try {
      if (line !== "") entries.push(JSON.parse(line) as Entry);
    } catch {
      // the crash cut the last line short
    }
  }
  return entries;
}
