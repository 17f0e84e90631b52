// Streaming: runs a generator of user code and hands on what it yields, at the pace of its consumer.
//
// Owns:     the iterator, the count of items, the pause.
// Not mine: how an item travels (StreamingHost), how the task ends (user-executor.ts).
// Crosses:  in: consumed, stop. out: StreamingHost.
//
// Invariants
//   Y1. items are handed on in order, each done with before the next is asked for.
//   Y2. while `limit` items are not consumed, the generator is not asked for another.
//   Y3. a generator that was begun is run to its end or made to return, whatever stops it: its finally blocks run.
//   Y4. a generator that never waits gives the thread a turn now and then.
import type { StreamResume } from "@tray/core-worker";

export interface StreamingHost {
  /** Hands an item on; a promise when that takes a while. */
  yielded(index: number, value: unknown): Promise<void> | undefined;
  /** It waits for its consumer though the item before was not handed on: an earlier attempt had done that. */
  resting(): void;
  /** The time, ms. */
  now(): number;
  /** One turn of the event loop. */
  turn(): Promise<void>;
}

interface Step {
  readonly done?: boolean;
  readonly value?: unknown;
}
interface Steps {
  next(): Step | PromiseLike<Step>;
  return?(): Step | PromiseLike<Step>;
}

const fromTheBeginning: StreamResume = Object.freeze({ delivered: 0, consumed: 0, wanted: Object.freeze([]), until: 0 });
const sliceMs = 5;

export class Streaming {
  private readonly steps: Steps;
  private readonly isAsync: boolean;
  private readonly wanted: ReadonlySet<number>;
  private consumedCount: number;
  private wake: (() => void) | undefined;
  private closing: Promise<void> | undefined;
  stopped = false;
  /** Items yielded so far, those passed over included. */
  count = 0;

  /** @throws TypeError when `result` is nothing to iterate over. */
  constructor(
    taskName: string,
    result: unknown,
    /** 0: no limit. */
    private readonly limit: number,
    private readonly host: StreamingHost,
    private readonly from: StreamResume = fromTheBeginning,
  ) {
    const steps = stepsOf(result);
    if (steps === undefined)
      throw new TypeError(
        `${taskName} must return a generator (numReturns is "streaming"), it returned ${Array.isArray(result) ? "an array" : result === null ? "null" : typeof result}`,
      );
    this.isAsync = typeof (result as { [Symbol.asyncIterator]?: unknown })[Symbol.asyncIterator] === "function";
    this.steps = steps;
    this.wanted = new Set(from.wanted);
    this.consumedCount = from.consumed;
  }

  consumed(count: number): void {
    this.consumedCount = Math.max(this.consumedCount, count);
    this.wakeUp();
  }

  /** The generator yields no more; `run` ends when it has returned. */
  stop(): void {
    if (this.stopped) return;
    this.stopped = true;
    // An async generator takes it up when the step under way is over; one that is not must not be running when it is asked to.
    if (this.isAsync) this.closing = this.close();
    this.wakeUp();
  }

  /** Resolves when the generator has returned. @throws what it throws. */
  async run(): Promise<void> {
    const { delivered, until } = this.from;
    let sliceEnd = this.host.now() + sliceMs;
    for (;;) {
      const step = this.steps.next();
      const { done, value }: Step = isPromiseLike(step) ? await step : step;
      if (this.stopped) {
        await (this.closing ?? this.close()); // Y3
        return;
      }
      if (done === true) return;
      const index = ++this.count;
      const isNew = index > delivered || this.wanted.has(index);
      if (isNew) await this.handOn(index, value);
      if (until > 0 && index >= until && !this.stopped) {
        await this.close();
        return;
      }
      if (index === delivered && !isNew && this.isFull(index)) this.host.resting();
      while (index >= delivered && this.isFull(index)) await new Promise<void>((resolve) => (this.wake = resolve)); // Y2
      if (this.host.now() >= sliceEnd) {
        await this.host.turn(); // Y4
        sliceEnd = this.host.now() + sliceMs;
      }
      if (!this.stopped) continue;
      await (this.closing ?? this.close());
      return;
    }
  }

  private isFull(index: number): boolean {
    return !this.stopped && this.limit > 0 && index - this.consumedCount >= this.limit;
  }

  private async handOn(index: number, value: unknown): Promise<void> {
    try {
      const handed = this.host.yielded(index, isPromiseLike(value) ? await value : value);
      if (handed !== undefined) await handed;
    } catch (error) {
      await this.close();
      throw error;
    }
  }

  private async close(): Promise<void> {
    try {
      await this.steps.return?.();
    } catch {
      // What a generator throws on its way out, nobody would see: its consumer has left, or gets the error that it is closed for.
    }
  }

  private wakeUp(): void {
    const { wake } = this;
    this.wake = undefined;
    wake?.();
  }
}

/** Generators, other iterators, and what has an async iterator. Arrays and the like are values, not streams. */
function stepsOf(result: unknown): Steps | undefined {
  if (typeof result !== "object" || result === null) return undefined;
  const it = result as { [Symbol.asyncIterator]?: () => Steps; [Symbol.iterator]?: () => Steps; next?: unknown };
  if (typeof it[Symbol.asyncIterator] === "function") return it[Symbol.asyncIterator]?.();
  return typeof it[Symbol.iterator] === "function" && typeof it.next === "function" ? it[Symbol.iterator]?.() : undefined;
}

function isPromiseLike<T>(value: T | PromiseLike<T>): value is PromiseLike<T> {
  return typeof value === "object" && value !== null && typeof (value as { then?: unknown }).then === "function";
}
