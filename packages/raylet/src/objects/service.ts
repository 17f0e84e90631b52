// ObjectService: the objects of this node, for those who come over the wire.
//
// Owns:     what each client was answered.
// Not mine: blocks, pins and eviction (ObjectTableCore), what lies on disk (Spiller), objects on their way here (Admission, Fetches, Transfer), bytes (arena,
//           bulk), reference counts and locations (owners).
// Crosses:  in: create, seal, get, release, delete, clientGone, ownerDied, nodeDied; bulk peers that open objects.  out: answers.
//
// Invariants
//   B1. Whoever is answered with an offset has its pin already (readers) or is the only writer (creators).
//   B2. A request that its caller gave up leaves nothing behind: no place in a queue, no pin.
//   B3. A reader's request that is repeated, because its answer was lost, does not pin again.
//   B4. Objects that are asked for together are pinned together: who waits for its turn holds nothing that others may wait for.
import { TrayError } from "@tray/common";
import {
  type Arena,
  blockBytes,
  type Bulk,
  type BulkOpen,
  type BulkOpened,
  type BulkReadable,
  type BulkSource,
  Fanout,
  type ObjectInfo,
  type ObjectOwner,
  ObjectTableCore,
  type SpillStore,
  type TableEffects,
} from "@tray/object-store";
import type { Address, CreateObjectReply, GetObject, GetObjectReply, ObjectLocations } from "@tray/protocol";
import { copyNewsMs, type TransferSizes, transferSizes, triesAloneMax, waitingFetchesMax } from "../limits.js";
import type { RayletEnvironment } from "../node.js";
import { Admission, type Bundle, type Purpose } from "./admission.js";
import { Changes } from "./changes.js";
import { Fetches, type FetchSource, fetcher } from "./fetches.js";
import { Pressure } from "./pressure.js";
import { Spiller } from "./spiller.js";
import { storeFull } from "./store-full.js";
import { Transfer, type TransferNodes } from "./transfer.js";
import { Warmth } from "./warmth.js";

interface LocalOwner extends ObjectOwner {
  readonly nodeId: string;
}

export class ObjectService implements BulkSource {
  private readonly table: ObjectTableCore;
  private readonly changes = new Changes();
  private readonly spiller: Spiller;
  private readonly admission: Admission;
  private readonly transfer: Transfer;
  private readonly fetches: Fetches;
  private readonly fanout: Fanout;
  private readonly pressure: Pressure;
  private readonly warmth: Warmth;
  /** What readers were answered, by client and the client's number of the pin, while the pin lasts. */
  private readonly answered = new Map<string, Map<number, GetObjectReply>>();
  private bulkReaders = 0;

