// ObjectService: the objects of this node, for those who come over the wire.
//
// Owns:     who waits for what (room, a seal, a pull), pulls in progress.
// Not mine: blocks, pins and eviction (ObjectTableCore), what lies on disk (Spiller), bytes (arena, bulk), reference counts and locations (owners).
// Crosses:  in: create, seal, get, release, delete, clientGone, ownerDied, nodeDied; bulk peers that open objects.  out: answers.
//
// Invariants
//   B1. An object is fetched (from this node's disk or another node) at most once at a time; all who ask meanwhile share the fetch and its outcome.
//   B2. Whoever is answered with an offset has its pin already (readers) or is the only writer (creators).
//   B3. A request that its caller gave up leaves nothing behind: no place in the queue, no pin.
//   B4. A reader's request that is repeated, because its answer was lost, does not pin again.
//   B6. No room, on a node whose disk takes no more, is an error for those who asked; it is never taken for the loss of an object.
//   B5. A copy counts as missing when its node says so or is dead; one that cannot be reached, only after a while.
import { deferred, type Deferred, isTrayError, messageOf, sleep, TrayError } from "@tray/common";
import {
  type Arena,
  type Bulk,
  type BulkReadable,
  type BulkSource,
  type ObjectInfo,
  type ObjectOwner,
  ObjectTableCore,
  type SpillStore,
  type TableEffects,
} from "@tray/object-store";
import type { Address, CreateObjectReply, GetObjectReply, NodeAddress, ObjectLocations } from "@tray/protocol";
import type { RayletEnvironment } from "../node.js";
import { Spiller } from "./spiller.js";

interface LocalOwner extends ObjectOwner {
  readonly nodeId: string;
}

interface Pull {
  readonly done: Deferred<PullOutcome>;
  /** Clients to be pinned for when it is sealed, once for each time that they asked. */
  readonly readers: string[];
  readonly abort: AbortController;
  /** The readers are pinned: who leaves now must be unpinned. */
  sealed: boolean;
}

/** Where the bytes are to come from. */
type Source =
  | { readonly kind: "disk" }
  /** `here`: this node's id, when it is named among the locations, and wrongly so. */
  | { readonly kind: "nodes"; readonly nodes: readonly NodeAddress[]; readonly here: string[] };

type PullOutcome =
  | { readonly kind: "pulled"; readonly offset: number; readonly size: number; readonly isNewCopy: boolean }
  | { readonly kind: "failed"; readonly error: TrayError }
  | { readonly kind: "missing"; readonly nodeIds: readonly string[] }
  | { readonly kind: "retry" };

/** The raylet's own name as creator of copies. Ids of clients are hex: no clash. */
const puller = "pull";

/** News of a copy has reached its owner after so long, or the owner is out of reach. */
const newsMs = 60_000;
const pullPauseMinMs = 20;
const pullPauseMaxMs = 1_000;

export class ObjectService implements BulkSource {
  private readonly table: ObjectTableCore;
  private readonly spiller: Spiller;
  private readonly pulls = new Map<string, Pull>();
  /** What readers were answered, by client and the client's number of the pin, while the pin lasts. */
  private readonly answered = new Map<string, Map<number, GetObjectReply>>();
  /** Those who wait until something about an object changes: it was granted room, sealed, aborted, deleted. */
  private readonly waiters = new Map<string, Set<(refusal?: TrayError) => void>>();
  private bulkReaders = 0;
  private pulledBytes = 0;
  private pulledMs = 0;

  constructor(
    private readonly env: RayletEnvironment,
    private readonly arena: Arena,
    private readonly bulk: Bulk,
    /** Empty, and this service's alone. */
    spillStore: SpillStore,
    /** The store is full of what these clients have pinned. Names of the raylet's own may be among them. */
    askToCollect: (clients: readonly string[]) => void,
    /** The cluster has given the node up. */
    private readonly isDead: (nodeId: string) => boolean,
  ) {
    this.table = new ObjectTableCore({ capacity: arena.capacity });
    this.spiller = new Spiller(env, this.table, arena, spillStore, {
      follow: (effects) => this.follow(effects),
      refused: (objectId, error) => this.tell(objectId, error),
      collectGarbage: () => askToCollect(this.table.pinHolders()),
    });
    env.metrics.gauge("tray_object_store_used_bytes", () => this.usedBytes);
    env.metrics.gauge("tray_object_store_capacity_bytes", () => this.capacity);
  }

