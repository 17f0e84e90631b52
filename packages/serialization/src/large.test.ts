// Values of more than 2 GiB: offsets beyond 31 and 32 bits. One real one, where the machine has room for it and its copy.
import { freemem } from "node:os";
import fc from "fast-check";
import { Codec } from "./codec.js";
import { createModuleHost } from "./module-host.js";
import { alignUp, bufferAlignment, flatByteLength, flatten, writeFlat } from "./wire/flat.js";
import { Reader } from "./wire/reader.js";
import { Writer } from "./wire/writer.js";

const codec = new Codec({ modules: createModuleHost({ workingDir: __dirname }) });
const gib = 2 ** 30;

it("lengths and offsets beyond 32 bits are exact", () => {
  fc.assert(
    fc.property(fc.array(fc.nat({ max: 8 * gib }), { minLength: 1, maxLength: 6 }), fc.integer({ min: 12, max: 4 * gib - 1 }), (sizes, header) => {
      let end = header;
      for (const size of sizes) {
        const start = alignUp(end);
        expect([start % bufferAlignment, start >= end, start - end < bufferAlignment]).toEqual([0, true, true]);
        end = start + size;
      }
      expect(
        flatByteLength(
          header,
          sizes.map((byteLength) => ({ byteLength }) as Uint8Array),
        ),
      ).toBe(end); // prettier-ignore
    }),
  );
  fc.assert(
    fc.property(fc.nat({ max: Number.MAX_SAFE_INTEGER }), (value) => {
      const writer = new Writer();
      writer.varint(value);
      const bytes = writer.take();
      expect(new Reader(bytes, 0, bytes.length).varint()).toBe(value);
    }),
  );
});

it("several buffers behind one another, the last one aligned, read without a copy", () => {
  const value = Array.from({ length: 5 }, (_, i) => new Float64Array((1 << 17) + i).fill(i));
  const flat = flatten(codec.serialize(value));
  const back = codec.deserialize(flat) as Float64Array[];
  for (const [i, array] of back.entries()) {
    expect([array.length, array[0], array.at(-1), array.buffer === flat.buffer, array.byteOffset % bufferAlignment]).toEqual([
      value[i]?.length,
      i,
      i,
      true,
      0,
    ]);
  }
});

const bytes = 2 * gib + 4096;
const hasRoom = freemem() > 4 * bytes;
(hasRoom ? it : it.skip)("a typed array of more than 2 GiB, and one behind it", () => {
  const large = new Float64Array(bytes / 8);
  large[0] = 1;
  large[large.length - 1] = 2;
  const serialized = codec.serialize({ large, behind: new Float64Array(1000).fill(3) });
  const flat = new Uint8Array(serialized.byteLength);
  writeFlat(serialized, flat);
  const back = codec.deserialize(flat) as { large: Float64Array; behind: Float64Array };
  expect([back.large.length, back.large[0], back.large.at(-1), back.behind[999]]).toEqual([large.length, 1, 2, 3]);
  expect([back.large.buffer === flat.buffer, back.behind.byteOffset > 2 * gib]).toEqual([true, true]);
});
