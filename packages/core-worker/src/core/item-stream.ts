// ItemStream: the items of one streaming task, as the owner of its results keeps them.
//
// Owns:     which items are there, which are not taken, who waits for the next, which lost ones are to be made again, what the producer was told.
// Not mine: counts of entries (reference-table.ts), attempts (submitter.ts), what follows from an end (streams.ts).
//
// Invariants
//   S1. items are new in order, each once: item k + 1 only after item k. What a later attempt yields again is not new.
//   S2. takers get items in order, each once, and one end each after the last; takers wait only while no item does.
//   S3. the producer is told of no more consumption than there was, and of all but a part of its limit: while it pauses, something is left to take.
import { Deque } from "@tray/common";
import type { NodeAddress, StreamStart } from "@tray/protocol";
import type { Session } from "@tray/rpc";
import type { ObjectEntry } from "./object-entry.js";

export interface Taker {
  take(entry: ObjectEntry): void;
  /** No item follows. */
  end(): void;
}

export class ItemStream {
  /** Items 1 to this one were here. */
  delivered = 0;
  consumed = 0;
  /** All items are there, or the error that stands for the rest. */
  ended = false;
  /** Nobody will take any more. */
  dropped = false;
  /** Entries of items in the reference table. */
  readonly live = new Set<ObjectEntry>();
  /** Items that were lost, to be made again. */
  readonly wanted = new Set<number>();
  /** Those of them that the present attempt was asked for. */
  private asked: Set<number> = new Set();
  /** The present attempt ends after this item; 0: at the end. */
  until = 0;
  /** With the worker of the present attempt. */
  session: Session | undefined;
  /** Copies of items that are not here yet: of lost attempts, which had not told of them. */
  strays: { readonly index: number; readonly node: NodeAddress }[] = [];
  private told = 0;
  private readonly untaken = new Deque<ObjectEntry>();
  private readonly takers = new Deque<Taker>();

  constructor(
    /** The producer pauses at so many items that are not consumed; 0: never. */
    readonly limit: number,
  ) {}

  /** An attempt leaves for a worker. */
  begin(session: Session): StreamStart {
    this.session = session;
    this.told = this.consumed;
    this.asked = new Set(this.wanted);
    this.until = (this.ended || this.dropped) && this.wanted.size > 0 ? Math.max(...this.wanted) : 0;
    return { delivered: this.delivered, consumed: this.consumed, wanted: [...this.wanted], until: this.until };
  }

  /** A lost item. True: the present attempt will not make it, having passed it or not having been asked. */
  want(index: number): boolean {
    this.wanted.add(index);
    return !this.asked.has(index);
  }
  /** A wanted item is there again. */
  found(index: number): void {
    this.wanted.delete(index);
    this.asked.delete(index);
  }

  /** A copy was found. False: the item was here, or never will be. */
  stray(index: number, node: NodeAddress): boolean {
    if (index <= this.delivered || this.ended || this.dropped) return false;
    this.strays.push({ index, node });
    return true;
  }

  /** The next item, new (S1). */
  add(entry: ObjectEntry): void {
    this.delivered = entry.index;
    const taker = this.takers.shift();
    if (taker === undefined) this.untaken.push(entry);
    else this.give(taker, entry); // S2
  }

  take(taker: Taker): void {
    const entry = this.untaken.shift();
    if (entry !== undefined) this.give(taker, entry);
    else if (this.ended || this.dropped) taker.end();
    else this.takers.push(taker);
  }
  /** It does not wait any more. */
  leave(taker: Taker): void {
    this.takers.removeFirst((t) => t === taker);
  }

  end(): void {
    this.ended = true;
    this.endTakers();
  }

  /** Answers the items that nobody took. */
  drop(): ObjectEntry[] {
    this.dropped = true;
    const rest = [...this.untaken];
    this.untaken.clear();
    this.endTakers();
    return rest;
  }

  /** How much was consumed, when the producer should know (S3). */
  news(): number | undefined {
    const step = Math.max(1, Math.floor(this.limit / 4));
    if (this.limit === 0 || this.consumed - this.told < step) return undefined;
    this.told = this.consumed;
    return this.consumed;
  }

  private give(taker: Taker, entry: ObjectEntry): void {
    this.consumed++;
    taker.take(entry);
  }
  private endTakers(): void {
    for (let taker = this.takers.shift(); taker !== undefined; taker = this.takers.shift()) taker.end();
  }
}
