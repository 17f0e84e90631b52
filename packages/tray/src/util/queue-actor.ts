// QueueActor: the actor behind a Queue. It travels by value, so it must not use anything but what is in this file and in @tray/common.
//
// Invariants
//   Q1. items ≤ maxSize; takers wait only while there are no items; givers wait only while there is no room.
//   Q2. who waits is served in order of arrival; an item goes to one taker, a call that was abandoned leaves no trace.
//   Q3. a bounded number of calls wait here: each keeps one of the calls that this process may have open, and when all of them wait nobody can be
//       let in who would end that. Those beyond are answered "crowded" and come again.
import { type Deferred, deferred, Deque } from "@tray/common";

/** An item in a box: a reference at the top level of a call would be resolved. */
export type Boxed = readonly [item: unknown];
/** Why a call was not served. */
export type Refusal = "abandoned" | "crowded";

interface Giver {
  readonly item: Boxed;
  readonly done: Deferred<true | Refusal>;
}

export class QueueActor {
  readonly items = new Deque<Boxed>();
  readonly givers = new Map<string, Giver>();
  readonly takers = new Map<string, Deferred<Boxed | Refusal>>();

  constructor(
    readonly maxSize: number,
    readonly waitingMax: number,
  ) {}

  put(ticket: string, item: Boxed): true | Refusal | Promise<true | Refusal> {
    if (this.accept(item)) return true;
    if (this.givers.size >= this.waitingMax) return "crowded"; // Q3
    const done = deferred<true | Refusal>();
    this.givers.set(ticket, { item, done });
    return done.promise;
  }

  get(ticket: string): Boxed | Refusal | Promise<Boxed | Refusal> {
    const item = this.take();
    if (item !== undefined) return item;
    if (this.takers.size >= this.waitingMax) return "crowded"; // Q3
    const done = deferred<Boxed | Refusal>();
    this.takers.set(ticket, done);
    return done.promise;
  }

  /** The caller of that put or get waits no longer. It may have been served meanwhile: its own answer says so. */
  abandon(ticket: string): void {
    this.givers.get(ticket)?.done.resolve("abandoned");
    this.givers.delete(ticket);
    this.takers.get(ticket)?.resolve("abandoned");
    this.takers.delete(ticket);
  }

  /** All of them, or none and the room that there is. */
  putNow(batch: readonly Boxed[]): true | { readonly room: number } {
    const room = this.maxSize === 0 ? Number.POSITIVE_INFINITY : this.maxSize - this.items.length + this.takers.size;
    if (batch.length > room) return { room };
    for (const item of batch) this.accept(item);
    return true;
  }

  /** So many, or how many there are. */
  getNow(count: number): readonly Boxed[] | { readonly size: number } {
    const available = this.items.length + this.givers.size;
    if (available < count) return { size: this.items.length };
    return Array.from({ length: count }, () => this.take() as Boxed);
  }

  size(): number {
    return this.items.length;
  }
  full(): boolean {
    return this.maxSize > 0 && this.items.length >= this.maxSize;
  }

  private accept(item: Boxed): boolean {
    for (const [ticket, taker] of this.takers) {
      this.takers.delete(ticket);
      taker.resolve(item);
      return true;
    }
    if (this.full()) return false;
    this.items.push(item);
    return true;
  }

  private take(): Boxed | undefined {
    const item = this.items.shift();
    if (item === undefined) return undefined;
    for (const [ticket, giver] of this.givers) {
      this.givers.delete(ticket);
      this.items.push(giver.item);
      giver.done.resolve(true);
      break;
    }
    return item;
  }
}
