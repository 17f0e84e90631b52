// Collecting garbage when others wait for what it holds. V8 does so when this process needs memory, and knows nothing of the node's shared memory.
import type { Clock } from "@tray/common";
import { setFlagsFromString } from "node:v8";
import { runInNewContext } from "node:vm";

/** A full collection may take a tenth of a second of the user's thread; who asks more often than this, asks in vain. */
const pauseMs = 20;

let collect: (() => void) | undefined;
let againMs = Number.NEGATIVE_INFINITY;

/** Two full collections, at most once in a while. `then` runs when the finalizers of what they found have run. */
export function collectGarbage(clock: Clock, then: () => void): void {
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

function exposed(): () => void {
  setFlagsFromString("--expose-gc");
  const gc = runInNewContext("gc") as () => void;
  setFlagsFromString("--no-expose-gc");
  return gc;
}
