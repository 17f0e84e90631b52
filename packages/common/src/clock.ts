// Time comes in through constructors, so that a simulation can own it. Production code uses `systemClock`; nothing else in the
// repository may call Date.now, performance.now, setTimeout or setInterval (scripts/lint.mjs enforces it).

/** A pending timer. `cancel` is idempotent. */
export interface Timer {
  cancel(): void;
}

export interface Clock {
  /** Monotonic milliseconds (fractional). Only differences mean something. */
  now(): number;
  /** Wall-clock milliseconds since the epoch, for records that people read. Never for logic. */
  wallMs(): number;
  /** Runs `fn` once, `delayMs` from now. Timers do not keep a process alive by themselves. */
  after(delayMs: number, fn: () => void): Timer;
  /** Runs `fn` every `periodMs`, first after one period. */
  every(periodMs: number, fn: () => void): Timer;
  /** Runs `fn` when the present turn of the event loop has handled its input: where batches leave. */
  endOfTurn(fn: () => void): void;
  /** Runs `fn` after the callback that runs now, before the event loop goes on: where what one batch of input caused is put together. */
  soon(fn: () => void): void;
}

/** Resolves after `delayMs`; rejects with the signal's reason when it aborts first. */
export function sleep(clock: Clock, delayMs: number, signal?: AbortSignal): Promise<void> {
  return new Promise((resolve, reject) => {
    if (signal?.aborted) {
      reject(signal.reason as Error);
      return;
    }
    const onAbort = (): void => {
      timer.cancel();
      reject(signal?.reason as Error);
    };
    const timer = clock.after(delayMs, () => {
      signal?.removeEventListener("abort", onAbort);
      resolve();
    });
    signal?.addEventListener("abort", onAbort, { once: true });
  });
}

class NodeTimer implements Timer {
  constructor(private handle: NodeJS.Timeout | undefined) {
    handle?.unref();
  }
  cancel(): void {
    clearTimeout(this.handle);
    this.handle = undefined;
  }
}

/** The machine's clock. */
export const systemClock: Clock = {
  now: () => performance.now(),
  wallMs: () => Date.now(),
  after: (delayMs, fn) => new NodeTimer(setTimeout(fn, delayMs)),
  every: (periodMs, fn) => new NodeTimer(setInterval(fn, periodMs)),
  endOfTurn: (fn) => void setImmediate(fn),
  soon: (fn) => process.nextTick(fn),
};
