// A working set of ten times the object store goes through it. argv: store's size in MiB.
import assert from "node:assert/strict";
import * as tray from "tray";
import { say } from "./checks.mjs";

const MiB = 2 ** 20;
const storeBytes = Number(process.argv[2]) * MiB;
await tray.init();

const partBytes = 10 * MiB;
const count = Math.ceil((10 * storeBytes) / partBytes);
/** Each page of each object differs. */
const part = (i) => {
  const bytes = new Uint8Array(partBytes);
  const words = new Uint32Array(bytes.buffer);
  for (let at = 0; at < words.length; at += 512) words[at] = i * 1_000_003 + at;
  return bytes;
};
const checkPart = (bytes, i) => {
  assert.equal(bytes.byteLength, partBytes);
  const words = new Uint32Array(bytes.buffer, bytes.byteOffset, bytes.byteLength / 4);
  for (let at = 0; at < words.length; at += 512) assert.equal(words[at], (i * 1_000_003 + at) >>> 0);
};

let started = performance.now();
const refs = [];
for (let i = 0; i < count; i++) refs.push(await tray.put(part(i)));
say("putMs", performance.now() - started);
say("stored", count * partBytes);

started = performance.now();
for (let i = 0; i < count; i++) checkPart(await tray.get(refs[i]), i);
say("getMs", performance.now() - started);

// In an order that the store has not seen, several at a time.
const order = refs.map((_, i) => (i * 37) % count);
for (let at = 0; at < count; at += 3) {
  const some = order.slice(at, at + 3);
  const values = await tray.get(some.map((i) => refs[i]));
  values.forEach((value, k) => checkPart(value, some[k]));
}
say("shuffled", true);

for (const ref of refs) ref.release();
say("released", true);

// Returns that exceed the arena, consumed by tasks whose arguments come back from disk.
const make = tray.remote(function make(i, size) {
  const words = new Uint32Array(size / 4);
  for (let at = 0; at < words.length; at += 512) words[at] = i * 1_000_003 + at;
  return new Uint8Array(words.buffer);
});
const sum = tray.remote(function sum(bytes, i) {
  const words = new Uint32Array(bytes.buffer, bytes.byteOffset, bytes.byteLength / 4);
  let bad = 0;
  for (let at = 0; at < words.length; at += 512) if (words[at] !== (i * 1_000_003 + at) >>> 0) bad++;
  return bad;
});
const made = Array.from({ length: 20 }, (_, i) => make.remote(i, partBytes));
await tray.wait(made, { numReturns: made.length, fetchLocal: false });
assert.deepEqual(
  await tray.get(made.map((ref, i) => sum.remote(ref, i))),
  made.map(() => 0),
);
say("tasks", true);
for (const ref of made) ref.release();
await tray.shutdown();
