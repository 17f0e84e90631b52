// The port below sessions: ordered links that carry frames, and break. GrpcTransport for real, MemoryNetwork for simulations;
// one contract suite runs over both (contract.test.ts).

/**
 * Why a link is no more. `refused`: nothing listens there. `unauthenticated`: the listener did not accept the token. `untrusted`: one side speaks TLS and the other
 * does not, or a certificate is not accepted.
 */
export interface LinkFailure {
  readonly kind: "closed" | "broken" | "refused" | "unauthenticated" | "untrusted";
  readonly message: string;
  /** What to do about it. */
  readonly hint?: string;
}

/**
 * One connection. Frames arrive in order and uncut, each at most once except where a transport documents duplicates; after a break any
 * suffix of what was sent may be missing.
 */
export interface Link {
  /** The other end's transport address, for messages. */
  readonly remote: string;
  /** Queues a frame. The bytes must not change afterwards, save for the header's acknowledgement. Ignored after the end. */
  send(frame: Uint8Array): void;
  /** Ends the link after what was sent; resolves when that has left (or cannot). The handlers hear nothing more. Idempotent. */
  close(): Promise<void>;
  /** Ends the link now; what is queued may be lost. The handlers hear nothing more. Idempotent. */
  abort(): void;
}

export interface LinkHandlers {
  onFrame(frame: Uint8Array): void;
  /** Once, at the end, unless this side ended the link. */
  onEnd(failure: LinkFailure): void;
}

/** Decides about an incoming link: its handlers, or why not. `token` is the bearer token that the dialler sent. */
export type Accept = (link: Link, token: string | undefined) => LinkHandlers | { readonly refuse: string };

export interface Listener {
  /** "host:port" with the port that was bound. */
  readonly address: string;
  close(): Promise<void>;
}

export interface Transport {
  /** Never throws; failures reach `onEnd`, never before this returns. The link may be sent on at once. */
  connect(address: string, token: string | undefined, handlers: LinkHandlers): Link;
  /** Rejects with CONNECTION when the address cannot be bound. Port 0 picks a free one. */
  listen(address: string, accept: Accept): Promise<Listener>;
}
