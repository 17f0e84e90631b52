// Handovers: references that this process has passed on, held here until their taker says that the owner knows it (docs/decisions/0004).
//
// Owns:     what each taker has not confirmed; what is kept for processes that are gone.
// Not mine: who borrows objects that this process owns (borrowers.ts), counts (reference-table.ts), confirming what was given to us (receipts.ts).
// Crosses:  in: hold, confirmed, lost, linger. out: reference-table.use / unuse.
//
// Invariants
//   H1. what was passed on is held until its taker has confirmed it, or is gone.
//   H2. what was held for a process that is gone is held for `graceMs` more: it may have passed it on, and its takers may still be telling the owner
//       (docs/decisions/0009).
import type { Clock } from "@tray/common";
import type { ObjectEntry } from "./object-entry.js";
import type { ReferenceTable } from "./reference-table.js";

/** Which handover: a task's number for its results, a text for an item of a stream. One at a time of each key and taker. */
export type HandoverKey = number | string;

export class Handovers {
  /** Takers are told apart by identity: sessions, in fact. */
  private readonly byTaker = new Map<object, Map<HandoverKey, readonly ObjectEntry[]>>();
  private open = 0;

  constructor(
    private readonly references: ReferenceTable,
    private readonly clock: Clock,
    private readonly graceMs: () => number,
  ) {}

  /** How many are not over: the end of this process might lose what others are about to use. */
  get count(): number {
    return this.open;
  }

  hold(taker: object, key: HandoverKey, entries: readonly ObjectEntry[]): void {
    for (const entry of entries) this.references.use(entry);
    let held = this.byTaker.get(taker);
    if (held === undefined) {
      held = new Map();
      this.byTaker.set(taker, held);
    }
    held.set(key, entries);
    this.open++;
  }

  /** Repeated, or of what is not held any more, it changes nothing. */
  confirmed(taker: object, key: HandoverKey): void {
    const held = this.byTaker.get(taker);
    const entries = held?.get(key);
    if (held === undefined || entries === undefined) return;
    held.delete(key);
    if (held.size === 0) this.byTaker.delete(taker);
    this.over(entries);
  }

  /** The taker is gone. */
  lost(taker: object): void {
    const held = this.byTaker.get(taker);
    if (held === undefined) return;
    this.byTaker.delete(taker);
    for (const entries of held.values()) this.clock.after(this.graceMs(), () => this.over(entries)); // H2
  }

  /** H2, of what somebody else holds and is about to let go of. */
  linger(entries: readonly ObjectEntry[]): void {
    if (entries.length === 0) return;
    for (const entry of entries) this.references.use(entry);
    this.open++;
    this.clock.after(this.graceMs(), () => this.over(entries));
  }

  private over(entries: readonly ObjectEntry[]): void {
    this.open--;
    for (const entry of entries) this.references.unuse(entry);
  }
}
