// One block of the arena and the object in it, as the table keeps it. Only ObjectTableCore changes entries.
import type { CopyKind, Holder, ObjectInfo, ObjectOwner } from "./types.js";

export interface Entry {
  readonly objectId: string;
  readonly size: number;
  readonly offset: number;
  owner: ObjectOwner;
  readonly creator: Holder;
  readonly createdMs: number;
  state: "creating" | "sealed";
  copy: CopyKind;
  deleted: boolean;
  /** Its bytes are being written to the spill store at this moment. */
  spilling: boolean;
  lastUsedMs: number;
  pins: number;
  readonly pinnedBy: Map<Holder, number>;
}

/** Which of the byte counts an entry belongs to. */
export type Bucket = "creating" | CopyKind | "deleted";

export function bucketOf(entry: Entry): Bucket {
  if (entry.deleted) return "deleted";
  return entry.state === "creating" ? "creating" : entry.copy;
}

export function describe(entry: Entry): ObjectInfo {
  return {
    objectId: entry.objectId,
    state: entry.state,
    copy: entry.copy,
    size: entry.size,
    offset: entry.offset,
    owner: entry.owner,
    creator: entry.creator,
    createdMs: entry.createdMs,
    lastUsedMs: entry.lastUsedMs,
    pins: entry.pins,
    pinnedBy: [...entry.pinnedBy].map(([client, count]) => ({ client, count })),
    deleted: entry.deleted,
    spilling: entry.spilling,
  };
}
