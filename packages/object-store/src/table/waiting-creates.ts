// WaitingCreates: the creates that found no room, in the order in which they began to wait (O4 of core.ts).
//
// Invariants
//   W1. At most one entry for each creator and object: a repeated create keeps its place.
//   W2. queuedBytes is the sum over the entries.
import { invariant } from "@tray/common";
import { blockBytes } from "../arena/allocator.js";
import type { CreateRequest, Holder, WaitingCreate } from "./types.js";

export interface Waiting {
  readonly request: CreateRequest;
  readonly sinceMs: number;
}

export class WaitingCreates implements Iterable<Waiting> {
  /** Insertion order is the order of waiting. */
  private readonly entries = new Map<string, Waiting>();
  /** How many creates of each object wait; more than one only when creators race. */
  private readonly countOf = new Map<string, number>();
  private bytes = 0;

  constructor(readonly max: number) {}

  get length(): number {
    return this.entries.size;
  }
  get queuedBytes(): number {
    return this.bytes;
  }
  /** Removal of entries while iterating is fine. */
  [Symbol.iterator](): Iterator<Waiting> {
    return this.entries.values();
  }
  find(creator: Holder, objectId: string): Waiting | undefined {
    return this.entries.get(keyOf(creator, objectId));
  }
  /** As others see them, in their order. */
  list(): WaitingCreate[] {
    return [...this.entries.values()].map(({ request, sinceMs }) => ({
      objectId: request.objectId,
      creator: request.creator,
      size: request.size,
      cause: "waiting-for-object-store",
      sinceMs,
    }));
  }
  /** 0 is next. O(queue). */
  positionOf(waiting: Waiting): number {
    let position = 0;
    for (const other of this.entries.values()) {
      if (other === waiting) break;
      position++;
    }
    return position;
  }

  /** False when the queue is full. */
  push(request: CreateRequest, nowMs: number): boolean {
    if (this.entries.size >= this.max) return false;
    const key = keyOf(request.creator, request.objectId);
    invariant(!this.entries.has(key), () => `W1: ${key}`);
    this.entries.set(key, { request, sinceMs: nowMs });
    this.countOf.set(request.objectId, (this.countOf.get(request.objectId) ?? 0) + 1);
    this.bytes += blockBytes(request.size);
    return true;
  }

  remove(creator: Holder, objectId: string): boolean {
    const waiting = this.find(creator, objectId);
    if (waiting === undefined) return false;
    this.entries.delete(keyOf(creator, objectId));
    this.bytes -= blockBytes(waiting.request.size);
    const others = (this.countOf.get(objectId) as number) - 1;
    if (others === 0) this.countOf.delete(objectId);
    else this.countOf.set(objectId, others);
    return true;
  }

  /** Removes every create of `objectId`; O(1) when there is none, which is nearly always. */
  removeAllOf(objectId: string): readonly { objectId: string; creator: Holder }[] {
    if (!this.countOf.has(objectId)) return nobody;
    const removed: { objectId: string; creator: Holder }[] = [];
    for (const { request } of this.entries.values()) {
      if (request.objectId !== objectId) continue;
      this.remove(request.creator, objectId);
      removed.push({ objectId, creator: request.creator });
    }
    return removed;
  }

  check(): void {
    let bytes = 0;
    for (const { request } of this.entries.values()) bytes += blockBytes(request.size);
    invariant(bytes === this.bytes, "W2");
    invariant([...this.countOf.values()].reduce((a, b) => a + b, 0) === this.entries.size, "W2: counts");
  }
}

const nobody: readonly { objectId: string; creator: Holder }[] = [];

function keyOf(creator: Holder, objectId: string): string {
  return `${creator} ${objectId}`;
}
