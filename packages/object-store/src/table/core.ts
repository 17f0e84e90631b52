// ObjectTableCore: which objects this node's arena holds, who holds on to them, and who waits for room.
//
// Owns:     the allocator, entries, their pins.
// Not mine: who holds what, by client (clients.ts), the order of eviction and of spilling (idle-copies.ts), that of waiting (waiting-creates.ts); bytes
//           (arena/), reference counts (the owners), locations (the directory), pulls, when and what to spill (spill/core.ts).
// Crosses:  in: the operations below, with the time.  out: an outcome, and effects (grants, evictions) to be carried out in order.
//
// The life of an object here: create → (queued →) creating → sealed → deleted. A sealed primary copy may be spilled: between beginSpill and endSpill
// its block stays whatever happens, and then, the bytes being on disk, it is a cache that goes when room is needed.
//
// Invariants
//   O1. Blocks that anyone may touch never overlap: a block returns to the allocator only with no pin, no writer and no spill under way.
//   O2. A deleted object is found by nobody; its block lives on in `doomed` until O1 allows.
//   O3. Only sealed, unpinned secondary copies are evicted, least recently used first, and none unless eviction can make enough room.
//   O4. Creates are granted in the order in which they began to wait; one that would fit does not overtake (a large one would starve).
//   O5. create, seal, abort and delete may be repeated: the second answer equals the first.
//   O6. Every count in usage() is the sum over the entries it describes.
//   O7. coldPrimaries() are the sealed, unpinned primary copies that are not being spilled, least recently used first.
import { invariant } from "@tray/common";
import { ArenaAllocator, blockBytes } from "../arena/allocator.js";
import { TableClients } from "./clients.js";
import { type Bucket, bucketOf, describe, type Entry } from "./entry.js";
import { IdleCopies } from "./idle-copies.js";
import type {
  ClientGone,
  CopyKind,
  CreateOutcome,
  CreateRequest,
  DeleteOutcome,
  Evicted,
  Grant,
  Holder,
  ObjectInfo,
  ObjectOwner,
  Outcome,
  PinOutcome,
  SealOutcome,
  StoreUsage,
  TableEffects,
  WaitingCreate,
} from "./types.js";
import { WaitingCreates } from "./waiting-creates.js";

export interface ObjectTableOptions {
  /** Bytes of the arena; a positive multiple of the page size. */
  readonly capacity: number;
  /** Creates that may wait for room. Default 10,000. */
  readonly queuedCreatesMax?: number;
}

const noEffects: TableEffects = { granted: [], evicted: [], superseded: [] };

export class ObjectTableCore {
  private readonly allocator: ArenaAllocator;
  private readonly objects = new Map<string, Entry>();
  /** Deleted, but pinned or being written (O2); by offset, which is theirs until they are freed. */
  private readonly doomed = new Map<number, Entry>();
  private readonly clients = new TableClients();
  /** Those of O3 and O7. */
  private readonly idle = new IdleCopies();
  private readonly waiting: WaitingCreates;
  private readonly bytes: Record<Bucket, number> = { creating: 0, primary: 0, secondary: 0, deleted: 0 };
  private pinnedBytes = 0;
  private spillingBytes = 0;

  constructor(options: ObjectTableOptions) {
    this.allocator = new ArenaAllocator(options.capacity);
    this.waiting = new WaitingCreates(options.queuedCreatesMax ?? 10_000);
  }

