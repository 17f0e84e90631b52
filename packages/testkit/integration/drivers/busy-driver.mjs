// Submits many tasks of a millisecond, then computes without ever yielding: the tasks are done meanwhile.
//   says: done {done, total, lookedMs}
import * as tray from "tray";
import { say } from "./checks.mjs";

await tray.init();
const spin = tray.remote((ms) => {
  const startedMs = performance.now();
  while (performance.now() - startedMs < ms);
  return ms;
});
const compute = spin.function;
await tray.get([spin.remote(1), spin.remote(1)]);

const total = 500;
const refs = Array.from({ length: total }, () => spin.remote(1));
compute(6_000);
const startedMs = performance.now();
const [done] = await tray.wait(refs, { numReturns: total, timeout: 0 });
say("done", { done: done.length, total, lookedMs: Math.round(performance.now() - startedMs) });
await tray.get(refs);