  get capacity(): number {
    return this.arena.capacity;
  }
  get usedBytes(): number {
    return this.table.usage().usedBytes;
  }
  /** Of objects whose bytes are in the spill store. */
  get spilledBytes(): number {
    return this.spiller.core.usage().spilledBytes;
  }
  /** Measured over all pulls; 0 = none yet. */
  get bandwidthBytesPerMs(): number {
    return this.pulledMs > 0 ? this.pulledBytes / this.pulledMs : 0;
  }
  has(objectId: string): boolean {
    return this.spiller.core.has(objectId);
  }
  usage(): ReturnType<ObjectTableCore["usage"]> {
    return this.table.usage();
  }
  /** Blocks of the arena and what is on disk only. O(objects). */
  list(): ReturnType<ObjectTableCore["list"]> {
    return this.spiller.core.list();
  }
  /** Throws when an invariant of the table or of what is spilled does not hold. For tests and simulations. */
  check(): void {
    this.spiller.core.check();
  }

  /**
   * Answers when there is room. @throws OBJECT_STORE_FULL larger than the arena. @throws RESOURCE_EXHAUSTED too many wait.
   * @throws OUT_OF_DISK the arena is full and the disk takes no more.
   */
  async create(objectId: string, size: number, owner: Address | undefined, client: string, signal: AbortSignal): Promise<CreateObjectReply> {
    for (;;) {
      signal.throwIfAborted();
      const { outcome, effects } = this.spiller.core.create({ objectId, size, creator: client, owner: ownerOf(owner), kind: "primary" }, this.nowMs);
      this.follow(effects);
      switch (outcome.kind) {
        case "created":
          return { offset: outcome.offset, exists: false };
        case "exists":
          if (outcome.state === "sealed") return { offset: outcome.offset, exists: true };
          break; // another attempt of the same task writes it, or it is being pulled: wait for how that ends
        case "spilled":
          return { offset: 0, exists: true };
        case "queued":
          break;
        case "tooLarge":
          throw new TrayError("OBJECT_STORE_FULL", `an object of ${size} bytes does not fit into the object store of ${outcome.capacity} bytes`, {
            hint: "start the node with a larger --object-store-memory",
          });
        case "queueFull":
          throw new TrayError("RESOURCE_EXHAUSTED", `${outcome.queued} objects wait for room in the object store`);
      }
      await this.changed(objectId, signal, () => this.follow(this.table.abort(objectId, client, this.nowMs))); // B3
    }
  }

  /** @throws NOT_FOUND when it was deleted meanwhile, or never created. */
  seal(objectId: string, client: string, abort: boolean): void {
    if (abort) {
      this.follow(this.table.abort(objectId, client, this.nowMs));
      this.tell(objectId);
      return;
    }
    const { outcome, effects } = this.table.seal(objectId, client, this.nowMs);
    this.follow(effects);
    this.tell(objectId);
    // A repeated seal may find that the object has left the arena meanwhile.
    if (outcome.kind === "gone" && !this.spiller.core.isStored(objectId))
      throw new TrayError("NOT_FOUND", `object ${objectId} was deleted before it was sealed`);
  }

  /** Pins the object for `client`, after fetching a copy if need be. */
  async get(
    objectId: string,
    locations: ObjectLocations | undefined,
    owner: Address | undefined,
    client: string,
    pinNumber: number,
    signal: AbortSignal,
  ): Promise<GetObjectReply> {
    const repeated = this.answered.get(client)?.get(pinNumber);
    if (repeated !== undefined) return repeated; // B4
    const reply = await this.pinFor(objectId, locations, owner, client, signal);
    if (!reply.found || pinNumber === 0) return reply;
    const answers = this.answered.get(client);
    if (answers === undefined) this.answered.set(client, new Map([[pinNumber, reply]]));
    else answers.set(pinNumber, reply);
    return reply;
  }

  private async pinFor(
    objectId: string,
    locations: ObjectLocations | undefined,
    owner: Address | undefined,
    client: string,
    signal: AbortSignal,
  ): Promise<GetObjectReply> {
    for (;;) {
      signal.throwIfAborted();
      const pin = this.spiller.core.pin(objectId, client, this.nowMs);
      if (pin.kind === "pinned") return found(pin.offset, pin.size, false);
      if (pin.kind === "creating" && !this.pulls.has(objectId)) {
        await this.changed(objectId, signal, () => undefined);
        continue;
      }
      const onDisk = pin.kind === "spilled";
      const outcome = await this.pulled(objectId, onDisk ? pin.size : locations?.size, onDisk ? undefined : locations, owner, client, signal);
      if (outcome.kind === "pulled") return found(outcome.offset, outcome.size, outcome.isNewCopy);
      if (outcome.kind === "failed") throw outcome.error;
      if (outcome.kind === "missing") return { found: false, offset: 0, size: 0, pulled: false, missingNodeIds: [...outcome.nodeIds] };
    }
  }

