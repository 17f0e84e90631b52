// What a process sees of its node's arena: bytes at offsets. Who may touch which bytes is the object table's business (table/core.ts).

/** A snapshot of one object's bytes that its holder may read, and even write, without anyone else seeing it. */
export interface PrivateView {
  /**
   * Exactly `length` bytes. Every typed array made over this buffer keeps the memory alive; it cannot be transferred to another thread
   * (posting it copies it).
   */
  readonly buffer: ArrayBuffer;
  /** False when the bytes were copied to the heap (small reads, or the kernel refused the mapping): then there was nothing to unmap. */
  readonly mapped: boolean;
  /**
   * Drops this handle's own reference to `buffer`. The memory goes when nothing else refers to the buffer either; it is never taken
   * from under a live typed array. Idempotent. Reading `buffer` after release() throws.
   */
  release(): void;
}

export interface ReadOptions {
  /**
   * Called once, when nobody in this process can look at the arena's bytes through this view any more: the moment to drop the pin.
   * Runs some time after garbage collection for a mapped view, before readPrivate returns for a copied one. Must not throw.
   */
  onUnmapped?: () => void;
  /** Reads of fewer bytes are copied instead of mapped. Default: the arena's own threshold; 0 maps always (not for MemoryArena). */
  copyBelowBytes?: number;
}

export interface Arena {
  /** Bytes; a multiple of the page size. */
  readonly capacity: number;
  /** The shared file, or a made-up name for an arena in one process's memory. */
  readonly path: string;
  /**
   * A shared, writable view of [offset, offset + length): what is written here is the object. Only the creator of an unsealed block
   * may write, and only whoever holds a pin (or is the raylet) may read through it.
   * @throws INVALID_ARGUMENT outside of the arena, or longer than one view can be (buffer.constants.MAX_LENGTH, 4 GiB on Node 20).
   */
  write(offset: number, length: number): Uint8Array;
  /** A private snapshot of [offset, offset + length). `offset` is page-aligned, as every block's is. The block must be pinned until `onUnmapped`. */
  readPrivate(offset: number, length: number, options?: ReadOptions): PrivateView;
  /**
   * Optional, before writing a large block that was never used: see SharedArena.prepare.
   * @throws OBJECT_STORE_FULL when there is no memory for the block after all.
   */
  prepare(offset: number, length: number): Promise<void>;
  /** Ends the use of this arena in this process; views made before stay valid. Idempotent. */
  close(): void;
}
