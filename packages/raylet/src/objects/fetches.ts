// Fetches: objects on their way into the arena, from this node's disk or from other nodes.
//
// Owns:     fetches under way and who waits for each.
// Not mine: whose turn it is (Admission), blocks and pins (ObjectTableCore), the bytes' ways (Transfer, Spiller), reference counts and locations (owners).
// Crosses:  in: join, abort, openPartial, close.  out: outcomes, effects on the table.
//
// Invariants
//   H1. An object is fetched at most once at a time; all who ask meanwhile share the fetch and its outcome.
//   H2. Whoever shares in it when it succeeds has its pin in the same step; who left before has none.
//   H3. A fetch that nobody wants any more ends.
//   H4. No room, on a node whose disk takes no more or whose readers hold everything, is an error for those who asked; it is never taken for a loss.
//   H5. The block of a failed fetch is not given up before those have let go of it who pass it on to other nodes.
import { deferred, type Deferred, isTrayError, messageOf, TrayError } from "@tray/common";
import type { Arena, BulkReadable, ObjectOwner, ObjectTableCore, TableEffects } from "@tray/object-store";
import type { NodeAddress } from "@tray/protocol";
import type { RayletEnvironment } from "../node.js";
import type { Changes } from "./changes.js";
import { storeFull } from "./store-full.js";
import type { Ranges } from "./ranges.js";
import type { Spiller } from "./spiller.js";
import type { Transfer } from "./transfer.js";

/** Where the bytes are to come from. */
export type FetchSource =
  | { readonly kind: "disk" }
  /** `here`: this node's id, when it is named among the locations, and wrongly so. */
  | { readonly kind: "nodes"; readonly nodes: readonly NodeAddress[]; readonly here: readonly string[] };

export type FetchOutcome =
  | { readonly kind: "fetched"; readonly offset: number; readonly size: number; readonly isNewCopy: boolean }
  | { readonly kind: "failed"; readonly error: TrayError }
  | { readonly kind: "missing"; readonly nodeIds: readonly string[] }
  /** Somebody else made it meanwhile, or it is gone from here: look again. */
  | { readonly kind: "retry" };

export interface FetchRequest {
  readonly objectId: string;
  readonly size: number;
  readonly source: FetchSource;
  readonly owner: ObjectOwner;
}

interface Fetch {
  readonly done: Deferred<FetchOutcome>;
  /** Clients to be pinned for when it is sealed, once for each time that they asked; among them those who pass it on. */
  readonly readers: string[];
  readonly abort: AbortController;
  /** What has arrived; undefined before there is a block, and of what comes from disk. */
  arriving: { readonly ranges: Ranges; readonly offset: number } | undefined;
  /** Those who pass it on while it arrives. */
  relays: number;
  relaysGone: Deferred<void> | undefined;
  /** The readers are pinned: who leaves now must be unpinned. */
  sealed: boolean;
}

/** The raylet's own name as creator of copies. Ids of clients are hex: no clash. */
export const fetcher = "fetch";

/** Passed on at a time while an object arrives, unless it is complete. */
const relayBytesMin = 256 * 1024;

export class Fetches {
  private readonly fetches = new Map<string, Fetch>();
  private closed = false;
  /** Those that have their blocks. */
  private filling = 0;

  constructor(
    private readonly env: RayletEnvironment,
    private readonly table: ObjectTableCore,
    private readonly spiller: Spiller,
    private readonly arena: Arena,
    private readonly transfer: Transfer,
    private readonly changes: Changes,
    private readonly follow: (effects: TableEffects) => void,
  ) {}

  has(objectId: string): boolean {
    return this.fetches.has(objectId);
  }

  /** Bytes are on their way into blocks of the arena. */
  get isFilling(): boolean {
    return this.filling > 0;
  }

  /** H1. Joins the fetch of this object, or begins it. Rejects with the signal's reason as soon as it aborts. */
  join(request: FetchRequest, client: string, signal: AbortSignal): Promise<FetchOutcome> {
    const { objectId } = request;
    if (this.closed) return Promise.reject(new TrayError("UNAVAILABLE", "the node shuts down"));
    const fetch = this.fetches.get(objectId) ?? this.begin(request);
    fetch.readers.push(client);
    return new Promise((resolve, reject) => {
      const leave = (): void => {
        reject(signal.reason as Error);
        if (fetch.sealed) {
          // Between seal and answer: take back the pin that the seal made for it.
          void fetch.done.promise.then((outcome) => {
            if (outcome.kind === "fetched") this.follow(this.table.unpin(objectId, outcome.offset, client, this.nowMs));
          });
          return;
        }
        fetch.readers.splice(fetch.readers.indexOf(client), 1);
        if (fetch.readers.length === fetch.relays) fetch.abort.abort(signal.reason); // H3
      };
      signal.addEventListener("abort", leave, { once: true });
      void fetch.done.promise.then((outcome) => {
        signal.removeEventListener("abort", leave);
        resolve(outcome);
      });
    });
  }

  abort(objectId: string, error: TrayError): void {
    this.fetches.get(objectId)?.abort.abort(error);
  }