  constructor(
    private readonly env: RayletEnvironment,
    private readonly arena: Arena,
    bulk: Bulk,
    /** Empty, and this service's alone. */
    spillStore: SpillStore,
    /** The store is full of what these clients have pinned. Names of the raylet's own may be among them. */
    askToCollect: (clients: readonly string[]) => void,
    nodes: TransferNodes,
    sizes: TransferSizes = transferSizes,
  ) {
    const { metrics, config } = env;
    const follow = (effects: TableEffects): void => this.follow(effects);
    this.table = new ObjectTableCore({ capacity: arena.capacity });
    this.spiller = new Spiller(env, this.table, arena, spillStore, {
      follow,
      refused: (objectId, error) => this.changes.tell(objectId, error),
    });
    this.pressure = new Pressure(env.clock, {
      isStuck: () => this.isStuck,
      isFilling: () => this.fetches.isFilling,
      collectGarbage: () => {
        metrics.count("tray_object_store_gc_requests_total");
        askToCollect(this.table.pinHolders());
      },
      favourOne: () => {
        // A disk that takes nothing is another trouble, and those who wait for it hear of it from the spiller.
        if (this.spiller.core.usage().failingSinceMs !== undefined && this.table.usage().spillableBytes > 0) return;
        this.admission.favourOne(this.fetches.isFilling);
      },
      refuseAll: () => this.refuseAll(),
    });
    this.warmth = new Warmth(arena, env.logger);
    this.admission = new Admission(() => this.room, waitingFetchesMax);
    this.transfer = new Transfer(env, bulk, nodes, sizes);
    this.fetches = new Fetches(env, this.table, this.spiller, arena, this.transfer, this.changes, follow);
    this.fanout = new Fanout({ sendsMax: config.objectBroadcastFanout, bytesMin: sizes.fanoutBytesMin });
    metrics.gauge("tray_object_store_used_bytes", () => this.usedBytes);
    metrics.gauge("tray_object_store_capacity_bytes", () => this.capacity);
    metrics.gauge("tray_object_store_waiting_requests", () => this.admission.waitingCount);
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
  /** Measured over all transfers; 0 = none yet. */
  get bandwidthBytesPerMs(): number {
    return this.transfer.bandwidthBytesPerMs;
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
  /** What waits for room: objects being made, copies, and requests whose turn has not come. */
  waiting(): { readonly count: number; readonly bytes: number; readonly oldestMs: number } {
    const { nowMs } = this;
    const waiting = { count: 0, bytes: 0, oldestMs: 0 };
    const add = (bytes: number, sinceMs: number): void => {
      waiting.count++;
      waiting.bytes += bytes;
      waiting.oldestMs = Math.max(waiting.oldestMs, nowMs - sinceMs);
    };
    for (const { size, sinceMs } of this.table.waitingCreates()) add(size, sinceMs);
    for (const bundle of this.admission.waitingBundles()) add(bundle.lacking(), bundle.sinceMs);
    return waiting;
  }
  /** Throws when an invariant of the table or of what is spilled does not hold. For tests and simulations. */
  check(): void {
    this.spiller.core.check();
  }

  /**
   * Answers when there is room. @throws OBJECT_STORE_FULL larger than the arena, or nobody lets go of what fills it. @throws RESOURCE_EXHAUSTED too many wait.
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
      await this.changes.next(objectId, signal, () => this.follow(this.table.abort(objectId, client, this.nowMs))); // B2
    }
  }

  /** @throws NOT_FOUND when it was deleted meanwhile, or never created. */
  seal(objectId: string, client: string, abort: boolean): void {
    if (abort) {
      this.follow(this.table.abort(objectId, client, this.nowMs));
      this.changes.tell(objectId);
      return;
    }
    const { outcome, effects } = this.table.seal(objectId, client, this.nowMs);
    this.follow(effects);
    this.changes.tell(objectId);
    // A repeated seal may find that the object has left the arena meanwhile.
    if (outcome.kind === "gone" && !this.spiller.core.isStored(objectId))
      throw new TrayError("NOT_FOUND", `object ${objectId} was deleted before it was sealed`);
  }

  /**
   * Pins the objects for `client`, after fetching those that are not here. They are needed together: all are pinned, except those that are missing, or none.
   * @throws OBJECT_STORE_FULL, OUT_OF_DISK no room for them. @throws RESOURCE_EXHAUSTED too many wait.
   */
  async get(objects: readonly GetObject[], purpose: Purpose, client: string, signal: AbortSignal): Promise<GetObjectReply[]> {
    const answers = this.answered.get(client);
    const repeated = objects.map(({ pin }) => answers?.get(pin));
    if (repeated.every((reply) => reply !== undefined)) return repeated as GetObjectReply[]; // B3
    if (repeated.some((reply) => reply !== undefined)) {
      // Of those that were missing nothing is remembered: they may be here by now.
      const rest = await this.get(
        objects.filter((_, i) => repeated[i] === undefined),
        purpose,
        client,
        signal,
      );
      return repeated.map((reply) => reply ?? (rest.shift() as GetObjectReply));
    }
    const replies = this.pinNow(objects, client) ?? (await this.fetched(objects, purpose, client, signal));
    for (const [i, reply] of replies.entries()) if (reply.found) this.remember(client, (objects[i] as GetObject).pin, reply);
    return replies;
  }

  private remember(client: string, pin: number, reply: GetObjectReply): void {
    const answers = this.answered.get(client);
    if (answers === undefined) this.answered.set(client, new Map([[pin, reply]]));
    else answers.set(pin, reply);
  }

  /** All or none (B4). */
  private pinNow(objects: readonly GetObject[], client: string): GetObjectReply[] | undefined {
    if (!objects.every(({ objectId }) => this.table.has(objectId))) return undefined;
    return objects.map(({ objectId }) => {
      const pin = this.spiller.core.pin(objectId, client, this.nowMs);
      return pin.kind === "pinned" ? found(pin.offset, pin.size, false) : missing([]);
    });
  }

  private async fetched(objects: readonly GetObject[], purpose: Purpose, client: string, signal: AbortSignal): Promise<GetObjectReply[]> {
    // Each counts once, however often a task has it among its arguments.
    const sizes = new Map(objects.map(({ objectId, locations }) => [objectId, this.table.info(objectId)?.size ?? locations?.size ?? 0]));
    const tooMuch = (): TrayError => storeFull(this.table, [...sizes.values()]);
    let bytes = 0;
    for (const size of sizes.values()) bytes += blockBytes(size);
    if (bytes > this.capacity) throw tooMuch();
    const sinceMs = this.nowMs;
    for (let triesAlone = 0, anew = false; ; anew = true) {
      const attempt = new AbortController();
      const bundle: Bundle = {
        sinceMs,
        purpose,
        lacking: () => {
          let lacking = 0;
          // What is here and not pinned may yet have to leave for others.
          for (const [objectId, size] of sizes) {
            const here = this.table.info(objectId);
            if (here === undefined || (here.state === "sealed" && here.pins === 0)) lacking += blockBytes(size);
          }
          return lacking;
        },
        giveUp: (alone) => {
          if (alone) triesAlone++;
          attempt.abort();
        },
      };
      try {
        const entering = this.admission.enter(bundle, signal);
        this.pressure.look();
        await entering;
        const replies = await this.pinAll(objects, client, AbortSignal.any([signal, attempt.signal]), anew);
        this.pressure.progress();
        return replies;
      } catch (error) {
        if (signal.aborted || !attempt.signal.aborted) throw error;
        if (triesAlone >= triesAloneMax) throw tooMuch();
        this.env.metrics.count("tray_object_store_retries_total");
      } finally {
        this.admission.leave(bundle);
        this.pressure.look(); // who is next may lack the room that this one has pinned, or nobody waits any more; and nothing else might happen
      }
    }
  }

  /**
   * All that are to be found, or none and the reason (B2, B4).
   * @param anew what is not here comes first, the largest before the others: what is here may have to make room for it, and come back at another place.
   */
  private async pinAll(objects: readonly GetObject[], client: string, signal: AbortSignal, anew: boolean): Promise<GetObjectReply[]> {
    const ends: PromiseSettledResult<GetObjectReply>[] = [];
    const pin = async (some: readonly number[]): Promise<void> => {
      const settled = await Promise.allSettled(
        some.map((i) => {
          const { objectId, locations, owner } = objects[i] as GetObject;
          return this.pinFor(objectId, locations, owner, client, signal);
        }),
      );
      for (const [n, i] of some.entries()) ends[i] = settled[n] as PromiseSettledResult<GetObjectReply>;
    };
    const all = [...objects.keys()];
    if (anew) {
      const sizeAt = (i: number): number => objects[i]?.locations?.size ?? 0;
      const away = all.filter((i) => !this.table.has((objects[i] as GetObject).objectId)).sort((i, j) => sizeAt(j) - sizeAt(i));
      for (const i of away) await pin([i]);
      await pin(all.filter((i) => ends[i] === undefined));
    } else await pin(all);
    const failed = ends.find((end) => end.status === "rejected");
    if (failed === undefined && !signal.aborted) return ends.flatMap((end) => (end.status === "fulfilled" ? [end.value] : []));
    for (const [i, end] of ends.entries()) {
      if (end.status !== "fulfilled" || !end.value.found) continue;
      this.follow(this.table.unpin((objects[i] as GetObject).objectId, end.value.offset, client, this.nowMs));
    }
    throw failed?.reason ?? signal.reason;
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
      if (pin.kind === "creating" && !this.fetches.has(objectId)) {
        await this.changes.next(objectId, signal);
        continue;
      }
      const source: FetchSource = this.spiller.core.isStored(objectId) ? { kind: "disk" } : this.elsewhere(locations);
      const size = pin.kind === "spilled" ? pin.size : locations?.size;
      if (size === undefined || (source.kind === "nodes" && source.nodes.length === 0 && !this.fetches.has(objectId))) {
        return missing(source.kind === "nodes" ? source.here : []);
      }
      const joining = this.fetches.has(objectId);
      const outcome = await this.fetches.join({ objectId, size, source, owner: ownerOf(owner) }, client, signal);
      if (outcome.kind === "fetched") return found(outcome.offset, outcome.size, outcome.isNewCopy);
      if (outcome.kind === "failed") throw outcome.error;
      // Who began it looked where it was told to: our copies have not been looked for.
      if (outcome.kind === "missing" && joining && source.kind === "nodes" && source.nodes.some(({ nodeId }) => !outcome.nodeIds.includes(nodeId)))
        continue;
      if (outcome.kind === "missing") return missing(outcome.nodeIds);
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
      if (this.fetches.has(objectId)) this.fetches.abort(objectId, new TrayError("NOT_FOUND", `object ${objectId} was deleted`));
      this.fanout.forget(objectId);
      this.follow(this.spiller.core.delete(objectId, this.nowMs).effects);
      this.changes.tell(objectId);
    }
  }

  /** A worker or driver of this node is gone: its pins and half-written objects go. */
  clientGone(client: string): void {
    this.answered.delete(client);
    const { outcome, effects } = this.table.clientGone(client, this.nowMs);
    this.follow(effects);
    for (const objectId of outcome.aborted) this.changes.tell(objectId);
    for (const objectId of outcome.cancelled) this.changes.tell(objectId);
  }

  /**
   * Copies of which only `client` may have known, by their owner's endpoint: what it made for others, and what was pulled of late, perhaps for it
   * (whoever a copy is pulled for tells the owner).
   */
  newsOf(client: string): Map<string, { readonly owner: Address; readonly objectIds: string[] }> {
    const made = new Map<string, { owner: Address; objectIds: string[] }>();
    for (const { objectId, creator, state, owner, deleted, createdMs } of this.list()) {
      const isNews = creator === client || (creator === fetcher && this.nowMs - createdMs < copyNewsMs);
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
  open({ objectId, peer, nodeId, mayRedirect, takesPartial }: BulkOpen): BulkOpened {
    const opened = this.openHere(objectId, `bulk:${peer}:${++this.bulkReaders}`, takesPartial);
    if (opened === undefined) return undefined;
    const decision = this.fanout.begin(objectId, opened.size, nodeId, mayRedirect);
    if (decision.kind === "elsewhere") {
      opened.close(false);
      return { elsewhere: decision.nodeId, receiving: decision.receiving };
    }
    return {
      ...opened,
      close: (complete) => {
        decision.end(complete);
        opened.close(complete);
      },
    };
  }

  private openHere(objectId: string, holder: string, takesPartial: boolean): BulkReadable | undefined {
    const pin = this.table.pin(objectId, holder, this.nowMs);
    if (pin.kind !== "pinned") return this.spiller.open(objectId) ?? (takesPartial ? this.fetches.openPartial(objectId, holder) : undefined);
    return {
      size: pin.size,
      read: (offset, length) => this.arena.write(pin.offset + offset, Math.min(length, pin.size - offset)),
      close: () => this.follow(this.table.unpin(objectId, pin.offset, holder, this.nowMs)),
    };
  }

  /** Resolves when nothing touches the arena any more, and nothing is left on disk. */
  async close(): Promise<void> {
    this.pressure.close();
    this.warmth.close();
    await this.fetches.close();
    await this.spiller.close();
  }

  private get nowMs(): number {
    return this.env.clock.now();
  }

  private elsewhere(locations: ObjectLocations | undefined): FetchSource {
    const all = locations?.nodes ?? [];
    const self = this.env.node.nodeId;
    return {
      kind: "nodes",
      nodes: all.filter((node) => node.nodeId !== self),
      here: all.filter((node) => node.nodeId === self).map((node) => node.nodeId),
    };
  }

  private get isStuck(): boolean {
    // What is spilled counts as room for requests already.
    return this.admission.isStuck || (this.table.isWaiting && this.table.usage().spillingBytes === 0);
  }

  private refuseAll(): void {
    const waiting = this.table.waitingCreates();
    this.table.refuseWaiting(this.nowMs);
    for (const { objectId, size } of waiting) this.changes.tell(objectId, storeFull(this.table, [size]));
    this.admission.refuseAll((bundle) => storeFull(this.table, [bundle.lacking()]));
  }

  /** What could be free for objects that come: all but what is pinned, being written, or deleted and not yet let go of. */
  private get room(): number {
    const { capacity, pinnedBytes, creatingBytes, deletedBytes } = this.table.usage();
    return capacity - pinnedBytes - creatingBytes - deletedBytes;
  }

  private follow({ granted, evicted, superseded }: TableEffects): void {
    if (granted.length > 0) this.pressure.progress(!this.admission.isStuck); // which grants of others do not help
    for (const { objectId } of granted) this.changes.tell(objectId);
    for (const { objectId } of superseded) this.changes.tell(objectId);
    // Owners learn that a cached copy is gone when somebody asks for it in vain (missing_node_ids).
    if (evicted.length > 0) this.env.metrics.count("tray_object_store_evicted_total", {}, evicted.length);
    this.spiller.kick();
    this.admission.kick();
    this.pressure.look();
    this.warmth.look(this.table.touchedBytes);
  }
}

const missing = (missingNodeIds: readonly string[]): GetObjectReply => ({
  found: false,
  offset: 0,
  size: 0,
  pulled: false,
  missingNodeIds: [...missingNodeIds],
});
const found = (offset: number, size: number, pulled: boolean): GetObjectReply => ({ found: true, offset, size, pulled, missingNodeIds: [] });

function ownerOf(owner: Address | undefined): LocalOwner {
  return { workerId: owner?.workerId ?? "", address: owner?.endpoint ?? "", nodeId: owner?.nodeId ?? "" };
}
