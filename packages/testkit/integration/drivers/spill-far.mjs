// Objects on this node's disk are read by tasks of another node, and that node's by us.
//   says: read
import assert from "node:assert/strict";
import * as tray from "tray";
import { say } from "./checks.mjs";

await tray.init();
const count = 30;
const make = (i) => {
  const words = new Uint32Array((10 << 20) / 4);
  for (let at = 0; at < words.length; at += 512) words[at] = i * 1_000_003 + at;
  return new Uint8Array(words.buffer);
};
const bad = (bytes, i) => {
  const words = new Uint32Array(bytes.buffer, bytes.byteOffset, bytes.byteLength / 4);
  let wrong = 0;
  for (let at = 0; at < words.length; at += 512) if (words[at] !== (i * 1_000_003 + at) >>> 0) wrong++;
  return wrong;
};
const refs = [];
for (let i = 0; i < count; i++) refs.push(await tray.put(make(i)));
const there = { resources: { far: 1 } };
const check = tray.remote(function check(bytes, i) {
  return bad(bytes, i);
}, there);
for (let i = 0; i < count; i++) assert.equal(await tray.get(check.remote(refs[i], i)), 0);
const made = [];
const produce = tray.remote(function produce(i) {
  return make(i);
}, there);
for (let i = 0; i < count; i++) made.push(produce.remote(i));
for (let i = 0; i < count; i++) assert.equal(bad(await tray.get(made[i]), i), 0);
say("read", true);
await tray.shutdown();
