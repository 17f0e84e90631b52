// Spiller: carries out what SpillCore decides: moves bytes between the arena and the spill store, and keeps its time.
//
// Owns:     writes and reads under way, the wake-up timer, the last failure.
// Not mine: what is spilled and when (SpillCore), room for what is restored and pins (ObjectService), the bytes' place on disk (SpillStore).
// Crosses:  in: kick, read, open, close.  out: SpillHost.
//
// Invariants
//   R1. Every batch of the core is answered, once the store has let go of the arena's memory.
//   R2. At most readsMax reads of whole objects are under way; further ones wait their turn. Chunks for other nodes are bounded by their connections.
import { deferred, type Deferred, formatSize, isTrayError, messageOf, type Timer, TrayError } from "@tray/common";
import {
  type Arena,
  type BulkReadable,
  type ObjectTableCore,
  type SpillBatch,
  SpillCore,
  type SpillStore,
  type TableEffects,
} from "@tray/object-store";
import { restoreChunksMax, restoreReadsMax, spillChunkBytesMax } from "../limits.js";
import type { RayletEnvironment } from "../node.js";

export interface SpillHost {
  /** Room was made or taken. */
  follow(effects: TableEffects): void;
  /** A create that waited gets no room, for this reason. */
  refused(objectId: string, error: TrayError): void;
}

export class Spiller {
  readonly core: SpillCore;
  private readonly reading: Deferred<void>[] = [];
  private readonly writing = new Set<Promise<void>>();
  private reads = 0;
  private wake: Timer | undefined;
  private lastFailure: TrayError | undefined;
  private closed = false;

  constructor(
    private readonly env: RayletEnvironment,
    table: ObjectTableCore,
    private readonly arena: Arena,
    private readonly store: SpillStore,
    private readonly host: SpillHost,
  ) {
    const { objectSpillingThreshold, minSpillingSize } = env.config;
    this.core = new SpillCore(table, { threshold: objectSpillingThreshold, batchBytesMin: minSpillingSize });
    env.metrics.gauge("tray_object_store_spilled_bytes", () => this.core.usage().spilledBytes);
    env.metrics.gauge("tray_object_store_spilled_objects", () => this.core.usage().spilledObjects);
  }

  /** Something about the table or the core has changed. */
  kick(): void {
    if (this.closed) return;
    const { batches, deletes, refused, wakeAtMs } = this.core.next(this.nowMs);
    if (deletes.length > 0) this.store.delete(deletes);
    for (const batch of batches) this.write(batch);
    for (const { objectId } of refused) this.host.refused(objectId, this.refusal());
    this.wake?.cancel();
    this.wake = wakeAtMs === undefined ? undefined : this.env.clock.after(Math.max(1, wakeAtMs - this.nowMs), () => this.kick());
  }

  /**
   * Copies an object from the store, where the core holds it open as `spillId`, to a block of the arena.
   * @returns false when the store has lost it: then the core has forgotten it, too.
   */
  async restore(spillId: number, offset: number, size: number, signal: AbortSignal): Promise<boolean> {
    await this.enter(); // R2
    try {
      signal.throwIfAborted();
      const startMs = this.nowMs;
      await this.arena.prepare(offset, size); // pages that were never used cost this thread more than the copy
      const into = this.arena.write(offset, size);
      let next = 0;
      const chunks = async (): Promise<void> => {
        while (next < size) {
          signal.throwIfAborted();
          const at = next;
          next += spillChunkBytesMax;
          await this.read(spillId, at, into.subarray(at, Math.min(size, at + spillChunkBytesMax)));
        }
      };
      // All end before the block may go: one that failed must not leave others writing to it.
      const ends = await Promise.allSettled(Array.from({ length: restoreChunksMax }, chunks));
      for (const end of ends) if (end.status === "rejected") throw end.reason;
      this.env.metrics.count("tray_object_store_restored_bytes_total", {}, size);
      this.env.metrics.count("tray_object_store_restore_ms_total", {}, this.nowMs - startMs);
      return true;
    } catch (error) {
      if (signal.aborted || this.closed || isTrayError(error, "OBJECT_STORE_FULL")) throw error;
      this.lost(spillId, error);
      return false;
    } finally {
      this.leave();
    }
  }

