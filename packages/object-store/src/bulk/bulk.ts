// The bulk plane's port: object bytes from another raylet, straight into this node's arena. Control messages say which object and where.

export interface BulkPull {
  /** "host:port" of the other raylet's bulk server, as it announced it. */
  readonly address: string;
  readonly objectId: string;
  /** Total bytes of the object; the server refuses when its copy has another size. */
  readonly size: number;
  /** Exactly `size` bytes, normally `arena.write(offset, size)`. Nothing is written to it any more once the promise has settled. */
  readonly into: Uint8Array;
  readonly signal?: AbortSignal;
}

export interface Bulk {
  /**
   * Resolves when all bytes are in place.
   * @throws NOT_FOUND the peer does not have it (any more); try another copy.
   * @throws UNAVAILABLE peer unreachable, overloaded, or broken off too often; may be tried again.
   * @throws AUTHENTICATION wrong token. @throws INVALID_ARGUMENT sizes differ. The signal's reason when aborted.
   */
  pull(request: BulkPull): Promise<void>;
  close(): Promise<void>;
}

/** An object held open for sending: pinned until close(). */
export interface BulkReadable {
  /** Total bytes of the object. */
  readonly size: number;
  /** At most `length` bytes at `offset`, at least one; a view of the arena, or a chunk read from spilled storage. Valid until close(). */
  read(offset: number, length: number): Uint8Array | Promise<Uint8Array>;
  /** Called exactly once. */
  close(): void;
}

/** What a bulk server needs of its raylet. */
export interface BulkSource {
  /** Pins and opens a sealed object; `undefined` when this node does not have it. `peer` is the remote address, for logs. */
  open(objectId: string, peer: string): BulkReadable | undefined | Promise<BulkReadable | undefined>;
}

/** Counters since the start, for metrics. */
export interface BulkStats {
  readonly bytes: number;
  readonly transfers: number;
  readonly failures: number;
}