  /** For another node: an object that is arriving here, as it comes. Pinned for `holder` from the moment on that it is sealed. */
  openPartial(objectId: string, holder: string): BulkReadable | undefined {
    const fetch = this.fetches.get(objectId);
    if (fetch?.arriving === undefined || fetch.abort.signal.aborted) return undefined;
    const { ranges, offset: block } = fetch.arriving;
    fetch.relays++;
    fetch.readers.push(holder);
    return {
      size: ranges.size,
      read: async (offset, length) => {
        await ranges.until(Math.min(offset + Math.min(length, relayBytesMin), ranges.size));
        return this.arena.write(block + offset, Math.min(length, ranges.prefix - offset));
      },
      close: () => {
        fetch.relays--;
        if (fetch.sealed) {
          this.follow(this.table.unpin(objectId, block, holder, this.nowMs));
          return;
        }
        fetch.readers.splice(fetch.readers.indexOf(holder), 1);
        if (fetch.relays === 0) fetch.relaysGone?.resolve();
      },
    };
  }

  /** Ends all. Resolves when nobody touches the arena any more. */
  async close(): Promise<void> {
    this.closed = true;
    const fetches = [...this.fetches.values()];
    for (const { abort } of fetches) abort.abort(new TrayError("UNAVAILABLE", "the node shuts down"));
    await Promise.all(fetches.map(({ done }) => done.promise));
  }

  private get nowMs(): number {
    return this.env.clock.now();
  }

  private begin(request: FetchRequest): Fetch {
    const { objectId } = request;
    const fetch: Fetch = {
      done: deferred(),
      readers: [],
      abort: new AbortController(),
      arriving: undefined,
      relays: 0,
      relaysGone: undefined,
      sealed: false,
    };
    this.fetches.set(objectId, fetch);
    void this.run(request, fetch).then((outcome) => {
      this.fetches.delete(objectId);
      fetch.done.resolve(outcome);
      this.changes.tell(objectId);
    });
    return fetch;
  }

  /** Makes room, fills it, seals it. Never rejects. */
  private async run({ objectId, size, source, owner }: FetchRequest, fetch: Fetch): Promise<FetchOutcome> {
    const { signal } = fetch.abort;
    const missing = source.kind === "nodes" ? [...source.here] : [];
    let offset: number | undefined;
    try {
      offset = await this.room(objectId, size, owner, signal);
      if (offset === undefined) return { kind: "retry" };
      this.filling++;
      if (source.kind === "disk") {
        if (!(await this.restored(objectId, offset, size, signal))) {
          this.giveUp(objectId);
          return { kind: "retry" }; // deleted meanwhile, or lost here: look elsewhere
        }
      } else {
        const ranges = this.transfer.rangesFor(size, source.nodes.length);
        fetch.arriving = { ranges, offset };
        if (!(await this.transfer.bring(objectId, this.arena.write(offset, size), ranges, source.nodes, missing, signal))) {
          await this.abandon(objectId, fetch, new TrayError("NOT_FOUND", "its source has it no more"));
          return { kind: "missing", nodeIds: missing };
        }
      }
      signal.throwIfAborted(); // deleted in the very step in which the last byte came: sealing it now would free a block that relays still read
      const { outcome, effects } = this.table.seal(objectId, fetcher, this.nowMs, fetch.readers);
      fetch.sealed = outcome.kind === "sealed"; // H2
      this.follow(effects);
      if (outcome.kind === "gone") {
        await this.abandon(objectId, fetch, new TrayError("NOT_FOUND", "it was deleted"));
        return { kind: "missing", nodeIds: [] };
      }
      return { kind: "fetched", offset: outcome.offset, size: outcome.size, isNewCopy: source.kind === "nodes" };
    } catch (error) {
      await this.abandon(objectId, fetch, error instanceof Error ? error : new Error(messageOf(error)));
      if (signal.aborted) return { kind: "retry" }; // whoever joined after all others had left still wants it
      this.env.logger.warn("an object cannot be fetched", { objectId, error: messageOf(error) });
      const noRoom = isTrayError(error, "OUT_OF_DISK") || isTrayError(error, "OBJECT_STORE_FULL");
      return noRoom ? { kind: "failed", error } : { kind: "missing", nodeIds: missing }; // H4
    } finally {
      if (offset !== undefined) this.filling--;
    }
  }

  /** H5. */
  private async abandon(objectId: string, fetch: Fetch, error: Error): Promise<void> {
    fetch.arriving?.ranges.fail(error);
    fetch.arriving = undefined;
    if (fetch.relays > 0) {
      fetch.relaysGone = deferred();
      await fetch.relaysGone.promise;
    }
    this.giveUp(objectId);
  }

  private giveUp(objectId: string): void {
    this.follow(this.table.abort(objectId, fetcher, this.nowMs));
  }

  /** The block at `offset` is ours. False when the disk has the object no more. */
  private async restored(objectId: string, offset: number, size: number, signal: AbortSignal): Promise<boolean> {
    const read = this.spiller.core.openRead(objectId);
    if (read === undefined) return false;
    try {
      return read.size === size && (await this.spiller.restore(read.spillId, offset, size, signal));
    } finally {
      this.spiller.core.closeRead(read.spillId);
      this.spiller.kick();
    }
  }

  /** Undefined: somebody else has made the object. @throws OBJECT_STORE_FULL, OUT_OF_DISK, the signal's reason. */
  private async room(objectId: string, size: number, owner: ObjectOwner, signal: AbortSignal): Promise<number | undefined> {
    for (;;) {
      signal.throwIfAborted();
      const { outcome, effects } = this.spiller.core.create({ objectId, size, creator: fetcher, owner, kind: "secondary" }, this.nowMs);
      this.follow(effects);
      if (outcome.kind === "created") return outcome.offset;
      if (outcome.kind === "exists" || outcome.kind === "spilled") return undefined;
      if (outcome.kind !== "queued") throw storeFull(this.table, [size]);
      await this.changes.next(objectId, signal);
    }
  }
}