  /** For another raylet: straight from the store, past the arena. Undefined: the store does not have it. */
  open(objectId: string): BulkReadable | undefined {
    const opened = this.core.openRead(objectId);
    if (opened === undefined) return undefined;
    const { spillId, size } = opened;
    return {
      size,
      read: async (offset, length) => {
        const chunk = Buffer.allocUnsafeSlow(Math.min(length, spillChunkBytesMax, size - offset));
        try {
          await this.read(spillId, offset, chunk);
        } catch (error) {
          this.lost(spillId, error); // the peer asks again and hears that it is not here
          throw error;
        }
        return chunk;
      },
      close: () => {
        this.core.closeRead(spillId);
        this.kick();
      },
    };
  }

  /** Begins nothing more; resolves when nothing touches the arena any more and the store is gone. */
  async close(): Promise<void> {
    this.closed = true;
    this.wake?.cancel();
    while (this.writing.size > 0) await Promise.all(this.writing);
    await this.store.close();
  }

  private get nowMs(): number {
    return this.env.clock.now();
  }

  private write(batch: SpillBatch): void {
    const startMs = this.nowMs;
    const items = batch.writes.map(({ spillId, offset, size }) => ({ spillId, bytes: this.arena.write(offset, size) }));
    const writing = this.store.write(items).then(
      () => {
        this.env.metrics.count("tray_object_store_spilled_bytes_total", {}, batch.bytes);
        this.env.metrics.count("tray_object_store_spill_ms_total", {}, this.nowMs - startMs);
        this.env.logger.debug("objects were spilled", { objects: batch.writes.length, bytes: batch.bytes, ms: this.nowMs - startMs });
        if (this.lastFailure !== undefined) this.env.logger.info("objects can be spilled again");
        this.lastFailure = undefined;
        this.host.follow(this.core.written(batch.batchId, this.nowMs)); // R1
      },
      (error: unknown) => {
        if (!this.closed) this.failed(batch, error);
        this.host.follow(this.core.writeFailed(batch.batchId, this.nowMs));
      },
    );
    this.writing.add(writing);
    void writing.finally(() => this.writing.delete(writing));
  }

  private failed(batch: SpillBatch, error: unknown): void {
    const first = this.lastFailure === undefined;
    this.lastFailure = isTrayError(error) ? error : new TrayError("SYSTEM", messageOf(error), { cause: error });
    this.env.metrics.count("tray_object_store_spill_failures_total", { code: this.lastFailure.code });
    const facts = { code: this.lastFailure.code, error: this.lastFailure.message, bytes: batch.bytes };
    if (first) this.env.logger.error("objects cannot be spilled; they stay in the object store", facts);
    else this.env.logger.debug("objects still cannot be spilled", facts);
  }

  private refusal(): TrayError {
    const { usedBytes } = this.store;
    const why = this.lastFailure;
    return new TrayError(
      why?.code === "OUT_OF_DISK" ? "OUT_OF_DISK" : "OBJECT_STORE_FULL",
      `the object store is full and its objects cannot be spilled (${formatSize(usedBytes)} are on disk): ${why?.message ?? "the disk takes nothing"}`,
      { hint: why?.hint ?? "release references that are not needed, or look at the raylet's log", cause: why },
    );
  }

  /** A read that fails is tried once more: a short-lived failure must not cost an object. */
  private async read(spillId: number, offset: number, into: Uint8Array): Promise<void> {
    try {
      await this.store.read(spillId, offset, into);
    } catch (error) {
      if (this.closed || isTrayError(error, "NOT_FOUND")) throw error;
      await this.store.read(spillId, offset, into);
    }
  }

  private lost(spillId: number, error: unknown): void {
    if (this.closed) return;
    this.env.logger.error("a spilled object cannot be read", { error: messageOf(error) });
    this.env.metrics.count("tray_object_store_restore_failures_total");
    this.host.follow(this.core.unreadable(spillId, this.nowMs));
  }

  private async enter(): Promise<void> {
    if (this.reads >= restoreReadsMax) {
      const turn = deferred();
      this.reading.push(turn);
      await turn.promise; // whoever leaves hands its place over
      return;
    }
    this.reads++;
  }
  private leave(): void {
    const next = this.reading.shift();
    if (next === undefined) this.reads--;
    else next.resolve();
  }
}
