// Run with --expose-gc: private mappings come and go with their buffers, and nothing leaks. Prints one JSON line.
import { readdirSync, readFileSync } from "node:fs";
import { setImmediate as turn } from "node:timers/promises";
import { liveMappings, SharedArena } from "../src/index.js";

const path = process.argv[2] as string;
const collect = (globalThis as unknown as { gc(): void }).gc;
const kernelMappings = (): number =>
  readFileSync("/proc/self/maps", "utf8")
    .split("\n")
    .filter((line) => line.includes(path)).length;
const descriptors = (): number => readdirSync("/proc/self/fd").length;
async function collectUntil(done: () => boolean): Promise<void> {
  for (let i = 0; i < 50 && !done(); i++) {
    collect();
    await turn();
  }
}

async function main(): Promise<void> {
  const arena = SharedArena.create(path, 64 * 2 ** 20);
  const before = { kernel: kernelMappings(), live: liveMappings().mappings };
  arena.write(0, 2 ** 20).fill(7);
  const fdsBefore = descriptors();
  let unmapped = 0;
  const typed: Float64Array[] = [];
  for (let i = 0; i < 100; i++) {
    const view = arena.readPrivate(0, 2 ** 20, { onUnmapped: () => unmapped++ });
    // One in ten survives through a typed array only; the handle and the buffer are dropped.
    if (i % 10 === 0) typed.push(new Float64Array(view.buffer, 8, 16));
    view.release();
  }
  await collectUntil(() => unmapped >= 90);
  const whileHeld = { unmapped, kernel: kernelMappings(), live: liveMappings().mappings, first: typed.map((t) => new Uint8Array(t.buffer)[5]) };
  const sum = typed.reduce((all, t) => all + t.length, 0);
  typed.length = 0;
  await collectUntil(() => unmapped >= 100);
  const afterDrop = { unmapped, kernel: kernelMappings(), live: liveMappings().mappings };
  const fdsAfter = descriptors();
  arena.close();
  arena.unlink();
  await collectUntil(() => liveMappings().mappings === 0);
  console.log(
    JSON.stringify({
      before,
      whileHeld,
      sum,
      afterDrop,
      fdLeak: fdsAfter - fdsBefore,
      afterClose: { kernel: kernelMappings(), live: liveMappings().mappings },
    }),
  );
}

void main();
