// SimClock: virtual time for simulations and tests.
//
// Owns:     the time, timers in order of (due time, insertion), functions that wait for the end of the turn.
// Not mine: what runs between events: promises. They are drained before every event, so that an event sees all that earlier ones caused.
//
// Invariants
//   C1. Time moves only inside advance, runUntil and runUntilIdle, and never backwards.
//   C2. Two runs with the same calls and the same seeds see the same order of events.
import type { Clock, Timer } from "./clock.js";

interface Entry {
  due: number;
  sequence: number;
  fn: () => void;
  /** Undefined for one-shot timers. */
  periodMs: number | undefined;
  cancelled: boolean;
}

export class SimClock implements Clock {
  private time = 0;
  private sequence = 0;
  private readonly heap: Entry[] = [];
  private turn: (() => void)[] = [];
  private oneShots = 0;

  /** `startWallMs`: the wall clock at virtual time 0. */
  constructor(private readonly startWallMs = Date.UTC(2026, 0, 1)) {}

  now(): number {
    return this.time;
  }
  wallMs(): number {
    return this.startWallMs + this.time;
  }
  after(delayMs: number, fn: () => void): Timer {
    return this.add(Math.max(0, delayMs), fn, undefined);
  }
  every(periodMs: number, fn: () => void): Timer {
    return this.add(Math.max(1, periodMs), fn, Math.max(1, periodMs));
  }
  endOfTurn(fn: () => void): void {
    this.turn.push(fn);
  }
  soon(fn: () => void): void {
    queueMicrotask(fn);
  }

  /** Runs all that is due now, and what follows from it without time passing. */
  async settle(): Promise<void> {
    await this.runTo(this.time);
  }
  /** Moves the time on by `ms`, running what falls due in order. */
  async advance(ms: number): Promise<void> {
    await this.runTo(this.time + ms);
  }
  /** Runs until `done` holds. @throws Error when that takes more than `maxMs` of virtual time. */
  async runUntil(done: () => boolean, maxMs = 60_000): Promise<void> {
    const deadline = this.time + maxMs;
    for (;;) {
      await this.drain();
      if (done()) return;
      if (!this.step(deadline)) {
        this.time = Math.max(this.time, deadline);
        throw new Error(`not done within ${maxMs} ms of virtual time`);
      }
    }
  }
  /** Runs `work` to its end, letting time pass as it needs. */
  async complete<T>(work: Promise<T>, maxMs = 60_000): Promise<T> {
    let ended = false;
    const mark = (): void => {
      ended = true;
    };
    work.then(mark, mark);
    await this.runUntil(() => ended, maxMs);
    return work;
  }
  /** Runs until nothing but periodic timers is pending. @throws Error after `maxMs` of virtual time. */
  async runUntilIdle(maxMs = 60_000): Promise<void> {
    await this.runUntil(() => this.oneShots === 0, maxMs);
  }

  private add(delayMs: number, fn: () => void, periodMs: number | undefined): Timer {
    const entry: Entry = { due: this.time + delayMs, sequence: this.sequence++, fn, periodMs, cancelled: false };
    this.push(entry);
    return {
      cancel: () => {
        // A one-shot that has run is marked cancelled as well, so the count stays right.
        if (!entry.cancelled && entry.periodMs === undefined) this.oneShots--;
        entry.cancelled = true;
      },
    };
  }

  private async runTo(time: number): Promise<void> {
    for (;;) {
      await this.drain();
      if (!this.step(time)) break;
    }
    this.time = Math.max(this.time, time); // C1
  }

  /** Runs the next timer that is due at `limit` or before. False: there is none. */
  private step(limit: number): boolean {
    let next = this.heap[0];
    while (next?.cancelled) {
      this.pop();
      next = this.heap[0];
    }
    if (next === undefined || next.due > limit) return false;
    this.pop();
    this.time = next.due;
    if (next.periodMs === undefined) {
      next.cancelled = true;
    } else {
      next.due += next.periodMs;
      next.sequence = this.sequence++;
      this.push(next);
    }
    next.fn();
    return true;
  }

  /** Promises first, then end-of-turn functions, until neither is left. */
  private async drain(): Promise<void> {
    await macrotask();
    while (this.turn.length > 0) {
      const turn = this.turn;
      this.turn = [];
      for (const fn of turn) fn();
      await macrotask();
    }
  }

  private push(entry: Entry): void {
    if (entry.periodMs === undefined) this.oneShots++;
    const heap = this.heap;
    let at = heap.push(entry) - 1;
    while (at > 0) {
      const parent = (at - 1) >> 1;
      if (!before(entry, heap[parent] as Entry)) break;
      heap[at] = heap[parent] as Entry;
      at = parent;
    }
    heap[at] = entry;
  }

  private pop(): void {
    const heap = this.heap;
    const top = heap[0];
    const last = heap.pop();
    if (top === undefined || last === undefined) return;
    if (top.periodMs === undefined && !top.cancelled) this.oneShots--;
    if (heap.length === 0) return;
    let at = 0;
    for (;;) {
      let child = 2 * at + 1;
      if (child >= heap.length) break;
      if (child + 1 < heap.length && before(heap[child + 1] as Entry, heap[child] as Entry)) child++;
      if (!before(heap[child] as Entry, last)) break;
      heap[at] = heap[child] as Entry;
      at = child;
    }
    heap[at] = last;
  }
}

const before = (a: Entry, b: Entry): boolean => a.due < b.due || (a.due === b.due && a.sequence < b.sequence);

/** One hop through the event loop: every promise that could settle has settled after it. */
const macrotask = (): Promise<void> => new Promise((resolve) => setImmediate(resolve));
