// ReferenceTable: which objects this process knows, who holds them, and when they may go.
//
// Owns:     entries by id, handles by slot, all counts, borrowers of owned objects.
// Not mine: fetching values (object-fetcher.ts), resubmitting tasks (submitter.ts), sending anything.
// Crosses:  in: handle made or dropped, use begun or ended, borrower added or gone. out: ReferenceHost, called synchronously.
//
// Invariants
//   T1. an owned object's value is freed exactly when handles, uses, containers and borrowers are all zero: never before, and then at once.
//       A value in this process is part of the lineage that needs it, as if it had been written into the task: it stays as long as that, and counts there.
//   T2. an entry stays in the table while it is in use or lineage needs it, and no longer.
//   T3. dropping a container releases what it contains, after its own value is freed.
//   T4. one thing's end may be the end of a chain of any length, and one object's failure that of all that wait for it: loops, not recursion.
import { Deque, invariant } from "@tray/common";
import { type Address, indexOfObject, numberOfObject } from "@tray/protocol";
import { freedState, ObjectEntry, pendingState, type ReadyListener, type ReadyState } from "./object-entry.js";
import type { ItemStream } from "./item-stream.js";
import type { TaskEntry } from "./task-entry.js";

export interface ReferenceHost {
  /** The value of an owned object is not needed any more: delete every copy. `state` is what it was. */
  freed(entry: ObjectEntry, state: ObjectEntry["state"]): void;
  /** Nothing here holds a borrowed object any more: tell its owner, if it knows us. */
  returned(entry: ObjectEntry): void;
  /** No result of the task can be asked for again: its arguments need no lineage. */
  lineageEnded(task: TaskEntry): void;
  /** T1: bytes of values that nothing but lineage keeps, more or fewer. */
  lineageValues(deltaBytes: number): void;
  /** The last handle of a streaming task's consumer is gone. */
  streamDropped(task: TaskEntry, stream: ItemStream): void;
}

export class ReferenceTable {
  private readonly entries = new Map<string, ObjectEntry>();
  /** First results of tasks submitted here, by the task's number: most objects are these, and numbers hash faster than ids. */
  private readonly byNumber = new Map<number, ObjectEntry>();
  /** Index = slot; slots are small integers given out by the user's thread and reused by it. */
  private readonly slots: (ObjectEntry | undefined)[] = [];
  /** T4: to be settled, and to be told that they are ready, by the call that is at it. */
  private readonly unsettled: ObjectEntry[] = [];
  private isSettling = false;
  private readonly untold = new Deque<{ readonly entry: ObjectEntry; readonly listeners: ReadyListener[] }>();
  private isTelling = false;

  constructor(
    private readonly host: ReferenceHost,
    private readonly nowMs: () => number,
  ) {}

  /** Ages need no more, and small integers cost no memory of their own. */
  private get nowS(): number {
    return Math.floor(this.nowMs() / 1000);
  }

  get size(): number {
    return this.entries.size + this.byNumber.size;
  }
  get(id: string): ObjectEntry | undefined {
    const entry = this.entries.get(id);
    if (entry !== undefined || indexOfObject(id) !== 0) return entry;
    const first = this.byNumber.get(numberOfObject(id));
    return first !== undefined && first.id === id ? first : undefined;
  }
  *all(): IterableIterator<ObjectEntry> {
    yield* this.byNumber.values();
    yield* this.entries.values();
  }

  /** The result `index` of a task submitted here (an item, when it streams), pending. */
  ownReturn(task: TaskEntry, index: number): ObjectEntry {
    const entry = new ObjectEntry(this.nowS, undefined, task, index, undefined);
    if (index === 0) this.byNumber.set(task.number, entry);
    else this.entries.set(entry.id, entry);
    return entry;
  }

  /** A new owned object, pending. */
  own(id: string, task: TaskEntry | undefined, index: number): ObjectEntry {
    const entry = new ObjectEntry(this.nowS, undefined, task, index, id);
    this.entries.set(id, entry);
    return entry;
  }

  /** The entry of an object that another process owns; made when unknown. */
  borrow(id: string, owner: Address): ObjectEntry {
    const known = this.entries.get(id);
    if (known !== undefined) return known;
    const entry = new ObjectEntry(this.nowS, owner, undefined, 0, id);
    this.entries.set(id, entry);
    return entry;
  }

  bind(slot: number, entry: ObjectEntry): void {
    invariant(this.slots[slot] === undefined, () => `slot ${slot} is taken`);
    this.slots[slot] = entry;
    entry.handles++;
  }
  bySlot(slot: number): ObjectEntry {
    const entry = this.slots[slot];
    invariant(entry !== undefined, () => `no handle in slot ${slot}`);
    return entry;
  }
  releaseSlot(slot: number): void {
    const entry = this.slots[slot];
    if (entry === undefined) return;
    this.slots[slot] = undefined;
    entry.handles--;
    if (entry.handles === 0 && entry.index === 0 && entry.task?.stream !== undefined) this.host.streamDropped(entry.task, entry.task.stream);
    this.settle(entry);
  }