  /** Reserves room for an object that `request.creator` will write and seal. */
  create(request: CreateRequest, nowMs: number): Outcome<CreateOutcome> {
    const present = this.objects.get(request.objectId);
    if (present !== undefined) {
      if (present.state === "creating" && present.creator === request.creator && present.size === request.size) {
        return plain({ kind: "created", offset: present.offset }); // O5
      }
      return plain({ kind: "exists", state: present.state, offset: present.offset, size: present.size });
    }
    const own = this.clients.writing(request.creator, request.objectId);
    if (own !== undefined) {
      // Deleted while being written, and now wanted after all by the same creator, which may be writing to the block at this moment.
      if (own.size !== request.size) return plain({ kind: "exists", state: "creating", offset: own.offset, size: own.size });
      this.revive(own, request);
      const superseded = this.waiting.removeAllOf(own.objectId);
      return { outcome: { kind: "created", offset: own.offset }, effects: superseded.length === 0 ? noEffects : { ...noEffects, superseded } };
    }
    if (blockBytes(request.size) > this.allocator.capacity) return plain({ kind: "tooLarge", capacity: this.allocator.capacity });
    const queued = this.waiting.find(request.creator, request.objectId);
    if (queued !== undefined) {
      return plain({ kind: "queued", cause: "waiting-for-object-store", sinceMs: queued.sinceMs, position: this.waiting.positionOf(queued) });
    }
    if (this.waiting.length === 0) {
      const evicted: Evicted[] = [];
      const entry = this.place(request, nowMs, evicted);
      const effects = evicted.length === 0 ? noEffects : { ...noEffects, evicted };
      if (entry !== undefined) return { outcome: { kind: "created", offset: entry.offset }, effects };
      // Caches may have gone without making one piece of enough room; the create waits, and those who keep locations must still hear.
      if (effects !== noEffects) return { outcome: this.enqueue(request, nowMs), effects };
    }
    return plain(this.enqueue(request, nowMs));
  }

  /**
   * The creator has written all bytes; from now on they do not change. `pinFor` pins for those who waited for it in the same step, so
   * that a fresh secondary copy cannot be evicted before its first reader has it.
   */
  seal(objectId: string, creator: Holder, nowMs: number, pinFor: readonly Holder[] = []): Outcome<SealOutcome> {
    const entry = this.clients.writing(creator, objectId);
    if (entry === undefined) {
      const sealed = this.objects.get(objectId);
      if (sealed === undefined || sealed.state !== "sealed" || sealed.creator !== creator) return plain({ kind: "gone" });
      return plain({ kind: "sealed", offset: sealed.offset, size: sealed.size }); // O5
    }
    this.clients.endWriting(entry);
    if (entry.deleted) {
      this.freeIfLetGo(entry);
      return { outcome: { kind: "gone" }, effects: this.grantWaiting(nowMs) };
    }
    this.recount(entry, () => (entry.state = "sealed"));
    entry.lastUsedMs = nowMs;
    for (const client of pinFor) this.addPin(entry, client, nowMs);
    this.idle.reconsider(entry);
    return { outcome: { kind: "sealed", offset: entry.offset, size: entry.size }, effects: this.grantWaiting(nowMs) };
  }

  /** The creator gives up: its unsealed block is freed, or its place in the queue. Nothing happens when it has neither. */
  abort(objectId: string, creator: Holder, nowMs: number): TableEffects {
    const wasQueued = this.waiting.remove(creator, objectId);
    const entry = this.clients.writing(creator, objectId);
    if (entry === undefined && !wasQueued) return noEffects;
    if (entry !== undefined) this.abandon(entry);
    return this.grantWaiting(nowMs);
  }

  /** Pins a sealed object for `client`, once more for each call. The client may read until it unpins as often. */
  pin(objectId: string, client: Holder, nowMs: number): PinOutcome {
    const entry = this.objects.get(objectId);
    if (entry === undefined) return { kind: "absent" };
    if (entry.state === "creating") return { kind: "creating" };
    this.addPin(entry, client, nowMs);
    return { kind: "pinned", offset: entry.offset, size: entry.size, copy: entry.copy };
  }

  /** Takes back `count` pins of `client` on the block at `offset`; more than it has, or none, is not an error (it may have been declared gone). */
  unpin(objectId: string, offset: number, client: Holder, nowMs: number, count = 1): TableEffects {
    const live = this.objects.get(objectId);
    const entry = live?.offset === offset ? live : this.doomed.get(offset);
    if (entry === undefined || entry.objectId !== objectId) return noEffects;
    if (!this.dropPins(entry, client, count, nowMs)) return noEffects;
    return this.grantWaiting(nowMs);
  }

  /** Nobody finds the object any more; creates of it that wait go on waiting. Its room is free now or as soon as nobody touches it (O1). */
  delete(objectId: string, nowMs: number): Outcome<DeleteOutcome> {
    const entry = this.objects.get(objectId);
    if (entry === undefined) return plain("absent");
    const freed = this.doom(entry);
    return freed ? { outcome: "freed", effects: this.grantWaiting(nowMs) } : plain("deferred");
  }

