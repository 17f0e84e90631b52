// ObjectWriter: large values on their way into the node's object store: what this process puts, and what its executions return or yield.
//
// Owns:     values being written: puts, and results with the execution that makes them.
// Not mine: room in the arena (the raylet), what becomes of a value once it is there (reference-table.ts; results: executor.ts), reading (object-fetcher.ts).
// Crosses:  in: createPut, createResult, seal, put. out: RayletService, ReferenceTable.resolve, ToUser.reply.
//
// Invariants
//   V1. the entry of a put is pending until its value is sealed; then it is stored here, or failed.
//   V2. what is sealed when nobody will be told of it any more (a put that was released, a result whose execution is over) is deleted.
import type { Address, Client, NodeAddress, RayletService } from "@tray/protocol";
import type { ToUser } from "../thread/to-user.js";
import type { Executor } from "./executor.js";
import { errorInfoOf, failureOf } from "./failures.js";
import type { ObjectEntry } from "./object-entry.js";
import type { ReferenceTable } from "./reference-table.js";

/** Writes [offset, offset + length) of the node's arena: for values that come from the user's thread as bytes. */
export interface ArenaWriter {
  /** Bytes. */
  readonly capacity: number;
  write(offset: number, length: number): Uint8Array;
}

export interface ObjectWriterHost {
  readonly self: Address;
  raylet(): Client<typeof RayletService>;
  node(): NodeAddress;
}

export class ObjectWriter {
  /** Known once the raylet has registered this process. */
  arena: ArenaWriter | undefined;
  /** Sizes in bytes. */
  private readonly puts = new Map<string, number>();
  /** The execution that returns it. */
  private readonly results = new Map<string, number>();

  constructor(
    private readonly user: ToUser,
    private readonly references: ReferenceTable,
    private readonly executor: Executor,
    private readonly host: ObjectWriterHost,
  ) {}

  /** Room for a value that the user's thread puts. size: bytes. held: the references in it. Answered with its offset. */
  createPut(requestId: number, entry: ObjectEntry, size: number, held: ObjectEntry[]): void {
    this.begin(entry, size, held);
    this.create(requestId, entry.id, size, this.host.self);
  }

  /** Room for a value that an execution returns or yields: its caller will own it. */
  createResult(requestId: number, objectId: string, size: number, execId: number): void {
    this.results.set(objectId, execId);
    this.create(requestId, objectId, size, this.executor.callerOf(execId) ?? this.host.self);
  }

  /** The user's thread has written the value. */
  seal(requestId: number, objectId: string): void {
    const execId = this.results.get(objectId);
    this.results.delete(objectId);
    this.sealObject(objectId).then(
      () => {
        this.putStored(objectId);
        if (execId !== undefined && !this.executor.runs(execId)) this.discard(objectId); // V2
        this.user.reply(requestId, true, "{}");
      },
      (error: unknown) => {
        this.putFailed(objectId, error);
        this.replyFailed(requestId, error);
      },
    );
  }

  /** Writes a value that came as bytes, without an answer. */
  put(entry: ObjectEntry, value: Uint8Array, held: ObjectEntry[]): void {
    this.begin(entry, value.length, held);
    const store = async (): Promise<void> => {
      const { offset, exists } = await this.makeRoom(entry.id, value.length, this.host.self);
      if (!exists) (this.arena as ArenaWriter).write(offset, value.length).set(value);
      await this.sealObject(entry.id);
      this.putStored(entry.id);
    };
    store().catch((error: unknown) => this.putFailed(entry.id, error));
  }

  private begin(entry: ObjectEntry, size: number, held: ObjectEntry[]): void {
    entry.contained = held.length === 0 ? undefined : held;
    for (const inner of held) inner.containers++;
    this.puts.set(entry.id, size);
  }

  private create(requestId: number, objectId: string, size: number, owner: Address): void {
    this.makeRoom(objectId, size, owner).then(
      ({ offset, exists }) => {
        if (exists) this.results.delete(objectId);
        this.user.reply(requestId, true, JSON.stringify({ objectId, offset, exists }));
      },
      (error: unknown) => {
        this.results.delete(objectId);
        this.putFailed(objectId, error);
        this.replyFailed(requestId, error);
      },
    );
  }

  /** Room in the arena, in fair order with others who wait for it, as long as any of them get it. */
  private makeRoom(objectId: string, size: number, owner: Address): Promise<{ offset: number; exists: boolean }> {
    return this.host.raylet().createObject({ objectId, size, owner }, { timeoutMs: 0, retry: true });
  }
  private sealObject(objectId: string): Promise<unknown> {
    return this.host.raylet().sealObject({ objectId, abort: false }, { timeoutMs: 0, retry: true });
  }
  private discard(objectId: string): void {
    this.host.raylet().deleteObjects({ objectIds: [objectId] });
  }

  /** A put of this process is in the arena. It may have been released meanwhile. */
  private putStored(objectId: string): void {
    const size = this.puts.get(objectId);
    if (size === undefined) return; // a task's return: its caller owns it
    this.puts.delete(objectId);
    const entry = this.references.get(objectId);
    if (entry?.state.kind === "pending") this.references.resolve(entry, { kind: "stored", size, nodes: [this.host.node()] });
    else this.discard(objectId); // V2
  }
  private putFailed(objectId: string, error: unknown): void {
    this.puts.delete(objectId);
    const entry = this.references.get(objectId);
    if (entry?.owner === undefined && entry?.state.kind === "pending") this.references.resolve(entry, { kind: "failed", error: errorInfoOf(error) });
  }

  private replyFailed(requestId: number, error: unknown): void {
    this.user.reply(requestId, false, JSON.stringify(failureOf(errorInfoOf(error))));
  }
}
