// SpillCore: which objects leave the arena for the spill store, and what is known of those that did.
//
// Owns:     a record for each object that is on disk or on its way there, the writes under way, the back-off after a failed write.
// Not mine: blocks, pins, eviction (ObjectTableCore, which I ask and tell); bytes, timers and the store itself (whoever carries out my commands).
// Crosses:  in: create, pin, delete, openRead, closeRead, unreadable, written, writeFailed, next.  out: outcomes; write, delete and refuse commands.
//
// The life of an object on this node:
//
//   in the arena ──write──▶ spilling ──written──▶ spilled, cached in the arena ──evicted──▶ spilled only
//        ▲                     │                        ▲                                        │
//        └────── failed ───────┘                        └──────────── restored ──────────────────┘
//
// A restored copy is a cache: the bytes on disk stay good (values are immutable), so that it leaves the arena again without being written again. To restore
// is to create a secondary copy, fill it from the store between openRead and closeRead, and seal it: the same steps as a pull from another node.
//
// Invariants
//   P1. The bytes of an object that was not deleted are in a sealed block or readable in the store, at every moment.
//   P2. A deleted object is found by nobody; what the store has of it is deleted as soon as nobody writes or reads it, exactly once.
//   P3. At most `writesMax` batches are under way. An object is in at most one of them.
//   P4. Caches go before primary copies are written: nothing is spilled for a create that eviction alone makes room for.
//   P5. Every write gets an id of its own. An object that was deleted and made anew never meets its past self in the store.
import { invariant } from "@tray/common";
import { blockBytes } from "../arena/allocator.js";
import type { ObjectTableCore } from "../table/core.js";
import type {
  CreateOutcome,
  CreateRequest,
  DeleteOutcome,
  Holder,
  ObjectInfo,
  ObjectOwner,
  Outcome,
  PinOutcome,
  TableEffects,
} from "../table/types.js";

export interface SpillOptions {
  /** Part of the arena that primary copies may fill before cold ones are written. */
  readonly threshold: number;
  /** Batches are at least so large, as far as there are so many cold objects. Bounded by an eighth of the arena: a small one must not be emptied at a time. */
  readonly batchBytesMin: number;
  /** Batches under way at a time. Default 2: while one is flushed the next one is being handed over. */
  readonly writesMax?: number;
  /** Objects in one batch at most. Default 2,000. */
  readonly batchObjectsMax?: number;
  /** After a failed write, doubling up to the maximum. Default 200 ms and 5 s. */
  readonly retryMinMs?: number;
  readonly retryMaxMs?: number;
  /** Creates that waited for so long while writes failed all that time are refused. Default 2 s. */
  readonly refuseAfterMs?: number;
}

/** One object to be written: its bytes are at `offset` in the arena and stay there until the batch is answered. */
export interface SpillWrite {
  readonly spillId: number;
  readonly objectId: string;
  readonly offset: number;
  readonly size: number;
}

export interface SpillBatch {
  readonly batchId: number;
  readonly writes: readonly SpillWrite[];
  readonly bytes: number;
}

/** What is to be done now. Writes are answered by written() or writeFailed(); deletes are not answered. */
export interface SpillCommands {
  readonly batches: readonly SpillBatch[];
  readonly deletes: readonly number[];
  /** Waiting creates that will get no room, because the store takes nothing. */
  readonly refused: readonly { readonly objectId: string; readonly creator: Holder }[];
  /** Call next() then, at the latest. */
  readonly wakeAtMs: number | undefined;
}

/** The object is on disk and not in the arena: openRead, or restore it. */
export interface SpilledOnly {
  readonly kind: "spilled";
  readonly size: number;
}

export interface SpillUsage {
  /** Of objects whose bytes are in the store, deleted ones that are still being read included. */
  readonly spilledBytes: number;
  readonly spilledObjects: number;
  readonly writesUnderWay: number;
  /** Reads that were opened and not closed. */
  readonly readers: number;
  /** Since when every write failed. */
  readonly failingSinceMs: number | undefined;
}

interface SpillRecord {
  readonly spillId: number;
  readonly objectId: string;
  readonly size: number;
  readonly owner: ObjectOwner;
  readonly creator: Holder;
  readonly createdMs: number;
  readonly lastUsedMs: number;
  state: "writing" | "stored";
  /** Nobody finds it any more (P2). */
  deleted: boolean;
  readers: number;
}

const nothing: SpillCommands = { batches: [], deletes: [], refused: [], wakeAtMs: undefined };