  /** Makes a sealed copy a cache (its bytes are safe elsewhere, e.g. spilled) or the primary (e.g. handed over by a draining node). False: absent or unsealed. */
  reclassify(objectId: string, copy: CopyKind, nowMs: number): Outcome<boolean> {
    const entry = this.objects.get(objectId);
    if (entry === undefined || entry.state !== "sealed") return plain(false);
    this.recount(entry, () => (entry.copy = copy));
    this.idle.reconsider(entry);
    return { outcome: true, effects: this.grantWaiting(nowMs) };
  }

  /** O7. What could be spilled, the coldest first. Do not change the table while iterating. */
  coldPrimaries(): Iterable<{ readonly objectId: string; readonly size: number; readonly offset: number; readonly owner: ObjectOwner }> {
    return this.idle.spillable();
  }

  /** The block's bytes are being copied elsewhere: until endSpill they stay, even when the object is deleted meanwhile. */
  beginSpill(objectId: string): void {
    const entry = this.idle.findSpillable(objectId);
    invariant(entry !== undefined, () => `O7: ${objectId} cannot be spilled now`);
    entry.spilling = true;
    this.spillingBytes += blockBytes(entry.size);
    this.idle.reconsider(entry);
  }

  /** `stored`: the bytes are safe elsewhere, and this copy is a cache from now on. False: it stays the primary. Not a use of the object. */
  endSpill(objectId: string, offset: number, stored: boolean, nowMs: number): TableEffects {
    const live = this.objects.get(objectId);
    const entry = live?.offset === offset ? live : this.doomed.get(offset);
    invariant(entry?.spilling === true, () => `the spill of ${objectId} at ${offset} ended twice`);
    entry.spilling = false;
    this.spillingBytes -= blockBytes(entry.size);
    if (entry.deleted) this.freeIfLetGo(entry);
    else {
      if (stored) this.recount(entry, () => (entry.copy = "secondary"));
      this.idle.reconsider(entry);
    }
    return this.grantWaiting(nowMs);
  }

  /** Takes all creates that have waited since `sinceMs` or longer out of the queue: there will be no room for them. */
  refuseWaiting(sinceMs: number): { readonly objectId: string; readonly creator: Holder }[] {
    const refused: { objectId: string; creator: Holder }[] = [];
    for (const { request, sinceMs: since } of this.waiting) {
      if (since > sinceMs) continue;
      this.waiting.remove(request.creator, request.objectId);
      refused.push({ objectId: request.objectId, creator: request.creator });
    }
    return refused;
  }

  /** A worker or peer is gone for good: what it was writing is aborted, what it waited for forgotten, its pins dropped. Owned objects stay: see ownedBy. */
  clientGone(client: Holder, nowMs: number): Outcome<ClientGone> {
    const cancelled: string[] = [];
    for (const { request } of this.waiting) {
      if (request.creator !== client) continue;
      this.waiting.remove(client, request.objectId);
      cancelled.push(request.objectId);
    }
    const held = this.clients.holdingsOf(client);
    const aborted: string[] = [];
    let pinsDropped = 0;
    for (const entry of held.writing) {
      if (!entry.deleted) aborted.push(entry.objectId);
      this.abandon(entry);
    }
    for (const entry of held.pinned) {
      const count = entry.pinnedBy.get(client) as number;
      pinsDropped += count;
      this.dropPins(entry, client, count, nowMs);
    }
    invariant(!this.clients.holds(client), () => `client ${client} still holds something`);
    const effects = this.grantWaiting(nowMs);
    return { outcome: { aborted, cancelled, pinsDropped }, effects };
  }

  has(objectId: string): boolean {
    return this.objects.get(objectId)?.state === "sealed";
  }

  /** One object that is found or being created; `undefined` when absent. */
  info(objectId: string): ObjectInfo | undefined {
    const entry = this.objects.get(objectId);
    return entry === undefined ? undefined : describe(entry);
  }

  /** Every block and whom it serves, deleted ones that live on included. O(objects). */
  list(): ObjectInfo[] {
    return [...this.objects.values(), ...this.doomed.values()].map(describe);
  }

