// CommitQueue: which batches share a transaction, and who is told what.
//
// Owns:     batches that wait, the one group being written.
// Not mine: how a group is written (`write`, the store's).
// Crosses:  in: submit, drain, abandon.  out: write(ops), which either applies all of them or throws.
//
// Invariants
//   Q1. One group is written at a time, and groups in the order of submission.
//   Q2. A batch is answered once, after its group was written; after abandon() never.
//   Q3. When a group fails its batches are tried one by one: a batch that does not fit must not fail its neighbours.
import { type Clock, type Deferred, deferred, TrayError } from "@tray/common";
import type { WriteBatch, WriteOp } from "./write-batch.js";

export interface CommitQueueOptions {
  clock: Clock;
  write: (ops: readonly WriteOp[], bytes: number) => Promise<void> | void;
  /** Submitted and unanswered bytes above which submit refuses. */
  pendingBytesMax: number;
}

interface Waiting {
  readonly batch: WriteBatch;
  readonly done: Deferred<void>;
}

export class CommitQueue {
  private waiting: Waiting[] = [];
  private pendingBytes = 0;
  private state: "idle" | "scheduled" | "writing" | "abandoned" = "idle";
  private readonly drained: Deferred<void>[] = [];

  constructor(private readonly options: CommitQueueOptions) {}

  submit(batch: WriteBatch): Promise<void> {
    // A single batch over the limit still passes when nothing else waits: the limit bounds a backlog, not a batch.
    if (this.pendingBytes > 0 && this.pendingBytes + batch.bytes > this.options.pendingBytesMax) {
      const message = `${this.pendingBytes} bytes wait to be stored; ${batch.bytes} more would pass the limit of ${this.options.pendingBytesMax}`;
      return Promise.reject(new TrayError("RESOURCE_EXHAUSTED", message));
    }
    const done = deferred();
    this.waiting.push({ batch, done });
    this.pendingBytes += batch.bytes;
    if (this.state === "idle") this.schedule();
    return done.promise;
  }

  /** Resolves when everything submitted so far is answered. */
  drain(): Promise<void> {
    if (this.state === "idle" || this.state === "abandoned") return Promise.resolve();
    const done = deferred();
    this.drained.push(done);
    return done.promise;
  }

  /** The process died, as far as this queue is concerned: nothing is written or answered any more. */
  abandon(): void {
    this.state = "abandoned";
    this.waiting = [];
    for (const done of this.drained.splice(0)) done.resolve();
  }

  private schedule(): void {
    this.state = "scheduled";
    this.options.clock.endOfTurn(() => void this.writeWaiting());
  }

  private async writeWaiting(): Promise<void> {
    if (this.state === "abandoned") return;
    this.state = "writing";
    const group = this.waiting;
    this.waiting = [];
    const failure = await this.tryWrite(group);
    if (failure === undefined || group.length === 1) this.answer(group, failure);
    else for (const one of group) this.answer([one], await this.tryWrite([one])); // Q3
    if (this.isAbandoned()) return;
    if (this.waiting.length > 0) return this.schedule();
    this.state = "idle";
    for (const done of this.drained.splice(0)) done.resolve();
  }

  private async tryWrite(group: readonly Waiting[]): Promise<unknown> {
    try {
      const written = this.options.write(
        group.flatMap((w) => w.batch.ops),
        group.reduce((sum, w) => sum + w.batch.bytes, 0),
      );
      if (written !== undefined) await written;
      return undefined;
    } catch (error) {
      return error;
    }
  }

  private answer(group: readonly Waiting[], failure: unknown): void {
    for (const { batch, done } of group) {
      this.pendingBytes -= batch.bytes;
      if (this.isAbandoned()) continue; // Q2
      if (failure === undefined) done.resolve();
      else done.reject(failure);
    }
  }

  /** A method, because the compiler does not know that `state` may change during an await. */
  private isAbandoned(): boolean {
    return this.state === "abandoned";
  }
}
