// IdleCopies: the sealed copies that nobody needs to stay where they are: caches that may be evicted, primary copies that may be spilled.
//
// Owns:     the orders of eviction and of spilling, and how many bytes each would free.
// Not mine: what makes a copy idle or not (core.ts tells it), when to evict (core.ts), when and what to spill (spill/core.ts).
// Crosses:  in: reconsider.  out: both orders, both sums.
//
// Invariants
//   I1. evictable: exactly the idle secondary copies; spillable: exactly the idle primary ones.
//   I2. insertion order is the order of last use: whoever enters a list was used last of all in it.
//   I3. the sums are those of the blocks in the lists.
import { invariant } from "@tray/common";
import { blockBytes } from "../arena/allocator.js";
import type { Entry } from "./entry.js";

export class IdleCopies {
  private readonly secondaries = new Map<string, Entry>();
  private readonly primaries = new Map<string, Entry>();
  evictableBytes = 0;
  spillableBytes = 0;

  /** The least recently used first. Entries that leave the list while iterating are fine. */
  evictable(): Iterable<Entry> {
    return this.secondaries.values();
  }
  /** The least recently used first. */
  spillable(): Iterable<Entry> {
    return this.primaries.values();
  }
  findSpillable(objectId: string): Entry | undefined {
    return this.primaries.get(objectId);
  }

  /** After every change of what isIdle() or the copy's kind depends on. */
  reconsider(entry: Entry): void {
    const idle = isIdle(entry);
    this.evictableBytes += listIf(idle && entry.copy === "secondary", this.secondaries, entry);
    this.spillableBytes += listIf(idle && entry.copy === "primary", this.primaries, entry);
  }

  /** I1, I3, given all entries. */
  check(entries: Iterable<Entry>): void {
    let evictable = 0;
    let spillable = 0;
    for (const entry of entries) {
      const mayGo = isIdle(entry) && entry.copy === "secondary";
      const maySpill = isIdle(entry) && entry.copy === "primary";
      invariant((this.secondaries.get(entry.objectId) === entry) === mayGo, () => `I1: ${entry.objectId}`);
      invariant((this.primaries.get(entry.objectId) === entry) === maySpill, () => `I1: ${entry.objectId}`);
      if (mayGo) evictable += blockBytes(entry.size);
      if (maySpill) spillable += blockBytes(entry.size);
    }
    invariant(evictable === this.evictableBytes && spillable === this.spillableBytes, "I3");
  }
}

/** Nobody needs the block to stay where it is. */
function isIdle(entry: Entry): boolean {
  return !entry.deleted && entry.state === "sealed" && entry.pins === 0 && !entry.spilling;
}

/** @returns by how much the list's bytes change. */
function listIf(belongs: boolean, list: Map<string, Entry>, entry: Entry): number {
  if (belongs === (list.get(entry.objectId) === entry)) return 0;
  if (belongs) list.set(entry.objectId, entry);
  else list.delete(entry.objectId);
  return belongs ? blockBytes(entry.size) : -blockBytes(entry.size);
}