  use(entry: ObjectEntry): void {
    entry.uses++;
  }
  unuse(entry: ObjectEntry): void {
    invariant(entry.uses > 0, () => `use count of ${entry.id} below zero`);
    entry.uses--;
    this.settle(entry);
  }

  needForLineage(entry: ObjectEntry): void {
    entry.lineage++;
  }
  unneedForLineage(entry: ObjectEntry): void {
    invariant(entry.lineage > 0, () => `lineage count of ${entry.id} below zero`);
    entry.lineage--;
    this.settle(entry);
  }

  addBorrower(entry: ObjectEntry, workerId: string): void {
    entry.borrowers ??= new Set();
    entry.borrowers.add(workerId);
  }
  removeBorrower(entry: ObjectEntry, workerId: string): void {
    if (entry.borrowers?.delete(workerId) === true) this.settle(entry);
  }
  /** A process died: it borrows nothing any more. O(objects); deaths are rare. */
  borrowerDied(workerId: string): void {
    for (const entry of [...this.all()]) this.removeBorrower(entry, workerId);
  }

  /** The object has a value (or failed). References inside it are held from now on (owned objects). */
  resolve(entry: ObjectEntry, state: ReadyState, contained?: readonly ObjectEntry[]): void {
    entry.state = state;
    if (contained !== undefined && contained.length > 0) {
      entry.contained = [...contained];
      for (const inner of entry.contained) inner.containers++;
    }
    const { listeners } = entry;
    if (listeners === undefined) {
      this.settle(entry);
      return;
    }
    entry.listeners = undefined;
    this.untold.push({ entry, listeners });
    if (!this.isTelling) this.tell(); // T4
  }

  private tell(): void {
    this.isTelling = true;
    try {
      for (let next = this.untold.shift(); next !== undefined; next = this.untold.shift()) {
        for (const listener of next.listeners) listener(next.entry);
        this.settle(next.entry);
      }
    } finally {
      this.isTelling = false;
    }
  }

  /** The value is gone and is being made again. */
  unresolve(entry: ObjectEntry): void {
    this.dropContained(entry);
    entry.state = pendingState;
  }

  /** Calls `listener` now if the object is ready, else when it is. */
  whenReady(entry: ObjectEntry, listener: ReadyListener): void {
    if (entry.ready) {
      listener(entry);
      return;
    }
    entry.listeners ??= [];
    entry.listeners.push(listener);
  }
  stopListening(entry: ObjectEntry, listener: ReadyListener): void {
    if (entry.listeners === undefined) return;
    const at = entry.listeners.indexOf(listener);
    if (at >= 0) entry.listeners.splice(at, 1);
  }

  /** Other processes use objects that this one owns: its end would lose them. */
  holdsForOthers(): boolean {
    for (const entry of this.all()) if (entry.owner === undefined && entry.borrowers !== undefined && entry.borrowers.size > 0) return true;
    return false;
  }

  /** Frees what nothing holds (T1, T2). Safe to call at any time. */
  settle(entry: ObjectEntry): void {
    if (entry.inUse) return;
    this.unsettled.push(entry);
    if (this.isSettling) return; // T4
    this.isSettling = true;
    try {
      for (let next = this.unsettled.pop(); next !== undefined; next = this.unsettled.pop()) this.settleOne(next);
    } finally {
      this.isSettling = false;
    }
  }

  private settleOne(entry: ObjectEntry): void {
    if (entry.inUse) return;
    if (entry.owner !== undefined) {
      // A later borrowing of the same object is another entry: it is not this one's to remove.
      if (this.entries.get(entry.id) !== entry) return;
      this.entries.delete(entry.id);
      this.host.returned(entry);
      return;
    }
    if (entry.state.kind === "pending" && entry.task !== undefined && entry.task.state !== "done") {
      // The task still runs; its result is dropped when it comes (resolve settles again).
      return;
    }
    if (entry.lineage > 0 && (entry.state.kind === "value" || entry.state.kind === "failed")) {
      if (entry.spare) return;
      entry.spare = true;
      this.host.lineageValues(spareBytesOf(entry));
      return;
    }
    if (entry.state.kind !== "freed") {
      const before = entry.state;
      if (entry.spare) this.host.lineageValues(-spareBytesOf(entry));
      entry.spare = false;
      entry.state = freedState;
      this.host.freed(entry, before);
      this.dropContained(entry); // T3
    }
    if (entry.lineage > 0) return;
    if (entry.removed) return;
    entry.removed = true;
    const { task } = entry;
    if (task !== undefined && entry.index === 0) this.byNumber.delete(task.number);
    else this.entries.delete(entry.id);
    task?.stream?.live.delete(entry);
    if (
      task !== undefined &&
      task.lineage === "kept" &&
      task.returns.every((r) => r.removed) &&
      (task.stream === undefined || task.stream.live.size === 0)
    )
      this.host.lineageEnded(task);
  }

  private dropContained(entry: ObjectEntry): void {
    const { contained } = entry;
    if (contained === undefined) return;
    entry.contained = undefined;
    for (const inner of contained) {
      inner.containers--;
      this.settle(inner);
    }
  }
}

const spareBytesOf = ({ state }: ObjectEntry): number => (state.kind === "value" ? state.value.length : 0);
