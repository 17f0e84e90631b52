// The port for state that outlives a process: named tables of bytes, changed by atomic batches.
import type { WriteBatch } from "./write-batch.js";

export interface EntriesOptions {
  /** Only keys that start with it. */
  prefix?: string;
  /** Only keys ≥ it, in the table's order. */
  start?: string;
  /** At most so many. Default: all. */
  limit?: number;
}

/** A named table. Keys are ordered by their UTF-8 bytes (for ids and other ASCII keys: as `<` orders them). */
export interface Table {
  readonly name: string;
  /** The committed value, as bytes of the caller's own, or undefined. */
  get(key: string): Uint8Array | undefined;
  /** Committed entries in key order. What a commit during the iteration changes may or may not be seen. */
  entries(options?: EntriesOptions): Iterable<[key: string, value: Uint8Array]>;
}

export interface Store {
  /** The table of that name, made when new. Open tables at start-up, before the first commit. */
  open(name: string): Table;
  /**
   * Applies a batch atomically; resolves when it is durable, and from then on reads see it. Batches take effect in the order of their
   * commits; those of one turn of the event loop share one transaction. The batch and its values must not change afterwards.
   * @throws OUT_OF_DISK (nothing of the batch is stored, everything stored before is intact), RESOURCE_EXHAUSTED (too much is waiting),
   *   UNAVAILABLE (closed).
   */
  commit(batch: WriteBatch): Promise<void>;
  /** Refuses new batches, finishes those submitted, closes. Idempotent. */
  close(): Promise<void>;
}