export class SpillCore {
  private readonly records = new Map<number, SpillRecord>();
  /** Not deleted, by object. */
  private readonly live = new Map<string, SpillRecord>();
  private readonly writing = new Map<number, SpillBatch>();
  private readonly batchBytes: number;
  private readonly thresholdBytes: number;
  private readonly writesMax: number;
  private readonly refuseAfterMs: number;
  private readonly retryMinMs: number;
  private toDelete: number[] = [];
  private lastId = 0;
  private storedBytes = 0;
  private storedObjects = 0;
  private readers = 0;
  private failingSinceMs: number | undefined;
  private retryAtMs = 0;
  private retryDelayMs: number;

  constructor(
    private readonly table: ObjectTableCore,
    private readonly options: SpillOptions,
  ) {
    const { capacity } = table.usage();
    this.batchBytes = Math.max(1, Math.min(options.batchBytesMin, Math.floor(capacity / 8)));
    this.thresholdBytes = Math.floor(options.threshold * capacity);
    this.writesMax = options.writesMax ?? 2;
    this.refuseAfterMs = options.refuseAfterMs ?? 2_000;
    this.retryMinMs = options.retryMinMs ?? 200;
    this.retryDelayMs = this.retryMinMs;
  }

  /** As ObjectTableCore.create, but a primary copy is not made of what is on disk already, and a restored one has the owner that it had. */
  create(request: CreateRequest, nowMs: number): Outcome<CreateOutcome | SpilledOnly> {
    const record = this.storedRecord(request.objectId);
    if (record === undefined) return this.table.create(request, nowMs);
    if (request.kind === "primary" && this.table.info(request.objectId) === undefined) {
      return { outcome: { kind: "spilled", size: record.size }, effects: noTableEffects };
    }
    return this.table.create({ ...request, owner: record.owner }, nowMs);
  }

  /** As ObjectTableCore.pin, and says what is on disk only. */
  pin(objectId: string, client: Holder, nowMs: number): PinOutcome | SpilledOnly {
    const outcome = this.table.pin(objectId, client, nowMs);
    if (outcome.kind !== "absent") return outcome;
    const record = this.storedRecord(objectId);
    return record === undefined ? outcome : { kind: "spilled", size: record.size };
  }

  /** P2. Everywhere on this node. */
  delete(objectId: string, nowMs: number): Outcome<DeleteOutcome> {
    const record = this.live.get(objectId);
    if (record !== undefined) this.forget(record);
    const { outcome, effects } = this.table.delete(objectId, nowMs);
    return { outcome: outcome === "absent" && record !== undefined ? "freed" : outcome, effects };
  }

  has(objectId: string): boolean {
    return this.table.has(objectId) || this.storedRecord(objectId) !== undefined;
  }

  /** Objects whose bytes can be read from the store, however they are in the arena. */
  isStored(objectId: string): boolean {
    return this.storedRecord(objectId) !== undefined;
  }

  /** The bytes in the store stay until closeRead, whatever happens to the object. Undefined: they are not there. */
  openRead(objectId: string): { readonly spillId: number; readonly size: number } | undefined {
    const record = this.storedRecord(objectId);
    if (record === undefined) return undefined;
    record.readers++;
    this.readers++;
    return { spillId: record.spillId, size: record.size };
  }

  closeRead(spillId: number): void {
    const record = this.records.get(spillId);
    invariant(record !== undefined && record.readers > 0, () => `P2: nobody reads ${spillId}`);
    record.readers--;
    this.readers--;
    if (record.deleted) this.dropIfUnused(record);
  }

  /** The store cannot give the bytes back. Call while the read is open. A copy that the arena still has is the primary again; else the object is lost here. */
  unreadable(spillId: number, nowMs: number): TableEffects {
    const record = this.records.get(spillId);
    if (record === undefined || record.deleted) return noTableEffects;
    this.forget(record);
    return this.table.reclassify(record.objectId, "primary", nowMs).effects;
  }

  /** All of the batch is safely in the store. */
  written(batchId: number, nowMs: number): TableEffects {
    this.failingSinceMs = undefined;
    this.retryAtMs = 0;
    this.retryDelayMs = this.retryMinMs;
    return this.endBatch(batchId, true, nowMs);
  }

  /** Nothing of the batch is in the store. The objects stay in the arena, as primary copies (P1). */
  writeFailed(batchId: number, nowMs: number): TableEffects {
    this.failingSinceMs ??= nowMs;
    this.retryAtMs = nowMs + this.retryDelayMs;
    this.retryDelayMs = Math.min(this.options.retryMaxMs ?? 5_000, this.retryDelayMs * 2);
    return this.endBatch(batchId, false, nowMs);
  }

