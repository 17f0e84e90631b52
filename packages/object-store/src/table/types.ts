// The vocabulary of the node's object table: what a raylet asks, and what it hears.

import type { WaitCause } from "@tray/protocol";

/** The one thing a create waits for. */
export type ObjectStoreWait = Extract<WaitCause, "waiting-for-object-store">;

/** Who holds something: the id of a worker or driver, or a name of the raylet's own choice for itself ("pull", "bulk:<node>"). */
export type Holder = string;

/** `primary`: the copy that must not be lost, never evicted. `secondary`: a cache of a copy that exists elsewhere (another node, or spilled). */
export type CopyKind = "primary" | "secondary";

export interface ObjectOwner {
  readonly workerId: string;
  /** Where the owner answers, as the raylet learnt it. */
  readonly address: string;
}

export interface CreateRequest {
  readonly objectId: string;
  /** Bytes of the serialized object; 0 is legal. */
  readonly size: number;
  /** Who will write it and then seal or abort it. */
  readonly creator: Holder;
  readonly owner: ObjectOwner;
  readonly kind: CopyKind;
}

export type CreateOutcome =
  /** Write to `offset`, then seal. The same answer again when the same creator asks again before it seals. */
  | { readonly kind: "created"; readonly offset: number }
  /** The node has it, or another creator is at it. */
  | { readonly kind: "exists"; readonly state: "creating" | "sealed"; readonly offset: number; readonly size: number }
  /** No room now; the grant comes in a later operation's effects. `position` 0 is next. */
  | { readonly kind: "queued"; readonly cause: ObjectStoreWait; readonly sinceMs: number; readonly position: number }
  /** Would not fit an empty arena. */
  | { readonly kind: "tooLarge"; readonly capacity: number }
  /** Too many creates wait already: try again later. */
  | { readonly kind: "queueFull"; readonly queued: number };

/** A queued create whose turn came: its creator may write now. */
export interface Grant {
  readonly objectId: string;
  readonly creator: Holder;
  readonly offset: number;
  readonly size: number;
  readonly waitedMs: number;
}

/** A cached copy that had to go; whoever keeps the object's locations must be told. */
export interface Evicted {
  readonly objectId: string;
  readonly owner: ObjectOwner;
  readonly size: number;
}

/** What an operation set off besides its outcome. Empty lists are shared constants. */
export interface TableEffects {
  /** In the order in which they were queued. */
  readonly granted: readonly Grant[];
  readonly evicted: readonly Evicted[];
  /** Queued creates that ended because another creator of the same object was granted first: their next create() answers `exists`. */
  readonly superseded: readonly { readonly objectId: string; readonly creator: Holder }[];
}

export interface Outcome<T> {
  readonly outcome: T;
  readonly effects: TableEffects;
}

/** `sealed` again for a repeated seal. `gone`: it was deleted while it was being written, or never created by this creator. */
export type SealOutcome = { readonly kind: "sealed"; readonly offset: number; readonly size: number } | { readonly kind: "gone" };

export type PinOutcome =
  /** `offset` names the block in unpin(): the same object may be deleted and created anew while old views live. */
  | { readonly kind: "pinned"; readonly offset: number; readonly size: number; readonly copy: CopyKind }
  | { readonly kind: "creating" }
  | { readonly kind: "absent" };

/** `deferred`: nobody finds it any more; its block is freed when the last pin or its writer lets go. */
export type DeleteOutcome = "freed" | "deferred" | "absent";

export interface ClientGone {
  /** Objects it had begun to write and never sealed. */
  readonly aborted: readonly string[];
  /** Creates of its that still waited for room. */
  readonly cancelled: readonly string[];
  readonly pinsDropped: number;
}

export interface ObjectInfo {
  readonly objectId: string;
  /** `spilled`: on disk, and in no block. */
  readonly state: "creating" | "sealed" | "spilled";
  readonly copy: CopyKind;
  readonly size: number;
  /** -1 of spilled ones. */
  readonly offset: number;
  readonly owner: ObjectOwner;
  readonly creator: Holder;
  readonly createdMs: number;
  readonly lastUsedMs: number;
  /** Sum over `pinnedBy`. */
  readonly pins: number;
  readonly pinnedBy: readonly { readonly client: Holder; readonly count: number }[];
  /** Deleted, but still pinned or being written. */
  readonly deleted: boolean;
  /** On its way to the spill store. */
  readonly spilling: boolean;
}

export interface WaitingCreate {
  readonly objectId: string;
  readonly creator: Holder;
  readonly size: number;
  readonly cause: ObjectStoreWait;
  readonly sinceMs: number;
}

/** All in bytes of whole pages unless said otherwise. */
export interface StoreUsage {
  readonly capacity: number;
  /** creating + primary + secondary + deleted. */
  readonly usedBytes: number;
  readonly creatingBytes: number;
  /** Sealed. */
  readonly primaryBytes: number;
  /** Sealed. */
  readonly secondaryBytes: number;
  /** Of deleted objects whose pins or writer hold on. */
  readonly deletedBytes: number;
  /** Sealed, not deleted, with a pin. */
  readonly pinnedBytes: number;
  /** Part of secondaryBytes that could go at once. */
  readonly evictableBytes: number;
  /** Part of primaryBytes that nobody has pinned and that is not being spilled. */
  readonly spillableBytes: number;
  /** Of blocks whose bytes are being spilled; some may be deleted. */
  readonly spillingBytes: number;
  readonly largestFreeBytes: number;
  /** Objects that get() can find or that are being created. */
  readonly objects: number;
  readonly queuedCreates: number;
  readonly queuedBytes: number;
}