  /** Drops one pin of `client` for each object, on the block at the offset that it was answered with. */
  release(objectIds: readonly string[], offsets: readonly number[], pinNumbers: readonly number[], client: string): void {
    const answers = this.answered.get(client);
    for (const number of pinNumbers) answers?.delete(number);
    if (answers?.size === 0) this.answered.delete(client);
    objectIds.forEach((objectId, i) => {
      const offset = offsets[i];
      if (offset !== undefined) this.follow(this.table.unpin(objectId, offset, client, this.nowMs));
    });
  }

  delete(objectIds: readonly string[]): void {
    for (const objectId of objectIds) {
      this.pulls.get(objectId)?.abort.abort(new TrayError("NOT_FOUND", `object ${objectId} was deleted`));
      this.follow(this.spiller.core.delete(objectId, this.nowMs).effects);
      this.tell(objectId);
    }
  }

  /** A worker or driver of this node is gone: its pins and half-written objects go. */
  clientGone(client: string): void {
    this.answered.delete(client);
    const { outcome, effects } = this.table.clientGone(client, this.nowMs);
    this.follow(effects);
    for (const objectId of outcome.aborted) this.tell(objectId);
    for (const objectId of outcome.cancelled) this.tell(objectId);
  }

  /**
   * Copies of which only `client` may have known, by their owner's endpoint: what it made for others, and what was pulled of late, perhaps for it
   * (whoever a copy is pulled for tells the owner).
   */
  newsOf(client: string): Map<string, { readonly owner: Address; readonly objectIds: string[] }> {
    const made = new Map<string, { owner: Address; objectIds: string[] }>();
    for (const { objectId, creator, state, owner, deleted, createdMs } of this.list()) {
      const isNews = creator === client || (creator === puller && this.nowMs - createdMs < newsMs);
      if (!isNews || owner.workerId === client || state === "creating" || deleted) continue;
      const { workerId, address, nodeId } = owner as LocalOwner;
      const known = made.get(address);
      if (known === undefined) made.set(address, { owner: { workerId, nodeId, endpoint: address }, objectIds: [objectId] });
      else known.objectIds.push(objectId);
    }
    return made;
  }

  /** Nobody can ever ask for these objects again. */
  ownerDied(workerId: string): void {
    this.deleteWhere((info) => info.owner.workerId === workerId);
  }
  nodeDied(nodeId: string): void {
    this.deleteWhere((info) => (info.owner as LocalOwner).nodeId === nodeId);
  }
  /** The objects of a job that is over. Ids begin with their job's. */
  jobFinished(jobId: string): void {
    this.deleteWhere((info) => info.objectId.startsWith(jobId));
  }
  private deleteWhere(matches: (info: ObjectInfo) => boolean): void {
    this.delete(
      this.list()
        .filter((info) => !info.deleted && matches(info))
        .map((info) => info.objectId),
    );
  }

  /** BulkSource: another raylet fetches a copy. What is only on disk is read from there and does not come into the arena. */
  open(objectId: string, peer: string): BulkReadable | undefined {
    const holder = `bulk:${peer}:${++this.bulkReaders}`;
    const pin = this.table.pin(objectId, holder, this.nowMs);
    if (pin.kind !== "pinned") return this.spiller.open(objectId);
    return {
      size: pin.size,
      read: (offset, length) => this.arena.write(pin.offset + offset, Math.min(length, pin.size - offset)),
      close: () => this.follow(this.table.unpin(objectId, pin.offset, holder, this.nowMs)),
    };
  }

  /** Resolves when nothing touches the arena any more, and nothing is left on disk. */
  async close(): Promise<void> {
    const pulls = [...this.pulls.values()];
    for (const pull of pulls) pull.abort.abort(new TrayError("UNAVAILABLE", "the node shuts down"));
    await Promise.all(pulls.map((pull) => pull.done.promise));
    await this.spiller.close();
  }

  private get nowMs(): number {
    return this.env.clock.now();
  }

