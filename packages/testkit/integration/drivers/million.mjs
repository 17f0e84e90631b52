// A million tasks that do nothing, by one driver: first all in flight at once, then a window of them.  Arguments: how many, how many in flight.
//   says: memory {done, residentMiB, heapMiB} as it goes, then rate {tasksPerSecond, peakMiB}
import * as tray from "tray";
import { say } from "./checks.mjs";

const [total = 1_000_000, window = total] = process.argv.slice(2).map(Number);
await tray.init();
const noop = tray.remote(() => undefined);
await tray.get(Array.from({ length: 1000 }, () => noop.remote()));

const mib = (bytes) => Math.round(bytes / 2 ** 20);
let peakMiB = 0;
function remember(phase, done) {
  const { rss, heapUsed } = process.memoryUsage();
  peakMiB = Math.max(peakMiB, mib(rss));
  say("memory", { phase, done, residentMiB: mib(rss), heapMiB: mib(heapUsed) });
}

remember("begin", 0);
const startedMs = performance.now();
let submittedMs = 0;
if (window >= total) {
  const refs = [];
  const step = Math.ceil(total / 10);
  for (let i = 0; i < total; i++) {
    refs.push(noop.remote());
    if ((i + 1) % step === 0) remember("submit", i + 1);
  }
  submittedMs = performance.now() - startedMs;
  const chunk = step;
  for (let i = 0; i < total; i += chunk) {
    await tray.get(refs.slice(i, i + chunk));
    remember("get", Math.min(i + chunk, total));
  }
} else {
  for (let done = 0; done < total; done += window) {
    await tray.get(Array.from({ length: Math.min(window, total - done) }, () => noop.remote()));
    if (done % (10 * window) === 0) remember("window", done + window);
  }
}
const elapsedMs = performance.now() - startedMs;
globalThis.gc?.();
remember("end", total);
say("rate", {
  tasksPerSecond: Math.round((total / elapsedMs) * 1000),
  submittedPerSecond: submittedMs === 0 ? null : Math.round((total / submittedMs) * 1000),
  peakMiB,
});
