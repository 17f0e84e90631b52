// The port behind which spilled bytes lie: a disk, a bucket, memory in simulations. Contents are worthless once the raylet that wrote them has ended
// (the owners' records of its copies died with it), so a store is empty when it is opened and gone when it is closed.

export interface SpillItem {
  /** Never used before in this store. */
  readonly spillId: number;
  /** Normally a view of the arena. Must not change until write() has settled. */
  readonly bytes: Uint8Array;
}

export interface SpillStore {
  /**
   * Stores all items or, when it throws, none.
   * @throws OUT_OF_DISK no space is left, or the disk is fuller than allowed; all that was stored before is intact. SYSTEM: anything else.
   */
  write(items: readonly SpillItem[]): Promise<void>;
  /**
   * Fills `into` with the item's bytes from `offset` on, without holding up the event loop for more than some milliseconds at a time.
   * @throws NOT_FOUND no such item, or it is shorter. SYSTEM: the bytes cannot be read.
   */
  read(spillId: number, offset: number, into: Uint8Array): Promise<void>;
  /** Of items that nobody reads. Frees their space some time; a failure to do so is the store's to retry. */
  delete(spillIds: readonly number[]): void;
  /** Bytes of the items that it has. */
  readonly usedBytes: number;
  /** Waits for what is under way, then removes everything that the store has made. Idempotent. */
  close(): Promise<void>;
}
