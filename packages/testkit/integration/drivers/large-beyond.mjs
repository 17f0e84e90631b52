// Typed arrays of more than 2 GiB: put, read here, read by a task of another node, pushed out to disk by the next one, and read again. Argument: MiB.
//   says: here, there, spilled, again
import assert from "node:assert/strict";
import * as tray from "tray";
import { say } from "./checks.mjs";

const bytes = Number(process.argv[2]) * 2 ** 20;
assert.ok(bytes > 2 ** 31);
await tray.init();
const sumOf = (array) => {
  let sum = 0;
  for (let i = 0; i < array.length; i++) sum += array[i];
  return sum;
};
const fill = (array, seed) => {
  for (let i = 0; i < array.length; i++) array[i] = (i + seed) % 251;
  return array;
};

// In functions of their own, so that nothing holds the arrays afterwards.
const store = async (type, seed) => {
  const array = fill(new type(bytes / type.BYTES_PER_ELEMENT), seed);
  return { ref: await tray.put(array), sum: sumOf(array), length: array.length };
};
const check = async ({ ref, sum, length }, type) => {
  const array = await tray.get(ref);
  assert.ok(array instanceof type);
  assert.equal(array.length, length);
  assert.equal(sumOf(array), sum);
};

const first = await store(Float64Array, 0);
await check(first, Float64Array);
say("here", true);

const there = tray.remote(
  (array) => {
    let sum = 0;
    for (let i = 0; i < array.length; i++) sum += array[i];
    return { sum, length: array.length, type: array.constructor.name };
  },
  { resources: { far: 1 } },
);
assert.deepEqual(await tray.get(there.remote(first.ref)), { sum: first.sum, length: first.length, type: "Float64Array" });
say("there", true);

globalThis.gc();
const second = await store(Uint8Array, 7);
await check(second, Uint8Array);
say("spilled", true);
globalThis.gc();
await check(first, Float64Array);
say("again", true);
await tray.shutdown();