  /** Ids of the objects of one owner, to be deleted when it died. O(objects). */
  ownedBy(workerId: string): string[] {
    const ids: string[] = [];
    for (const entry of this.objects.values()) if (entry.owner.workerId === workerId) ids.push(entry.objectId);
    return ids;
  }

  /** Who has pinned something. */
  pinHolders(): Holder[] {
    return this.clients.pinHolders();
  }

  /** Creates that wait for room, in their order. */
  waitingCreates(): WaitingCreate[] {
    return this.waiting.list();
  }

  /** Of memory that was handed out at least once; it lies at the beginning of the arena. */
  get touchedBytes(): number {
    return this.allocator.touchedBytes;
  }
  /** Whether creates wait for room. */
  get isWaiting(): boolean {
    return this.waiting.length > 0;
  }

  usage(): StoreUsage {
    return {
      capacity: this.allocator.capacity,
      usedBytes: this.allocator.usedBytes,
      creatingBytes: this.bytes.creating,
      primaryBytes: this.bytes.primary,
      secondaryBytes: this.bytes.secondary,
      deletedBytes: this.bytes.deleted,
      pinnedBytes: this.pinnedBytes,
      evictableBytes: this.idle.evictableBytes,
      spillableBytes: this.idle.spillableBytes,
      spillingBytes: this.spillingBytes,
      largestFreeBytes: this.allocator.largestFree,
      objects: this.objects.size,
      queuedCreates: this.waiting.length,
      queuedBytes: this.waiting.queuedBytes,
    };
  }

  /** Throws InvariantError when O1–O6 do not hold. O(objects); for tests and simulations. */
  check(): void {
    this.allocator.check();
    const sums: Record<Bucket, number> = { creating: 0, primary: 0, secondary: 0, deleted: 0 };
    let pinned = 0;
    let spilling = 0;
    const entries = [...this.objects.values(), ...this.doomed.values()];
    for (const entry of entries) {
      const bytes = blockBytes(entry.size);
      invariant(this.allocator.sizeAt(entry.offset) === bytes, () => `O1: block of ${entry.objectId}`);
      invariant(entry.deleted === (this.doomed.get(entry.offset) === entry), () => `O2: ${entry.objectId}`);
      invariant(entry.pins === [...entry.pinnedBy.values()].reduce((a, b) => a + b, 0), () => `pins of ${entry.objectId}`);
      this.clients.check(entry);
      invariant(
        !entry.deleted || this.clients.isWritten(entry) || entry.pins > 0 || entry.spilling,
        () => `O1: ${entry.objectId} should have been freed`,
      );
      if (entry.spilling) spilling += bytes;
      sums[bucketOf(entry)] += bytes;
      if (entry.pins > 0 && !entry.deleted) pinned += bytes;
    }
    this.idle.check(entries); // O3, O7
    invariant(this.allocator.blocks === entries.length, "O1: blocks without an entry");
    for (const bucket of Object.keys(sums) as Bucket[]) invariant(sums[bucket] === this.bytes[bucket], () => `O6: ${bucket}`);
    invariant(pinned === this.pinnedBytes && spilling === this.spillingBytes, "O6: pinned, spilling");
    this.waiting.check();
    for (const { request } of this.waiting)
      invariant(!this.objects.has(request.objectId), () => `a create of ${request.objectId} waits although it exists`);
  }

  /** Allocates, evicting if that is certain to leave enough bytes (O3); adds the entry. */
  private place(request: CreateRequest, nowMs: number, evicted: Evicted[]): Entry | undefined {
    let offset = this.allocator.allocate(request.size);
    if (offset === undefined && this.allocator.freeBytes + this.idle.evictableBytes >= blockBytes(request.size)) {
      // Free bytes may lie scattered between blocks that must stay, so that this can evict and still fail; what went were caches.
      for (const entry of this.idle.evictable()) {
        this.doom(entry);
        evicted.push({ objectId: entry.objectId, owner: entry.owner, size: entry.size });
        if (this.allocator.freeBytes < blockBytes(request.size)) continue;
        offset = this.allocator.allocate(request.size);
        if (offset !== undefined) break;
      }
    }
    if (offset === undefined) return undefined;
    const entry: Entry = {
      objectId: request.objectId,
      size: request.size,
      offset,
      owner: request.owner,
      creator: request.creator,
      createdMs: nowMs,
      state: "creating",
      copy: request.kind,
      deleted: false,
      spilling: false,
      lastUsedMs: nowMs,
      pins: 0,
      pinnedBy: new Map(),
    };
    this.objects.set(entry.objectId, entry);
    this.clients.beginWriting(entry);
    this.bytes.creating += blockBytes(entry.size);
    return entry;
  }

