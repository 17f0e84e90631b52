// Lineage: the ended tasks that this process could run again for a lost result, and the memory that they take.
//
// Owns:     which tasks are kept, in order of age, and what they count.
// Not mine: when a task is worth keeping and what it holds (submitter.ts), values that nothing but lineage needs (reference-table.ts tells their size).
// Crosses:  in: keep, drop, values. out: LineageHost.evict.
//
// Invariants
//   L1. after every call, what is kept takes at most `limitBytes`, or nothing is kept.
//   L2. what is evicted is what was kept longest, until nine tenths of the limit are left: a step at a time would look through what was dropped before.
import type { TaskEntry } from "./task-entry.js";

export interface LineageHost {
  /** The task will not run again: let go of its arguments. */
  evict(task: TaskEntry): void;
}

/** A task and its first results' entries, roughly, in bytes. */
const taskBytes = 600;
const returnBytes = 200;
const inputBytes = 16;
const leaves = 0.9;

/** What keeping a task costs: its entry and its arguments; not the objects that these refer to. */
export function lineageBytesOf(task: TaskEntry): number {
  const results = task.returns.length + (task.stream?.live.size ?? 0);
  return taskBytes + returnBytes * results + inputBytes * (task.refs.length + task.held.length) + task.args.byteLength;
}

export class Lineage {
  /** Insertion order is age. Bytes as they were counted. */
  private readonly kept = new Map<TaskEntry, number>();
  private limit = Number.POSITIVE_INFINITY;
  private tasksBytes = 0;
  private valuesBytes = 0;
  /** Tasks evicted so far. */
  evicted = 0;

  constructor(private readonly host: LineageHost) {}

  /** Bytes counted at present. */
  get bytes(): number {
    return this.tasksBytes + this.valuesBytes;
  }
  get size(): number {
    return this.kept.size;
  }
  get limitBytes(): number {
    return this.limit;
  }
  set limitBytes(bytes: number) {
    this.limit = bytes;
    this.trim();
  }

  keep(task: TaskEntry): void {
    this.drop(task);
    const bytes = lineageBytesOf(task);
    this.kept.set(task, bytes);
    this.tasksBytes += bytes;
    this.trim();
  }

  drop(task: TaskEntry): void {
    const bytes = this.kept.get(task);
    if (bytes === undefined) return;
    this.kept.delete(task);
    this.tasksBytes -= bytes;
  }

  /** A value came to be held by nothing but lineage (its size), or is not held any more (minus its size). */
  values(deltaBytes: number): void {
    this.valuesBytes += deltaBytes;
    if (deltaBytes > 0) this.trim();
  }

  private trim(): void {
    if (this.bytes <= this.limit) return;
    const enough = this.limit * leaves;
    for (const task of this.kept.keys()) {
      if (this.bytes <= enough) return; // L2
      this.drop(task);
      this.evicted++;
      this.host.evict(task); // may change our values before it returns
    }
  }
}
