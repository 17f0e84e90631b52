// Pi by throwing darts: many small tasks, and a number that gets better while they come in.
//
//   npx tray run examples/pi.ts [darts, in millions: 200]
import * as tray from "tray";
import { showProgress } from "./lib/progress.js";

const millions = Number(process.argv[2] ?? 200);
const dartsPerTask = 1_000_000;

/** How many of so many darts thrown at the unit square land in the quarter circle. */
const throwDarts = tray.remote(function throwDarts(darts: number): number {
  let inside = 0;
  for (let i = 0; i < darts; i++) {
    const x = Math.random();
    const y = Math.random();
    if (x * x + y * y <= 1) inside++;
  }
  return inside;
});

await tray.init();
const started = performance.now();
const refs = Array.from({ length: millions }, () => throwDarts.remote(dartsPerTask));

let done = 0;
let inside = 0;
for await (const ref of tray.asCompleted(refs)) {
  inside += await tray.get(ref);
  ref.release(); // the cluster may forget this result now
  done++;
  showProgress(done, refs.length, `π ≈ ${((4 * inside) / (done * dartsPerTask)).toFixed(6)}`);
}

const pi = (4 * inside) / (done * dartsPerTask);
const seconds = (performance.now() - started) / 1000;
const { CPU: cpus } = await tray.clusterResources();
console.log(`π ≈ ${pi.toFixed(6)} (off by ${Math.abs(pi - Math.PI).toExponential(1)}), ${done} tasks on ${cpus} CPUs in ${seconds.toFixed(1)} s`);