  private enqueue(request: CreateRequest, nowMs: number): CreateOutcome {
    if (!this.waiting.push(request, nowMs)) return { kind: "queueFull", queued: this.waiting.length };
    return { kind: "queued", cause: "waiting-for-object-store", sinceMs: nowMs, position: this.waiting.length - 1 };
  }

  /** O4. Called after everything that may have made room. */
  private grantWaiting(nowMs: number): TableEffects {
    if (this.waiting.length === 0) return noEffects;
    const granted: Grant[] = [];
    const evicted: Evicted[] = [];
    const superseded: { objectId: string; creator: Holder }[] = [];
    for (const { request, sinceMs } of this.waiting) {
      const entry = this.place(request, nowMs, evicted);
      if (entry === undefined) break;
      this.waiting.remove(request.creator, request.objectId);
      granted.push({ objectId: entry.objectId, creator: entry.creator, offset: entry.offset, size: entry.size, waitedMs: nowMs - sinceMs });
      superseded.push(...this.waiting.removeAllOf(entry.objectId));
    }
    return granted.length === 0 && evicted.length === 0 ? noEffects : { granted, evicted, superseded };
  }

  private revive(entry: Entry, request: CreateRequest): void {
    this.doomed.delete(entry.offset);
    this.recount(entry, () => (entry.deleted = false));
    entry.owner = request.owner;
    entry.copy = request.kind;
    this.objects.set(entry.objectId, entry);
  }

  private addPin(entry: Entry, client: Holder, nowMs: number): void {
    if (entry.pins === 0) this.pinnedBytes += blockBytes(entry.size);
    entry.pins++;
    entry.pinnedBy.set(client, (entry.pinnedBy.get(client) ?? 0) + 1);
    this.clients.pins(client, entry);
    entry.lastUsedMs = nowMs;
    this.idle.reconsider(entry);
  }

  /** True when that was the last pin. */
  private dropPins(entry: Entry, client: Holder, count: number, nowMs: number): boolean {
    const has = entry.pinnedBy.get(client) ?? 0;
    const drop = Math.min(has, count);
    if (drop <= 0) return false;
    entry.pins -= drop;
    entry.lastUsedMs = nowMs;
    if (has > drop) entry.pinnedBy.set(client, has - drop);
    else {
      entry.pinnedBy.delete(client);
      this.clients.pinsNoLonger(client, entry);
    }
    if (entry.pins > 0) return false;
    if (entry.deleted) this.freeIfLetGo(entry);
    else {
      this.pinnedBytes -= blockBytes(entry.size);
      this.idle.reconsider(entry);
    }
    return true;
  }

  /** O2. True when the block is free already. */
  private doom(entry: Entry): boolean {
    this.objects.delete(entry.objectId);
    if (entry.pins > 0) this.pinnedBytes -= blockBytes(entry.size);
    this.recount(entry, () => (entry.deleted = true));
    this.idle.reconsider(entry);
    this.doomed.set(entry.offset, entry);
    return this.freeIfLetGo(entry);
  }

  /** The only place that returns blocks to the allocator (O1). */
  private freeIfLetGo(entry: Entry): boolean {
    if (entry.state === "creating" && this.clients.isWritten(entry)) return false;
    if (entry.pins > 0 || entry.spilling) return false;
    this.doomed.delete(entry.offset);
    this.bytes.deleted -= blockBytes(entry.size);
    this.allocator.free(entry.offset);
    return true;
  }

  private abandon(entry: Entry): void {
    this.clients.endWriting(entry);
    if (entry.deleted) this.freeIfLetGo(entry);
    else this.doom(entry);
  }

  private recount(entry: Entry, change: () => void): void {
    this.bytes[bucketOf(entry)] -= blockBytes(entry.size);
    change();
    this.bytes[bucketOf(entry)] += blockBytes(entry.size);
  }
}

function plain<T>(outcome: T): Outcome<T> {
  return { outcome, effects: noEffects };
}
