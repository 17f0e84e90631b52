// BulkClient: pulls objects from other raylets, over a few connections to each, resuming where one broke off.
//
// Owns:     connections, idle and busy, per peer; pulls waiting for one.
// Not mine: how many bytes may be pulled at once, and from which copy (the raylet's pull admission).
//
// Invariants
//   B1. At most connectionsPerPeerMax connections to a peer; at most waitingPerPeerMax pulls wait for one.
//   B2. When a pull has settled, no connection writes to its memory any more (N1 of connection.ts).
//   B3. A pull gives up after `attempts` connections in a row that brought less than progressBytes each.
import type { ConnectionOptions } from "node:tls";
import { type Clock, Deque, type Deferred, deferred, isTrayError, messageOf, sleep, type Timer, TrayError } from "@tray/common";
import { isObjectId } from "@tray/protocol";
import type { Bulk, BulkOutcome, BulkPull, BulkStats } from "./bulk.js";
import { BulkConnection, type ConnectionSettings, parseAddress } from "./connection.js";
import { proofOf } from "./wire.js";

export interface BulkClientOptions {
  readonly clock: Clock;
  readonly token: string;
  readonly tls?: ConnectionOptions;
  /** Default 4. */
  readonly connectionsPerPeerMax?: number;
  /** Default 1024. */
  readonly waitingPerPeerMax?: number;
  /** Default 60,000. */
  readonly idleTimeoutMs?: number;
  /** A connection that brings no byte for so long is broken. Default 15,000. */
  readonly stallTimeoutMs?: number;
  /** Default 4. */
  readonly attempts?: number;
  /** Before the second attempt; doubles with each. Default 50. */
  readonly retryDelayMs?: number;
}

/** A connection that brought so much was worth it: the count of failures starts anew (B3). */
const progressBytes = 2 ** 20;

interface Peer {
  readonly idle: { connection: BulkConnection; timer: Timer }[];
  readonly connections: Set<BulkConnection>;
  readonly waiting: Deque<Deferred<BulkConnection>>;
}

export class BulkClient implements Bulk {
  private readonly peers = new Map<string, Peer>();
  private readonly settings: ConnectionSettings;
  private readonly counts = { bytes: 0, transfers: 0, failures: 0 };
  private closed: TrayError | undefined;

  constructor(private readonly options: BulkClientOptions) {
    this.settings = { clock: options.clock, proof: proofOf(options.token), tls: options.tls, stallTimeoutMs: options.stallTimeoutMs ?? 15_000 };
  }

  get stats(): BulkStats {
    return { ...this.counts };
  }

  async pull(pull: BulkPull): Promise<BulkOutcome> {
    if (!isObjectId(pull.objectId)) throw new TrayError("INVALID_ARGUMENT", `${JSON.stringify(pull.objectId)} is not an object id`);
    checkRoom(pull);
    parseAddress(pull.address);
    try {
      const outcome = await this.pullResuming(pull, pull.signal);
      if (outcome.kind === "complete") this.counts.transfers++;
      return outcome;
    } catch (error) {
      this.counts.failures++;
      throw error;
    }
  }

  async close(): Promise<void> {
    const reason = new TrayError("UNAVAILABLE", "the bulk client is closed");
    this.closed = reason;
    for (const peer of this.peers.values()) {
      for (const waiting of drain(peer.waiting)) waiting.reject(reason);
      for (const { timer } of peer.idle) timer.cancel();
      for (const connection of [...peer.connections]) connection.destroy(reason);
    }
    this.peers.clear();
  }

  private async pullResuming(pull: BulkPull, signal: AbortSignal | undefined): Promise<BulkOutcome> {
    let received = 0;
    let failures = 0;
    for (;;) {
      const before = received;
      const connection = await this.acquire(pull.address, signal);
      const reused = connection.served > 0;
      try {
        const onBytes = (bytes: number): void => {
          received += bytes;
          this.counts.bytes += bytes;
          pull.onBytes?.(bytes);
        };
        const asked = {
          objectId: pull.objectId,
          offset: (pull.offset ?? 0) + received,
          nodeId: pull.self,
          mayRedirect: pull.mayRedirect && received === 0,
          takesPartial: pull.takesPartial,
        };
        const response = await connection.request(asked, pull.into.subarray(received), onBytes, signal);
        if (response.status === "ok" && response.size === pull.size) return { kind: "complete" };
        if (response.status === "elsewhere") return { kind: "elsewhere", nodeId: response.nodeId, receiving: response.receiving };
        this.refuse(pull, response.status, response.size);
      } catch (error) {
        if (signal?.aborted === true || isTrayError(error)) throw error;
        // An idle connection that the peer had closed says nothing about the peer.
        if (reused && received === before) continue;
        failures = received - before >= progressBytes ? 1 : failures + 1;
        if (failures >= (this.options.attempts ?? 4)) {
          throw new TrayError("UNAVAILABLE", `pulling ${pull.objectId} from ${pull.address} broke off ${failures} times, last: ${messageOf(error)}`, {
            cause: error,
            details: { address: pull.address, receivedBytes: received, sizeBytes: pull.size },
          });
        }
      } finally {
        this.release(connection);
      }
      await sleep(this.options.clock, (this.options.retryDelayMs ?? 50) * 2 ** (failures - 1), signal);
    }
  }

