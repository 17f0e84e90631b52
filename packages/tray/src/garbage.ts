// Collecting garbage when others wait for what it holds. V8 does so when this process needs memory, and knows nothing of the node's shared memory.
import type { Clock } from "@tray/common";
import type { Runtime } from "@tray/core-worker";
import { finalizeMappings } from "@tray/object-store";
import { setFlagsFromString } from "node:v8";
import { runInNewContext } from "node:vm";

/** A full collection may take a tenth of a second of the user's thread; who asks more often than this, asks in vain. */
const pauseMs = 20;

/** Whoever waits for room asks at least once a second (raylet/limits.ts, collectPauseMaxMs). */
const wantedForMs = 1_500;

let collect: (() => void) | undefined;
let cleanupSome: ReturnType<typeof exposedCleanup>;
let againMs = Number.NEGATIVE_INFINITY;
let blockedAgainMs = Number.NEGATIVE_INFINITY;
let wantedUntilMs = Number.NEGATIVE_INFINITY;
let isPlanned = false;

/** Somebody waits for what this process holds. */
export function collectGarbage(clock: Clock, then: () => void): void {
  wantedUntilMs = clock.now() + wantedForMs;
  collectNow(clock, then);
}

/**
 * Something large may have become garbage just now. Somebody who still waits for room would ask again, but seldom, having asked in vain before: do not let
 * him wait. Nothing happens when nobody has asked of late.
 */
export function collectIfWanted(clock: Clock, then: () => void): void {
  if (isPlanned || clock.now() >= wantedUntilMs) return;
  isPlanned = true;
  const attempt = (): void => {
    const waitMs = againMs - clock.now();
    if (waitMs > 0) {
      clock.after(Math.min(waitMs, pauseMs), attempt);
      return;
    }
    isPlanned = false;
    collectNow(clock, then);
  };
  clock.after(0, attempt); // what has ended is still on the stack
}

/** Two full collections, at most once in a while. `then` runs when the finalizers of what they found have run. */
function collectNow(clock: Clock, then: () => void): void {
  const startMs = clock.now();
  if (startMs < againMs) {
    clock.endOfTurn(() => clock.endOfTurn(then));
    return;
  }
  againMs = Number.POSITIVE_INFINITY; // until this one is done
  const gc = (collect ??= exposed());
  gc();
  // Finalizers run as tasks of their own. Those of views let go of the places that the views kept, which the second collection finds.
  clock.after(1, () => {
    gc();
    clock.after(1, () => {
      const nowMs = clock.now();
      againMs = nowMs + Math.max(pauseMs, 2 * (nowMs - startMs)); // never more than a third of the time, and that only while somebody waits for room
      then();
    });
  });
}

/**
 * The same for a thread that waits in getSync, whose event loop would run the finalizers only when it is too late. V8 can run them at once if it is told to;
 * where it cannot, what such a thread has read stays in the store until its event loop turns.
 */
export function collectBlocked(clock: Clock, runtime: Runtime): void {
  const startMs = clock.now();
  if (startMs < blockedAgainMs) return; // another collection may be under way, and cannot go on
  const gc = (collect ??= exposed());
  cleanupSome ??= exposedCleanup();
  for (let pass = 0; pass < 2; pass++) {
    gc();
    finalizeMappings((registry) => cleanupSome?.call(registry));
    runtime.finalize((registry) => cleanupSome?.call(registry));
  }
  runtime.holdings.flush();
  const nowMs = clock.now();
  blockedAgainMs = nowMs + Math.max(pauseMs, 2 * (nowMs - startMs));
}

function exposed(): () => void {
  setFlagsFromString("--expose-gc");
  const gc = runInNewContext("gc") as () => void;
  setFlagsFromString("--no-expose-gc");
  return gc;
}

/** FinalizationRegistry.prototype.cleanupSome: a proposal that V8 has behind a flag. Undefined where it is gone. */
function exposedCleanup(): ((this: FinalizationRegistry<never>) => void) | undefined {
  setFlagsFromString("--harmony-weak-refs-with-cleanup-some");
  return runInNewContext("FinalizationRegistry.prototype.cleanupSome") as ReturnType<typeof exposedCleanup>;
}
