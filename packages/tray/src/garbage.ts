// Collecting garbage when others wait for what it holds. V8 does so when this process needs memory, and knows nothing of the node's shared memory.
import type { Clock } from "@tray/common";
import { setFlagsFromString } from "node:v8";
import { runInNewContext } from "node:vm";

/** A full collection may take a tenth of a second of the user's thread. */
const pauseMs = 1_000;

let collect: (() => void) | undefined;
let lastMs = Number.NEGATIVE_INFINITY;

/** A full collection, at most once a second. `then` runs when the finalizers of what it found have run. */
export function collectGarbage(clock: Clock, then: () => void): void {
  const nowMs = clock.now();
  if (nowMs - lastMs >= pauseMs) {
    lastMs = nowMs;
    if (collect === undefined) {
      setFlagsFromString("--expose-gc");
      collect = runInNewContext("gc") as () => void;
      setFlagsFromString("--no-expose-gc");
    }
    collect();
  }
  // Finalizers run as a task of their own after the collection.
  clock.endOfTurn(() => clock.endOfTurn(then));
}
