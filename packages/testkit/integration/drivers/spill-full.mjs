// The object store is full and the disk takes nothing: puts fail with a clear error, nothing is lost, and all goes on when there is room again.
//   says: refused {stored, code, isOutOfDisk, message}, intact, resumed
import assert from "node:assert/strict";
import * as tray from "tray";
import { say } from "./checks.mjs";

await tray.init();
const part = (i) => new Uint8Array(10 << 20).fill(i + 1);
const intact = async (refs) => {
  for (const [i, ref] of refs.entries()) assert.equal(Buffer.compare(await tray.get(ref), part(i)), 0);
};

const refs = [];
let error;
for (let i = 0; i < 20 && error === undefined; i++) {
  await tray.put(part(i)).then(
    (ref) => refs.push(ref),
    (why) => (error = why),
  );
}
say("refused", { stored: refs.length, code: error?.code, isOutOfDisk: error instanceof tray.OutOfDiskError, message: error?.message });
await intact(refs);
say("intact", true);
for (const ref of refs.splice(0, 3)) ref.release();
const more = [];
for (let i = 0; i < 3; i++) more.push(await tray.put(part(i + 100)));
for (const [i, ref] of refs.entries()) assert.equal((await tray.get(ref))[5], i + 4);
for (const [i, ref] of more.entries()) assert.equal((await tray.get(ref))[5], i + 101);
say("resumed", true);
await tray.shutdown();