  private refuse(pull: BulkPull, status: string, size: number): never {
    const what = `object ${pull.objectId} at ${pull.address}`;
    if (status === "notFound") throw new TrayError("NOT_FOUND", `${what} is not there`);
    if (status === "unauthenticated") throw new TrayError("AUTHENTICATION", `${pull.address} does not accept this cluster's token`);
    if (status === "unavailable") throw new TrayError("UNAVAILABLE", `${what} cannot be read now`);
    throw new TrayError("INVALID_ARGUMENT", `${what} has ${size} bytes, expected ${pull.size}`);
  }

  private async acquire(address: string, signal: AbortSignal | undefined): Promise<BulkConnection> {
    if (this.closed !== undefined) throw this.closed;
    signal?.throwIfAborted();
    const peer = this.peer(address);
    for (let idle = peer.idle.pop(); idle !== undefined; idle = peer.idle.pop()) {
      idle.timer.cancel();
      if (idle.connection.usable) return idle.connection;
    }
    if (peer.connections.size < (this.options.connectionsPerPeerMax ?? 4)) return this.open(address, peer);
    if (peer.waiting.length >= (this.options.waitingPerPeerMax ?? 1024)) {
      throw new TrayError("UNAVAILABLE", `${peer.waiting.length} pulls from ${address} wait for a connection already`); // B1
    }
    const turn = deferred<BulkConnection>();
    peer.waiting.push(turn);
    const onAbort = (): void => {
      peer.waiting.removeFirst((other) => other === turn);
      turn.reject(signal?.reason);
    };
    signal?.addEventListener("abort", onAbort, { once: true });
    try {
      return await turn.promise;
    } finally {
      signal?.removeEventListener("abort", onAbort);
    }
  }

  private open(address: string, peer: Peer): BulkConnection {
    const connection = new BulkConnection(address, this.settings, (closed) => {
      peer.connections.delete(closed);
      const next = this.closed !== undefined ? undefined : peer.waiting.shift();
      if (next !== undefined) next.resolve(this.open(address, peer));
      else if (peer.connections.size === 0 && peer.waiting.length === 0 && this.peers.get(address) === peer) this.peers.delete(address);
    });
    peer.connections.add(connection);
    return connection;
  }

  private release(connection: BulkConnection): void {
    const peer = this.peers.get(connection.address);
    // A broken one goes by its close event, which also serves who waits.
    if (peer === undefined || !peer.connections.has(connection) || !connection.usable) return;
    const next = peer.waiting.shift();
    if (next !== undefined) {
      next.resolve(connection);
      return;
    }
    const timer = this.options.clock.after(this.options.idleTimeoutMs ?? 60_000, () => connection.destroy(new Error("idle")));
    peer.idle.push({ connection, timer });
  }

  private peer(address: string): Peer {
    let peer = this.peers.get(address);
    if (peer === undefined) {
      peer = { idle: [], connections: new Set(), waiting: new Deque() };
      this.peers.set(address, peer);
    }
    return peer;
  }
}

/** @throws INVALID_ARGUMENT `into` reaches beyond the object's end. */
export function checkRoom({ objectId, size, offset = 0, into }: BulkPull): void {
  if (offset >= 0 && offset + into.byteLength <= size) return;
  throw new TrayError("INVALID_ARGUMENT", `object ${objectId} of ${size} bytes has no ${into.byteLength} bytes at ${offset}`);
}

function* drain<T>(deque: Deque<T>): Generator<T> {
  for (let item = deque.shift(); item !== undefined; item = deque.shift()) yield item;
}
