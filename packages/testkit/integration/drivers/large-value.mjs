// One typed array of many MiB, made by a task: read here without a copy, written to here, read by others meanwhile. Argument: MiB.
//   says: read {bytes, sum, anonymous, shared}, written {anonymous, mine}, others {task, second, first}, let go {anonymous}
import { readFileSync } from "node:fs";
import * as tray from "tray";
import { delay, say } from "./checks.mjs";

const bytes = Number(process.argv[2]) * 2 ** 20;
const length = bytes / 8;
const sumOf = (array) => {
  let sum = 0;
  for (let i = 0; i < array.length; i++) sum += array[i];
  return sum;
};
/** Bytes of memory of this process: its own pages, and pages that it shares with others. */
const resident = () => {
  const status = readFileSync("/proc/self/status", "utf8");
  const of = (name) => Number(new RegExp(`^${name}:\\s+(\\d+) kB$`, "m").exec(status)[1]) * 1024;
  return { anonymous: of("RssAnon"), shared: of("RssShmem") };
};
const since = (before) => {
  const now = resident();
  return { anonymous: now.anonymous - before.anonymous, shared: now.shared - before.shared };
};

await tray.init();
const make = tray.remote((n) => {
  const array = new Float64Array(n);
  for (let i = 0; i < n; i++) array[i] = i % 1000;
  return array;
});
const total = tray.remote((array) => {
  let sum = 0;
  for (let i = 0; i < array.length; i++) sum += array[i];
  return { sum, first: array[0], second: array[1], length: array.length };
});

const ref = make.remote(length);
await tray.wait([ref], { fetchLocal: false });
globalThis.gc();
const before = resident();
let mine = await tray.get(ref);
if (!(mine instanceof Float64Array) || mine.length !== length) throw new Error(`got ${mine.constructor.name} of ${mine.length}`);
say("read", { bytes, sum: sumOf(mine), ...since(before) });

// The kernel copies the pages that are written to, and no others.
const half = length / 2;
for (let i = 0; i < half; i++) mine[i] = -1;
say("written", { ...since(before), mine: sumOf(mine.subarray(0, half)), rest: mine[length - 1] });

const task = await tray.get(total.remote(ref));
let second = await tray.get(ref);
const original = sumOf(second);
second[1] = -2;
say("others", { task, second: original, mine: [mine[0], mine[1]], theirs: [second[0], second[1]] });

mine = undefined;
second = undefined;
for (let i = 0; i < 500; i++) {
  globalThis.gc();
  await delay(10);
  if (since(before).anonymous < bytes / 8 && since(before).shared < bytes / 8) break;
}
say("dropped", since(before));
await tray.shutdown();