  /** What is to be done now. Call after everything that changed the table or this. */
  next(nowMs: number): SpillCommands {
    const deletes = this.toDelete;
    if (deletes.length > 0) {
      this.toDelete = [];
      this.retryAtMs = Math.min(this.retryAtMs, nowMs + this.retryMinMs); // what is deleted now may have been what filled the store
    }
    const wanted = this.wantedBytes();
    const mayWrite = nowMs >= this.retryAtMs;
    const batches = wanted > 0 && mayWrite ? this.beginBatches(wanted) : nothing.batches;
    const refused = wanted > 0 && !mayWrite ? this.refusals(nowMs) : nothing.refused;
    const wakeAtMs = wanted > 0 && !mayWrite ? this.retryAtMs : undefined;
    const isNothing = deletes.length + batches.length + refused.length === 0 && wakeAtMs === undefined;
    return isNothing ? nothing : { batches, deletes, refused, wakeAtMs };
  }

  usage(): SpillUsage {
    return {
      spilledBytes: this.storedBytes,
      spilledObjects: this.storedObjects,
      writesUnderWay: this.writing.size,
      readers: this.readers,
      failingSinceMs: this.failingSinceMs,
    };
  }

  /** Everything of this node: what the table lists, and what is on disk only. A cached copy of what is on disk counts as the primary that it is. O(objects). */
  list(): ObjectInfo[] {
    const inArena = this.table.list().map((info): ObjectInfo => {
      const record = info.deleted ? undefined : this.storedRecord(info.objectId);
      if (record === undefined) return info;
      return { ...info, copy: "primary", creator: record.creator, state: info.state === "sealed" ? "sealed" : "spilled" };
    });
    const onDisk: ObjectInfo[] = [];
    for (const record of this.live.values()) {
      if (record.state !== "stored" || this.table.info(record.objectId) !== undefined) continue;
      const { objectId, size, owner, creator, createdMs, lastUsedMs } = record;
      const none = { offset: -1, pins: 0, pinnedBy: [], deleted: false, spilling: false };
      onDisk.push({ ...none, objectId, size, owner, creator, createdMs, lastUsedMs, state: "spilled", copy: "primary" });
    }
    return [...inArena, ...onDisk];
  }

  /** Throws InvariantError when P1–P5 do not hold, as far as they can be seen from here. O(objects); for tests and simulations. */
  check(): void {
    this.table.check();
    let bytes = 0;
    let objects = 0;
    let readers = 0;
    for (const record of this.records.values()) {
      const { objectId, spillId } = record;
      invariant(!record.deleted === (this.live.get(objectId) === record), () => `P2: ${objectId}`);
      invariant(!record.deleted || record.readers > 0 || record.state === "writing", () => `P2: ${spillId} should have been deleted`);
      const batches = [...this.writing.values()].filter((batch) => batch.writes.some((write) => write.spillId === spillId)).length;
      invariant(batches === (record.state === "writing" ? 1 : 0), () => `P3: ${spillId} is in ${batches} batches`);
      const info = this.table.info(objectId);
      if (!record.deleted && record.state === "writing") invariant(info?.spilling === true, () => `P1: ${objectId} is not being spilled`);
      if (!record.deleted && record.state === "stored" && info !== undefined) {
        invariant(info.copy === "secondary", () => `P1: ${objectId} is on disk and yet a primary copy`);
      }
      readers += record.readers;
      if (record.state === "stored") {
        bytes += record.size;
        objects++;
      }
    }
    for (const id of this.toDelete) invariant(!this.records.has(id), () => `P2: ${id} is to be deleted and known`);
    invariant(this.writing.size <= this.writesMax, "P3: too many writes");
    invariant(bytes === this.storedBytes && objects === this.storedObjects && readers === this.readers, "counts of the spill store");
  }

  /** How much should be on its way to the store beyond what already is. */
  private wantedBytes(): number {
    const { capacity, usedBytes, primaryBytes, evictableBytes, spillableBytes, spillingBytes, queuedBytes } = this.table.usage();
    if (spillableBytes === 0) return 0;
    const overThreshold = primaryBytes - spillingBytes - this.thresholdBytes;
    if (queuedBytes === 0) return overThreshold;
    // P4. Room that is free in pieces too small for the first of those who wait looks like room: then one batch at a time goes until it fits.
    const room = capacity - usedBytes + evictableBytes + spillingBytes;
    const missing = Math.min(queuedBytes, capacity) - room;
    return Math.max(overThreshold, this.writing.size === 0 ? Math.max(missing, 1) : missing);
  }