  /** B1. Joins the fetch of this object, or begins it. Without `locations`: from disk. */
  private async pulled(
    objectId: string,
    size: number | undefined,
    locations: ObjectLocations | undefined,
    owner: Address | undefined,
    client: string,
    signal: AbortSignal,
  ): Promise<PullOutcome> {
    let pull = this.pulls.get(objectId);
    if (pull === undefined) {
      const source: Source = this.spiller.core.isStored(objectId) ? { kind: "disk" } : this.elsewhere(locations);
      if (size === undefined || (source.kind === "nodes" && source.nodes.length === 0)) {
        return { kind: "missing", nodeIds: source.kind === "nodes" ? source.here : [] };
      }
      pull = { done: deferred<PullOutcome>(), readers: [], abort: new AbortController(), sealed: false };
      this.pulls.set(objectId, pull);
      const begun = pull;
      void this.fetch(objectId, size, source, owner, begun).then((outcome) => {
        this.pulls.delete(objectId);
        begun.done.resolve(outcome);
        this.tell(objectId);
      });
    }
    const joined = pull;
    joined.readers.push(client);
    const leave = (): void => {
      if (joined.sealed) return;
      const at = joined.readers.indexOf(client);
      if (at >= 0) joined.readers.splice(at, 1);
      if (joined.readers.length === 0) joined.abort.abort(signal.reason); // B3: nobody wants it any more
    };
    signal.addEventListener("abort", leave, { once: true });
    const outcome = await joined.done.promise.finally(() => signal.removeEventListener("abort", leave));
    if (signal.aborted && outcome.kind === "pulled") {
      // The caller left between seal and answer: take back the pin that the seal made for it.
      if (joined.sealed && joined.readers.includes(client)) this.follow(this.table.unpin(objectId, outcome.offset, client, this.nowMs));
      signal.throwIfAborted();
    }
    return outcome;
  }

  private elsewhere(locations: ObjectLocations | undefined): Source {
    const all = locations?.nodes ?? [];
    const self = this.env.node.nodeId;
    return {
      kind: "nodes",
      nodes: all.filter((node) => node.nodeId !== self),
      here: all.filter((node) => node.nodeId === self).map((node) => node.nodeId),
    };
  }

  /** Makes room, fills it, seals it. Never rejects. */
  private async fetch(objectId: string, size: number, source: Source, owner: Address | undefined, pull: Pull): Promise<PullOutcome> {
    const missing = source.kind === "nodes" ? source.here : [];
    try {
      const offset = await this.roomForCopy(objectId, size, owner, pull.abort.signal);
      if (offset === undefined) return { kind: "retry" }; // somebody else made it meanwhile: look again
      if (source.kind === "disk") {
        if (!(await this.restored(objectId, offset, size, pull.abort.signal))) {
          this.follow(this.table.abort(objectId, puller, this.nowMs));
          return { kind: "retry" }; // deleted meanwhile, or lost here: look elsewhere
        }
      } else if (!(await this.copied(objectId, offset, size, source.nodes, missing, pull.abort.signal))) {
        this.follow(this.table.abort(objectId, puller, this.nowMs));
        return { kind: "missing", nodeIds: missing };
      }
      const { outcome, effects } = this.table.seal(objectId, puller, this.nowMs, pull.readers);
      this.follow(effects);
      if (outcome.kind === "gone") return { kind: "missing", nodeIds: [] };
      pull.sealed = true;
      return { kind: "pulled", offset: outcome.offset, size: outcome.size, isNewCopy: source.kind === "nodes" };
    } catch (error) {
      this.follow(this.table.abort(objectId, puller, this.nowMs));
      if (!pull.abort.signal.aborted) this.env.logger.warn("an object cannot be fetched", { objectId, error: messageOf(error) });
      else return { kind: "missing", nodeIds: missing };
      const noRoom = isTrayError(error, "OUT_OF_DISK") || isTrayError(error, "OBJECT_STORE_FULL");
      return noRoom ? { kind: "failed", error } : { kind: "missing", nodeIds: missing }; // B6
    }
  }

