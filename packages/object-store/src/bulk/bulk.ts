// The bulk plane's port: object bytes from another raylet, straight into this node's arena. Control messages say which object and where.

export interface BulkPull {
  /** "host:port" of the other raylet's bulk server, as it announced it. */
  readonly address: string;
  readonly objectId: string;
  /** Total bytes of the object; the server refuses when its copy has another size. */
  readonly size: number;
  /** Where in the object `into` begins. Default 0. */
  readonly offset?: number;
  /** At most `size - offset` bytes, normally of the arena. Nothing is written to it any more once the promise has settled. */
  readonly into: Uint8Array;
  /** The node that pulls. Others may be sent to it for the object (see `elsewhere`). */
  readonly self: string;
  /** The peer, when it is sending the object to enough others already, may name one of those instead. */
  readonly mayRedirect: boolean;
  /** A peer that is still receiving the object itself passes on what it has, as it comes. Otherwise it does not have it. */
  readonly takesPartial: boolean;
  /** Told of bytes as they arrive, from the beginning of `into` on. */
  readonly onBytes?: (bytes: number) => void;
  readonly signal?: AbortSignal;
}

/** `elsewhere`: nothing was sent; ask that node. `receiving`: the peer sends it the object now, else it was sent it once and may have it no more. */
export type BulkOutcome = { readonly kind: "complete" } | { readonly kind: "elsewhere"; readonly nodeId: string; readonly receiving: boolean };

export interface Bulk {
  /**
   * Resolves when all bytes are in place, or at once with `elsewhere`.
   * @throws NOT_FOUND the peer does not have it (any more); try another copy.
   * @throws UNAVAILABLE peer unreachable, overloaded, or broken off too often; may be tried again.
   * @throws AUTHENTICATION wrong token. @throws INVALID_ARGUMENT sizes differ. The signal's reason when aborted.
   */
  pull(request: BulkPull): Promise<BulkOutcome>;
  close(): Promise<void>;
}

/** An object held open for sending: pinned until close(). */
export interface BulkReadable {
  /** Total bytes of the object. */
  readonly size: number;
  /**
   * At most `length` bytes at `offset`, at least one; a view of the arena, or a chunk read from spilled storage. Valid until close().
   * Of an object that is still being received, when they are there; rejects when they will not come.
   */
  read(offset: number, length: number): Uint8Array | Promise<Uint8Array>;
  /** Called exactly once. `complete`: all bytes that were asked for are in the kernel's hands. */
  close(complete: boolean): void;
}

/** What a peer asks for. */
export interface BulkOpen {
  readonly objectId: string;
  /** Remote address, for logs. */
  readonly peer: string;
  /** The node that asks. */
  readonly nodeId: string;
  readonly mayRedirect: boolean;
  readonly takesPartial: boolean;
}

export type BulkOpened = BulkReadable | { readonly elsewhere: string; readonly receiving: boolean } | undefined;

/** What a bulk server needs of its raylet. */
export interface BulkSource {
  /** Pins and opens an object; `undefined` when this node does not have it. */
  open(request: BulkOpen): BulkOpened | Promise<BulkOpened>;
}

/** Counters since the start, for metrics. */
export interface BulkStats {
  readonly bytes: number;
  readonly transfers: number;
  readonly failures: number;
}