  private beginBatches(wanted: number): SpillBatch[] {
    const batches: SpillBatch[] = [];
    for (let left = wanted; left > 0 && this.writing.size < this.writesMax; ) {
      // Rather one full batch after the one under way than two halves of one at a time.
      if (this.writing.size > 0 && this.table.usage().spillableBytes < this.batchBytes) break;
      const batch = this.gather();
      if (batch === undefined) break;
      batches.push(batch);
      left -= batch.bytes;
    }
    return batches;
  }

  private gather(): SpillBatch | undefined {
    const chosen: SpillWrite[] = [];
    let bytes = 0;
    for (const { objectId, offset, size } of this.table.coldPrimaries()) {
      chosen.push({ spillId: ++this.lastId, objectId, offset, size }); // P5
      bytes += blockBytes(size);
      if (bytes >= this.batchBytes || chosen.length === (this.options.batchObjectsMax ?? 2_000)) break;
    }
    if (chosen.length === 0) return undefined;
    for (const { spillId, objectId, size } of chosen) {
      const { owner, creator, createdMs, lastUsedMs } = this.table.info(objectId) as ObjectInfo;
      invariant(!this.live.has(objectId), () => `P1: ${objectId} is on disk and yet a primary copy`);
      const record: SpillRecord = { spillId, objectId, size, owner, creator, createdMs, lastUsedMs, state: "writing", deleted: false, readers: 0 };
      this.records.set(spillId, record);
      this.live.set(objectId, record);
      this.table.beginSpill(objectId);
    }
    const batch: SpillBatch = { batchId: ++this.lastId, writes: chosen, bytes };
    this.writing.set(batch.batchId, batch);
    return batch;
  }

  private endBatch(batchId: number, stored: boolean, nowMs: number): TableEffects {
    const batch = this.writing.get(batchId);
    invariant(batch !== undefined, () => `batch ${batchId} ended twice`);
    this.writing.delete(batchId);
    // First all records, then the table: what it grants and evicts already sees the whole batch on disk.
    for (const { spillId } of batch.writes) {
      const record = this.records.get(spillId) as SpillRecord;
      record.state = "stored";
      this.storedBytes += record.size;
      this.storedObjects++;
      if (!stored) this.forgetUnwritten(record);
      else if (record.deleted) this.dropIfUnused(record);
    }
    const effects: TableEffects[] = [];
    for (const { objectId, offset } of batch.writes) effects.push(this.table.endSpill(objectId, offset, stored, nowMs));
    return joined(effects);
  }

  /** P1: a create that waits is refused only while nothing it waits for can come from here. */
  private refusals(nowMs: number): readonly { readonly objectId: string; readonly creator: Holder }[] {
    if (this.failingSinceMs === undefined || this.writing.size > 0 || nowMs - this.failingSinceMs < this.refuseAfterMs) return nothing.refused;
    return this.table.refuseWaiting(nowMs - this.refuseAfterMs);
  }

  private storedRecord(objectId: string): SpillRecord | undefined {
    const record = this.live.get(objectId);
    return record?.state === "stored" ? record : undefined;
  }

  private forget(record: SpillRecord): void {
    record.deleted = true;
    this.live.delete(record.objectId);
    if (record.state === "stored") this.dropIfUnused(record);
  }

  private forgetUnwritten(record: SpillRecord): void {
    if (!record.deleted) this.live.delete(record.objectId);
    this.discard(record);
  }

  private dropIfUnused(record: SpillRecord): void {
    if (record.readers > 0) return;
    this.discard(record);
    this.toDelete.push(record.spillId);
  }

  private discard(record: SpillRecord): void {
    this.records.delete(record.spillId);
    this.storedBytes -= record.size;
    this.storedObjects--;
  }
}

const noTableEffects: TableEffects = { granted: [], evicted: [], superseded: [] };

function joined(effects: readonly TableEffects[]): TableEffects {
  const some = effects.filter((e) => e.granted.length + e.evicted.length + e.superseded.length > 0);
  if (some.length <= 1) return some[0] ?? noTableEffects;
  return {
    granted: some.flatMap((e) => e.granted),
    evicted: some.flatMap((e) => e.evicted),
    superseded: some.flatMap((e) => e.superseded),
  };
}
