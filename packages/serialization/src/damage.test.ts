// Bytes that nobody has vouched for: whatever they are, the answer is a value or a SERIALIZATION error, soon, and without memory to speak of.
import fc from "fast-check";
import { isTrayError } from "@tray/common";
import { Codec } from "./codec.js";
import { createModuleHost } from "./module-host.js";
import { flatten, prefixBytes } from "./wire/flat.js";
import * as tag from "./wire/tag.js";

const codec = new Codec({ modules: createModuleHost({ workingDir: __dirname }) });

function outcomeOf(bytes: Uint8Array, work: (bytes: Uint8Array) => unknown = (b) => codec.deserialize(b)): unknown {
  try {
    return work(bytes);
  } catch (error) {
    if (isTrayError(error, "SERIALIZATION")) return error;
    throw error;
  }
}

/** A flat value without tables that claims to be intact. */
function flatOf(body: ArrayLike<number>, flags = 0): Uint8Array {
  const flat = new Uint8Array(prefixBytes + body.length);
  flat.set([tag.formatVersion, flags]);
  new DataView(flat.buffer).setUint32(4, flat.length, true);
  flat.set(body, prefixBytes);
  return flat;
}

const tags = Object.entries(tag)
  .filter(([name]) => name.startsWith("tag"))
  .map(([name, value]) => [name, value as number] as const);

/** Little bytes that mean something, more often than chance would have it. */
const byte = fc.oneof(fc.constantFrom(...tags.map(([, value]) => value)), fc.nat(4), fc.nat(255));
const varint = (value: number): number[] => {
  const bytes: number[] = [];
  for (let rest = value; ; rest = Math.floor(rest / 128)) {
    if (rest < 128) return [...bytes, rest];
    bytes.push((rest % 128) | 128);
  }
};

it("random bytes, random bodies, random tables", () => {
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 300 }), (bytes) => void outcomeOf(bytes)),
    { numRuns: 1000 },
  );
  fc.assert(
    fc.property(fc.array(byte, { maxLength: 120 }), fc.constantFrom(0, 1), (body, flags) => void outcomeOf(flatOf(body, flags))),
    { numRuns: 10_000 },
  );
  fc.assert(
    fc.property(fc.array(byte, { maxLength: 60 }), fc.array(byte, { maxLength: 60 }), (body, tables) => {
      const start = prefixBytes + body.length;
      const at = new Uint8Array(4);
      new DataView(at.buffer).setUint32(0, start, true);
      outcomeOf(flatOf([...body, ...tables, ...at], 1));
    }),
    { numRuns: 10_000 },
  );
});

it("functions and their parts: damage is an error before anything of it runs", async () => {
  const secret = { runs: 0 };
  const { blob } = codec.serializeFunction((n: number) => n + secret.runs);
  const whole = outcomeOf(blob, (bytes) => codec.deserializeFunction(bytes));
  expect(typeof whole).toBe("function");
  fc.assert(
    fc.property(fc.nat(blob.length - 1), fc.integer({ min: 1, max: 255 }), fc.nat(blob.length - 1), (at, change, cut) => {
      const damaged = Uint8Array.from(blob);
      damaged[at] = (damaged[at] as number) ^ change;
      outcomeOf(damaged, (bytes) => codec.deserializeFunction(bytes));
      const short = outcomeOf(blob.subarray(0, cut), (bytes) => codec.deserializeFunction(bytes));
      expect(isTrayError(short, "SERIALIZATION")).toBe(true);
    }),
    { numRuns: 2000 },
  );
  await fc.assert(
    fc.asyncProperty(fc.array(byte, { maxLength: 80 }), fc.constantFrom(0, 1, 2, 3, 4, 7), async (body, flags) => {
      await codec.prepare(flatOf(body, flags)).catch((error: unknown) => {
        if (!isTrayError(error, "SERIALIZATION")) throw error;
      });
    }),
    { numRuns: 1000 },
  );
});

describe("sizes that the bytes cannot hold", () => {
  const huge = [2 ** 20, 2 ** 31 - 1, 2 ** 32 - 2, 2 ** 32 - 1, 2 ** 40, Number.MAX_SAFE_INTEGER];
  it.each(tags)("%s", (_name, head) => {
    const before = process.memoryUsage();
    const startedMs = performance.now();
    for (const size of huge) {
      for (const rest of [[], [tag.tagUndefined], [...varint(size)], [...varint(size), 0, 0], [1, ...varint(size), 0, 0]]) {
        for (const flags of [0, 1]) outcomeOf(flatOf([head, ...varint(size), ...rest], flags));
      }
    }
    const after = process.memoryUsage();
    expect(after.arrayBuffers - before.arrayBuffers).toBeLessThan(64 << 20);
    expect(after.heapUsed - before.heapUsed).toBeLessThan(64 << 20);
    expect(performance.now() - startedMs).toBeLessThan(2_000);
  });

  it("a buffer longer than the value, a view longer than its buffer", () => {
    const flat = flatten(codec.serialize({ a: new Float64Array(100), b: new Uint8Array(10), c: new ArrayBuffer(5) }));
    expect(Object.keys(outcomeOf(flat) as object)).toEqual(["a", "b", "c"]);
    for (let at = 0; at < flat.length; at++) {
      for (const value of [0, 127, 128, 255]) {
        const damaged = Uint8Array.from(flat);
        damaged[at] = value;
        outcomeOf(damaged);
      }
    }
    for (let length = 0; length < flat.length; length++) expect(isTrayError(outcomeOf(flat.subarray(0, length)), "SERIALIZATION")).toBe(true);
  });
});

it("nested deeper than the stack: an error, in either direction", () => {
  const depth = 200_000;
  // Arrays of two elements, the first an array: [[[[… is all that there is.
  const nested = new Uint8Array(depth * 2).fill(2);
  for (let i = 0; i < depth; i++) nested[i * 2] = tag.tagArray;
  expect(isTrayError(outcomeOf(flatOf(nested)), "SERIALIZATION")).toBe(true);
  let value: unknown = null;
  for (let i = 0; i < depth; i++) value = { value, i };
  expect(() => codec.serialize(value)).toThrow(/nested too deep/);
  expect(outcomeOf(flatten(codec.serialize([1])))).toEqual([1]); // the codec is as before
});
