// What the arena costs: writing cold, prepared and warm blocks against memcpy between heap buffers; private reads by size.
// Prints one line a case. Needs some 2 GiB in /dev/shm.
import { setImmediate as turn } from "node:timers/promises";
import { liveMappings, SharedArena } from "../src/index.js";

const mib = 2 ** 20;
const block = 256 * mib;

function rate(what: string, bytes: number, startMs: number): void {
  console.log(`${what}: ${(bytes / 2 ** 30 / ((performance.now() - startMs) / 1000)).toFixed(2)} GiB/s`);
}

async function main(): Promise<void> {
  const path = `/dev/shm/tray-bench-${process.pid}`;
  let start = performance.now();
  const arena = SharedArena.create(path, 6 * block);
  console.log(`create: ${(performance.now() - start).toFixed(2)} ms`);
  const other = SharedArena.open(path, 6 * block);
  arena.unlink();
  start = performance.now();
  arena.write(0, 1);
  console.log(`first use (koffi and the window): ${(performance.now() - start).toFixed(2)} ms`);
  const source = Buffer.alloc(block, 1);
  const heap = Buffer.alloc(block, 2);
  start = performance.now();
  heap.set(source);
  rate("heap memcpy", block, start);
  start = performance.now();
  arena.write(0, block).set(source);
  rate("put, cold block", block, start);
  start = performance.now();
  arena.write(0, block).set(source);
  rate("put, warm block", block, start);
  start = performance.now();
  other.write(0, block).set(source);
  rate("put, block warmed by another process", block, start);
  start = performance.now();
  await arena.prepare(block, block);
  arena.write(block, block).set(source);
  rate("put, cold block, prepare() first", block, start);

  for (const length of [128 * 1024, mib, 16 * mib, 100 * mib, 256 * mib]) {
    const rounds = 5_000;
    let sum = 0;
    start = performance.now();
    for (let i = 0; i < rounds; i++) {
      sum += new Uint8Array(arena.readPrivate(0, length).buffer)[0] as number;
      if (i % 20 === 0) await turn();
    }
    const each = ((performance.now() - start) * 1000) / rounds;
    console.log(`get ${length / 1024} KiB: ${each.toFixed(1)} µs each, collections included (sum ${sum}, ${liveMappings().mappings} mappings live)`);
  }
  start = performance.now();
  const view = new Uint8Array(arena.readPrivate(0, block).buffer);
  console.log(`one mapping of 256 MiB: ${(performance.now() - start).toFixed(2)} ms`);
  start = performance.now();
  heap.set(view);
  rate("first read through a private mapping", block, start);
}

void main();
