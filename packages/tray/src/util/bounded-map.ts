// boundedMap: an input of any length through a window of work in flight. It knows nothing of tasks: `start` says how one item is begun.
//
// Owns:     the input's iterator, the window.
// Not mine: what runs (map.ts: tasks, actor-pool.ts: actors).
//
// Invariants
//   B1. started − given to the consumer ≤ limit: a slow consumer, or a slow first item of an ordered run, stops the input.
//   B2. once the consumer stopped, an item failed or the signal fired, nothing is started any more, and what runs is abandoned.
//   B3. what the input threw is told after the results of the items before it.
import { type Deferred, deferred, Deque } from "@tray/common";

/** One item under way. */
export interface Started<R> {
  readonly result: Promise<R>;
  /** Nobody will take the result. */
  abandon(): void;
}

export interface BoundedMapOptions {
  /** Items started and not yet given to the consumer; at least 1. */
  readonly limit: number;
  /** Results in the order of the items, or as they come. */
  readonly ordered: boolean;
  readonly signal: AbortSignal | undefined;
}

type Outcome<R> = { readonly ok: true; readonly value: R } | { readonly ok: false; readonly error: unknown };

/** Ends when the input has ended and every result was given; throws what an item failed with, or the signal's reason. */
export async function* boundedMap<T, R>(
  items: Iterable<T> | AsyncIterable<T>,
  start: (item: T, index: number) => Started<R>,
  { limit, ordered, signal }: BoundedMapOptions,
): AsyncGenerator<R, void, undefined> {
  signal?.throwIfAborted();
  const source = Symbol.asyncIterator in items ? items[Symbol.asyncIterator]() : items[Symbol.iterator]();
  const running = new Map<number, Started<R>>();
  const settled = new Map<number, Outcome<R>>();
  const arrived = new Deque<number>();
  let nextIn = 0;
  let nextOut = 0;
  let ended = false;
  let stopped = false;
  let filling = false;
  let inputFailure: { readonly error: unknown } | undefined;
  let change: Deferred<void> | undefined;

  const changed = (): void => {
    change?.resolve();
    change = undefined;
  };
  const begin = (item: T): void => {
    const index = nextIn++;
    const settle = (outcome: Outcome<R>): void => {
      running.delete(index);
      settled.set(index, outcome);
      arrived.push(index);
      changed();
    };
    try {
      const started = start(item, index);
      running.set(index, started);
      started.result.then(
        (value) => settle({ ok: true, value }),
        (error: unknown) => settle({ ok: false, error }),
      );
    } catch (error) {
      settle({ ok: false, error }); // an item that cannot be begun has failed at its place
    }
  };
  const fill = async (): Promise<void> => {
    if (filling) return;
    filling = true;
    try {
      while (!ended && !stopped && nextIn - nextOut < limit) {
        const step = await source.next(); // B1 and B2 are looked at again: this may have taken long
        if (step.done === true) ended = true;
        else if (!stopped) begin(step.value);
      }
    } catch (error) {
      ended = true;
      inputFailure = { error };
    } finally {
      filling = false;
      changed();
    }
  };
  const stop = (): void => {
    if (stopped) return;
    stopped = true;
    for (const started of running.values()) started.abandon();
    changed();
  };

  signal?.addEventListener("abort", stop, { once: true });
  try {
    for (;;) {
      signal?.throwIfAborted();
      void fill();
      const index = ordered ? nextOut : arrived.peek();
      const outcome = index === undefined ? undefined : settled.get(index);
      if (index !== undefined && outcome !== undefined) {
        arrived.shift(); // of an ordered run only the count is of use
        settled.delete(index);
        nextOut++;
        if (!outcome.ok) throw outcome.error;
        void fill();
        yield outcome.value;
      } else if (ended && !filling && nextIn === nextOut) {
        if (inputFailure !== undefined) throw inputFailure.error;
        return;
      } else {
        change ??= deferred();
        await change.promise;
      }
    }
  } finally {
    signal?.removeEventListener("abort", stop);
    stop();
    // An asynchronous input that is being asked answers `return` only after that; nobody should have to wait for an item that he does not want.
    const closing = ended ? undefined : source.return?.();
    if (closing instanceof Promise) {
      if (filling) closing.catch(() => undefined);
      else await closing;
    }
  }
}
