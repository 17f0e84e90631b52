// A shuffle of typed arrays that is several times as large as the store. Arguments: mappers, reducers, MiB of a block.
//   says: mapped {bytes, ms}, reduced {blocks, wrong, ms}, released
import * as tray from "tray";
import { say } from "./checks.mjs";

const [mappers, reducers, blockMiB] = process.argv.slice(2).map(Number);
const words = (blockMiB * 2 ** 20) / 4;

await tray.init();
const map = tray.remote(
  (m, count, length) => {
    // xorshift32: every word of every block differs, and a word out of its place changes the checksum (FNV-1a over words).
    const blocks = [];
    const sums = [];
    for (let r = 0; r < count; r++) {
      const block = new Uint32Array(length);
      let x = (m * 65_537 + r * 257 + 1) >>> 0;
      let sum = 0x811c9dc5;
      for (let i = 0; i < length; i++) {
        x ^= x << 13;
        x ^= x >>> 17;
        x ^= x << 5;
        block[i] = x;
        sum = Math.imul(sum ^ x, 0x01000193);
      }
      blocks.push(block);
      sums.push(sum >>> 0);
    }
    return [...blocks, sums];
  },
  { numReturns: reducers + 1 },
);
const reduce = tray.remote((...blocks) =>
  blocks.map((block) => {
    let sum = 0x811c9dc5;
    for (let i = 0; i < block.length; i++) sum = Math.imul(sum ^ block[i], 0x01000193);
    return sum >>> 0;
  }),
);

let startedMs = performance.now();
const mapped = Array.from({ length: mappers }, (_, m) => map.remote(m, reducers, words));
const expected = await tray.get(mapped.map((returns) => returns[reducers]));
say("mapped", { bytes: mappers * reducers * words * 4, ms: Math.round(performance.now() - startedMs) });

startedMs = performance.now();
const reduced = await tray.get(Array.from({ length: reducers }, (_, r) => reduce.remote(...mapped.map((returns) => returns[r]))));
let wrong = 0;
reduced.forEach((sums, r) => {
  if (sums.length !== mappers) throw new Error(`reducer ${r} had ${sums.length} blocks`);
  sums.forEach((sum, m) => {
    if (sum !== expected[m][r]) wrong++;
  });
});
say("reduced", { blocks: reduced.length * mappers, wrong, ms: Math.round(performance.now() - startedMs) });
await tray.shutdown();
