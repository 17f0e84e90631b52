// What the rest of the system sees of a connection to another process. Implemented by SessionHost (host.ts).
import type { Edges, TrayError } from "@tray/common";
import type { Client, PeerInfo, CallContext as ServiceContext, ServiceDef, Handlers as ServiceHandlers } from "@tray/protocol";

export type SessionState = "connecting" | "up" | "broken" | "lost" | "closed";

export const sessionEdges: Edges<SessionState> = {
  connecting: ["up", "lost", "closed"],
  up: ["broken", "lost", "closed"],
  broken: ["up", "lost", "closed"],
  lost: [],
  closed: [],
};

/**
 * A session with one incarnation of one process (with `reconnect: "forever"`, with whoever serves the address).
 *
 * Messages arrive exactly once and in order, over any number of broken connections, until the session is reset (`onFresh` again),
 * `lost` or `closed`. A reset or a loss drops what was not acknowledged and fails pending calls with UNAVAILABLE (or repeats
 * those sent with `retry`).
 */
export interface Session {
  /** Unknown until first up. */
  readonly peer: PeerInfo | undefined;
  /** The address dialled, or the peer's transport address. For messages. */
  readonly remote: string;
  readonly state: SessionState;
  /** The caller's side of a service that the peer serves; made once per session and service. */
  client<S extends ServiceDef>(service: S): Client<S>;
  /**
   * Resolves when first up. Rejects when that will not happen: AUTHENTICATION (token), VERSION_MISMATCH (what runs where),
   * CONNECTION (given up; names the address, the last failure and what to do).
   */
  opened(): Promise<void>;
  /**
   * `fn` runs when the peer knows nothing of us: the first time up, and after each reset. What it sends leaves before calls that
   * are repeated. Registered while up, it runs at once.
   */
  onFresh(fn: () => void): void;
  /** `fn` runs when the connection broke and is being re-established. */
  onBroken(fn: () => void): void;
  /** `fn` runs when the session has ended other than by our own close(): the last thing it will say. Registered after that, it runs at once. */
  onLost(fn: (error: TrayError) => void): void;
  /** False while unacknowledged bytes fill the window. Sending still works, up to a hard limit. */
  readonly writable: boolean;
  /** Resolves when `writable`; rejects when the session ends. */
  drained(): Promise<void>;
  /** Resolves when the peer has confirmed to have all that was sent so far; rejects when the session ends before. */
  delivered(): Promise<void>;
  /** Where the application hangs its own state, keyed by symbols that it owns. */
  readonly local: Map<symbol, unknown>;
  /** Says goodbye and ends; pending calls fail with UNAVAILABLE. Idempotent. */
  close(reason?: string): void;
}

/** What a handler learns about a call. One-way messages of a session share one context. */
export interface CallContext extends ServiceContext {
  readonly session: Session;
}

/** Handlers of service `S` as an endpoint runs them. */
export type Handlers<S extends ServiceDef> = ServiceHandlers<S, CallContext>;

export interface ConnectOptions {
  /**
   * "forever": for a peer that may be restarted (the GCS): reconnects to whatever incarnation answers and resets (`onFresh`).
   * Otherwise the session is lost when it could not be (re-)established for `giveUpMs`, when the peer no longer knows it, or,
   * with `refusedMeansGone`, as soon as nothing listens at the address (a worker's port: its process has ended).
   */
  reconnect: "forever" | { giveUpMs: number; refusedMeansGone?: boolean };
  /** Only this incarnation will do: another one at the address means that the peer is gone. */
  expectIncarnation?: string;
}
