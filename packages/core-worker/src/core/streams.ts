// Streams: what becomes of the items of streaming tasks that this process submitted.
//
// Owns:     nothing of its own: an ItemStream hangs on each streaming task.
// Not mine: attempts, retries and lineage (submitter.ts), running generators (the worker's).
// Crosses:  in: items made, takers, drops, ends and losses of attempts. out: StreamsHost.
//
// Invariants
//   M1. a stream holds each item until it is taken or the stream is dropped; from then on the item lives by its references like any object.
//   M2. an object that nobody will ever hold (an item of a dropped stream, one that came late) is deleted where it lies.
//   M3. the error that ends a stream is its last item, unless the stream is dropped.
import { errorInfo } from "./failures.js";
import type { ErrorInfo, NodeAddress, RefInfo, StreamItem, StreamStart, TaskReturn } from "@tray/protocol";
import { objectIdOf } from "@tray/protocol";
import type { Session } from "@tray/rpc";
import type { ItemStream, Taker } from "./item-stream.js";
import type { ObjectEntry, ReadyState } from "./object-entry.js";
import type { ReferenceTable } from "./reference-table.js";
import type { TaskEntry } from "./task-entry.js";

export interface StreamsHost {
  /** References inside an item: this process borrows them from now on. */
  adoptContained(contained: readonly RefInfo[]): ObjectEntry[];
  progress(session: Session, number: number, attempt: number, consumed: number): void;
  /** An object that nobody holds. */
  discard(objectId: string, node: NodeAddress): void;
}

export class Streams {
  constructor(
    private readonly references: ReferenceTable,
    private readonly host: StreamsHost,
  ) {}

  /** What the worker must know of earlier attempts. Items that went with their nodes are asked for in the same breath. */
  begin(task: TaskEntry, stream: ItemStream, session: Session, reconstructs: boolean): StreamStart {
    if (reconstructs && task.template.options.actorId === undefined) {
      for (const entry of stream.live) {
        if (entry.state.kind !== "stored" || entry.state.nodes.length > 0) continue;
        this.references.unresolve(entry);
        stream.want(entry.index);
      }
    }
    return stream.begin(session);
  }

  /** `expected`: it is of the present attempt. */
  made(task: TaskEntry, stream: ItemStream, item: StreamItem, expected: boolean): void {
    const { index } = item;
    const result = item.item as TaskReturn;
    if (expected && stream.wanted.has(index)) {
      stream.found(index);
      for (const entry of stream.live) {
        if (entry.index !== index || entry.state.kind !== "pending") continue;
        this.resolve(entry, result);
        return;
      }
      this.drop(task, index, result); // its last reference is gone meanwhile
    } else if (expected && !stream.ended && !stream.dropped && index === stream.delivered + 1) {
      const entry = this.newItem(task, stream, index);
      this.resolve(entry, result);
      this.add(task, stream, entry);
    } else this.drop(task, index, result); // M2
  }

  /** Answers how to stop waiting. */
  take(task: TaskEntry, stream: ItemStream, taker: Taker): () => void {
    const own: Taker = {
      take: (entry) => {
        taker.take(entry);
        this.references.unuse(entry); // M1
      },
      end: () => taker.end(),
    };
    stream.take(own);
    this.tell(task, stream);
    return () => stream.leave(own);
  }

  /** The consumer is gone. */
  dropped(stream: ItemStream): void {
    for (const entry of stream.drop()) this.references.unuse(entry); // M1
  }

  /** The last attempt has ended, for what the stream is concerned, well (`count` items) or not. */
  ended(task: TaskEntry, stream: ItemStream, outcome: { readonly count: number } | { readonly error: ErrorInfo }): void {
    const error = "error" in outcome ? outcome.error : outcome.count < stream.delivered ? shorter(task, outcome.count, stream.delivered) : undefined;
    this.failWanted(stream, () => true, error ?? errorInfo("SYSTEM", "the item was not made again"));
    if (stream.ended) return;
    if (error !== undefined && !stream.dropped) {
      const entry = this.newItem(task, stream, stream.delivered + 1);
      this.references.resolve(entry, { kind: "failed", error });
      this.add(task, stream, entry); // M3
    }
    stream.end();
    this.discardStrays(task, stream);
  }

  failWanted(stream: ItemStream, which: (index: number) => boolean, error: ErrorInfo): void {
    const entries = [...stream.live].filter((entry) => stream.wanted.has(entry.index) && which(entry.index));
    for (const index of [...stream.wanted]) if (which(index)) stream.found(index);
    for (const entry of entries) if (entry.state.kind === "pending") this.references.resolve(entry, { kind: "failed", error });
  }

  private newItem(task: TaskEntry, stream: ItemStream, index: number): ObjectEntry {
    const entry = this.references.ownReturn(task, index);
    stream.live.add(entry);
    this.references.use(entry); // M1
    if (stream.strays.length > 0) {
      // The new attempt may have found the copy where it wanted to make its own: it goes when the object goes.
      entry.strays = stream.strays.filter((stray) => stray.index === index).map(({ node }) => node);
      stream.strays = stream.strays.filter((stray) => stray.index !== index);
    }
    return entry;
  }

  private add(task: TaskEntry, stream: ItemStream, entry: ObjectEntry): void {
    stream.add(entry);
    this.tell(task, stream);
  }

  private tell(task: TaskEntry, stream: ItemStream): void {
    if (stream.session === undefined || task.state !== "pushed") return;
    const consumed = stream.news();
    if (consumed !== undefined) this.host.progress(stream.session, task.number, task.attempt, consumed);
  }

  private resolve(entry: ObjectEntry, result: TaskReturn): void {
    const contained = result.contained.length === 0 ? undefined : this.host.adoptContained(result.contained);
    const { where } = result;
    const state: ReadyState =
      where?.$case === "stored"
        ? { kind: "stored", size: where.value.size, nodes: [...where.value.nodes] }
        : { kind: "value", value: where?.value ?? Buffer.alloc(0) };
    this.references.resolve(entry, state, contained);
  }

  private drop(task: TaskEntry, index: number, result: TaskReturn): void {
    if (result.where?.$case !== "stored") return;
    for (const node of result.where.value.nodes) this.host.discard(objectIdOf(task.id, index), node);
  }

  /** Copies of items that will never be. */
  private discardStrays(task: TaskEntry, stream: ItemStream): void {
    for (const { index, node } of stream.strays) this.host.discard(objectIdOf(task.id, index), node);
    stream.strays = [];
  }
}

/** The number of items that a task's answer tells. */
export function itemCountOf(returns: readonly TaskReturn[]): number {
  const where = returns[0]?.where;
  return where?.$case === "value" && where.value.length === 8 ? where.value.readDoubleLE(0) : 0;
}

export function shorter(task: TaskEntry, count: number, delivered: number): ErrorInfo {
  return errorInfo(
    "OBJECT_RECONSTRUCTION_FAILED",
    `${task.template.options.name} yielded ${count} items when it was run again (attempt ${task.attempt}), ${delivered} had been delivered before`,
    {
      hint: "a generator that is retried must yield the same items again: make it depend on its arguments only, or set maxRetries to 0",
      details: { taskId: task.id, items: count, delivered },
    },
  );
}
