// A store of 32 MiB under several times as much: what is asked for while other things are made, let go, and sent to another node.
import assert from "node:assert/strict";
import * as tray from "tray";
import { check, runChecks } from "./checks.mjs";

const MiB = 2 ** 20;
await tray.init();

let seed = 7;
const random = (n) => Math.floor(((seed = (Math.imul(seed, 1_103_515_245) + 12_345) >>> 0) / 2 ** 32) * n);
/** Each page of each array is its own. */
const part = (i, mib) => {
  const words = new Uint32Array((mib * MiB) / 4);
  for (let at = 0; at < words.length; at += 512) words[at] = i * 1_000_003 + at;
  return words;
};
const wrong = (words, i) => {
  let count = 0;
  for (let at = 0; at < words.length; at += 512) if (words[at] !== (i * 1_000_003 + at) >>> 0) count++;
  return count;
};
const make = tray.remote(part);
const count = tray.remote(wrong);
const there = { resources: { far: 1 } };
const letGo = (refs) => {
  for (const ref of refs) ref.release();
};

check("results are read back while tasks make more of them", async () => {
  const refs = Array.from({ length: 24 }, (_, i) => make.remote(i, 5));
  for (const [i, ref] of refs.entries()) assert.equal(wrong(await tray.get(ref), i), 0);
  letGo(refs);
});

check("a get that waits for a task is answered though everything else went to disk meanwhile", async () => {
  const slow = tray.remote(async ({ kept }) => {
    const others = [];
    for (let k = 0; k < 20; k++) others.push(await tray.put(new Uint8Array(5 * 2 ** 20)));
    return (await tray.get(kept)).map((word) => word + 5);
  });
  const kept = await tray.put(part(1, 4));
  const words = await tray.get(slow.remote({ kept }));
  assert.equal(words[512], 1_000_003 + 512 + 5);
  kept.release();
});

check("a buffer that is filled and sampled at random does not stop", async () => {
  const buffer = [];
  for (let i = 0; i < 50; i++) {
    buffer.push(await tray.put(part(i, 4)));
    if (random(2) === 0) continue;
    for (let k = 0; k < 5; k++) {
      const at = random(buffer.length);
      assert.equal(wrong(await tray.get(buffer[at]), at), 0);
    }
  }
  letGo(buffer);
});

check("objects are let go at random while others are made, here and by tasks", async () => {
  const live = new Map();
  const drop = async () => {
    const [i, ref] = [...live][random(live.size)];
    live.delete(i);
    if (random(2) === 0) assert.equal(wrong(await tray.get(ref), i), 0);
    ref.release();
  };
  for (let i = 0; i < 80; i++) {
    live.set(i, i % 3 === 0 ? make.remote(i, 3) : await tray.put(part(i, 3)));
    if (random(3) > 0) await drop();
  }
  for (const [i, ref] of live) assert.equal(wrong(await tray.get(ref), i), 0);
  letGo(live.values());
});

check("thousands of small objects go to disk together", async () => {
  const size = 150_000;
  const refs = [];
  for (let i = 0; i < 800; i += 100)
    refs.push(...(await Promise.all(Array.from({ length: 100 }, (_, k) => tray.put(new Uint8Array(size).fill(i + k))))));
  for (let k = 0; k < 300; k++) {
    const i = random(refs.length);
    const bytes = await tray.get(refs[i]);
    assert.deepEqual([bytes.length, bytes[0], bytes[size - 1]], [size, i % 256, i % 256]);
  }
  letGo(refs);
});

check("copies that come from another node send what is here to disk", async () => {
  const here = [];
  for (let i = 0; i < 8; i++) here.push(await tray.put(part(i, 3.5)));
  const far = Array.from({ length: 12 }, (_, i) => make.options(there).remote(100 + i, 3.5));
  for (const [i, ref] of far.entries()) assert.equal(wrong(await tray.get(ref), 100 + i), 0);
  assert.deepEqual(
    await tray.get(far.map((ref, i) => count.remote(ref, 100 + i))),
    far.map(() => 0),
  );
  for (const [i, ref] of here.entries()) assert.equal(wrong(await tray.get(ref), i), 0);
  assert.deepEqual(
    await tray.get(here.map((ref, i) => count.options(there).remote(ref, i))),
    here.map(() => 0),
  );
  letGo([...here, ...far]);
});

check("two tasks that each need most of the store have it in turn, however their arguments lie", async () => {
  const size = tray.remote((...arrays) => arrays.reduce((sum, array) => sum + array.length, 0));
  const puts = async (n) => {
    const refs = [];
    for (let i = 0; i < n; i++) refs.push(await tray.put(new Uint8Array(4 << 20).fill(i)));
    return refs;
  };
  for (let round = 0; round < 4; round++) {
    const [first, second, others, last] = [await puts(6), await puts(3), await puts(5), await puts(3)]; // of the second task's, half is on disk
    assert.deepEqual(await tray.get([size.remote(...first), size.remote(...last, ...second)]), [24 << 20, 24 << 20]);
    letGo([...first, ...second, ...others, ...last]);
  }
});

check("getSync in a loop reads more than the store holds, though the event loop never gets its turn", async () => {
  const refs = [];
  for (let i = 0; i < 20; i++) refs.push(await tray.put(part(i, 5)));
  const held = tray.getSync(refs[3]);
  for (let round = 0; round < 2; round++) for (const [i, ref] of refs.entries()) assert.equal(wrong(tray.getSync(ref), i), 0);
  assert.equal(wrong(held, 3), 0);
  letGo(refs);
});

await runChecks();
await tray.shutdown();