  private async copied(
    objectId: string,
    offset: number,
    size: number,
    nodes: readonly NodeAddress[],
    missing: string[],
    signal: AbortSignal,
  ): Promise<boolean> {
    const startMs = this.nowMs;
    if (!(await this.pullFromAny(objectId, rotated(nodes, this.env.random.next()), this.arena.write(offset, size), missing, signal))) return false;
    this.pulledBytes = this.pulledBytes * 0.8 + size;
    this.pulledMs = this.pulledMs * 0.8 + Math.max(0.01, this.nowMs - startMs);
    this.env.metrics.count("tray_object_store_pulled_bytes_total", {}, size);
    return true;
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

  /**
   * B5. False when there is no copy: `missing` then names all nodes. One that cannot be reached, but is not known to be dead, is tried again for
   * objectPullTimeout: taken for lost, an object would be made again, or be lost for good, for a network that was away for a second.
   */
  private async pullFromAny(
    objectId: string,
    nodes: readonly NodeAddress[],
    into: Uint8Array,
    missing: string[],
    signal: AbortSignal,
  ): Promise<boolean> {
    const giveUpMs = this.nowMs + this.env.config.objectPullTimeout;
    let left = nodes;
    for (let pauseMs = pullPauseMinMs; ; pauseMs = Math.min(pullPauseMaxMs, pauseMs * 2)) {
      const unreachable: NodeAddress[] = [];
      for (const node of left) {
        try {
          await this.bulk.pull({ address: node.bulk, objectId, size: into.byteLength, into, signal });
          return true;
        } catch (error) {
          if (signal.aborted) return false;
          if (isTrayError(error, "UNAVAILABLE") && !this.isDead(node.nodeId) && this.nowMs < giveUpMs) unreachable.push(node);
          else missing.push(node.nodeId);
          const code = isTrayError(error) ? error.code : "";
          this.env.logger.debug("a copy could not be pulled", { objectId, from: node.nodeId, error: messageOf(error), code });
        }
      }
      if (unreachable.length === 0) return false;
      left = unreachable;
      await sleep(this.env.clock, pauseMs, signal);
    }
  }

  private async roomForCopy(objectId: string, size: number, owner: Address | undefined, signal: AbortSignal): Promise<number | undefined> {
    for (;;) {
      signal.throwIfAborted();
      const request = { objectId, size, creator: puller, owner: ownerOf(owner), kind: "secondary" } as const;
      const { outcome, effects } = this.spiller.core.create(request, this.nowMs);
      this.follow(effects);
      if (outcome.kind === "created") return outcome.offset;
      if (outcome.kind === "exists") return undefined;
      if (outcome.kind !== "queued") throw new TrayError("OBJECT_STORE_FULL", `no room for a copy of ${size} bytes`);
      await this.changed(objectId, signal, () => undefined);
    }
  }

  /** Resolves when something about the object changed; rejects, after `giveUp`, when it was refused room and when `signal` aborts. */
  private changed(objectId: string, signal: AbortSignal, giveUp: () => void): Promise<void> {
    return new Promise((resolve, reject) => {
      const waiters = this.waiters.get(objectId) ?? new Set();
      this.waiters.set(objectId, waiters);
      const stop = (): void => {
        waiters.delete(wake);
        if (waiters.size === 0 && this.waiters.get(objectId) === waiters) this.waiters.delete(objectId);
        signal.removeEventListener("abort", aborted);
      };
      const wake = (refusal?: TrayError): void => {
        stop();
        if (refusal === undefined) return resolve();
        giveUp();
        reject(refusal);
      };
      const aborted = (): void => {
        stop();
        giveUp();
        reject(signal.reason as Error);
      };
      waiters.add(wake);
      signal.addEventListener("abort", aborted, { once: true });
    });
  }

  private tell(objectId: string, refusal?: TrayError): void {
    for (const wake of [...(this.waiters.get(objectId) ?? [])]) wake(refusal);
  }

  private follow({ granted, evicted, superseded }: TableEffects): void {
    for (const { objectId } of granted) this.tell(objectId);
    for (const { objectId } of superseded) this.tell(objectId);
    // Owners learn that a cached copy is gone when somebody asks for it in vain (missing_node_ids).
    if (evicted.length > 0) this.env.metrics.count("tray_object_store_evicted_total", {}, evicted.length);
    this.spiller.kick();
  }
}

const found = (offset: number, size: number, pulled: boolean): GetObjectReply => ({ found: true, offset, size, pulled, missingNodeIds: [] });

function ownerOf(owner: Address | undefined): LocalOwner {
  return { workerId: owner?.workerId ?? "", address: owner?.endpoint ?? "", nodeId: owner?.nodeId ?? "" };
}

/** Begins somewhere in the list, so that the readers of a popular object spread over its copies. */
function rotated<T>(items: readonly T[], draw: number): T[] {
  const at = Math.floor(draw * items.length);
  return [...items.slice(at), ...items.slice(0, at)];
}
