import { corrupt } from "./flat.js";
import * as tag from "./tag.js";

interface NativeSlices {
  latin1Slice(start: number, end: number): string;
  ucs2Slice(start: number, end: number): string;
  hexSlice(start: number, end: number): string;
}

/** Node's own decoders work on any Uint8Array; wrapping each input into a Buffer would cost more than a small value. */
const native = Buffer.prototype as unknown as NativeSlices;
const f64 = new Float64Array(1);
const f64Bytes = new Uint8Array(f64.buffer);

/** Bounds-checked reading: whatever the bytes, the answer is a value or a SERIALIZATION error. */
export class Reader {
  constructor(
    readonly bytes: Uint8Array,
    public position: number,
    readonly end: number,
  ) {}

  u8(): number {
    if (this.position >= this.end) throw corrupt("unexpected end");
    return this.bytes[this.position++] as number;
  }

  varint(): number {
    let result = 0;
    let scale = 1;
    for (let i = 0; i < 8; i++) {
      const byte = this.u8();
      result += (byte & 0x7f) * scale;
      if (byte < 0x80) {
        if (result > Number.MAX_SAFE_INTEGER) break;
        return result;
      }
      scale *= 0x80;
    }
    throw corrupt("integer out of range");
  }

  /** A number of things that follow and take at least `bytesEach` each: a count the bytes cannot hold is damage, not a reason to allocate. */
  count(bytesEach = 1): number {
    const count = this.varint();
    if (count * bytesEach > this.end - this.position) throw corrupt("count exceeds the data");
    return count;
  }

  skip(length: number): number {
    const start = this.position;
    if (length > this.end - start) throw corrupt("unexpected end");
    this.position = start + length;
    return start;
  }

  f64(): number {
    const start = this.skip(8);
    for (let i = 0; i < 8; i++) f64Bytes[i] = this.bytes[start + i] as number;
    return f64[0] as number;
  }

  take(length: number): Uint8Array {
    const start = this.skip(length);
    return new Uint8Array(this.bytes.buffer, this.bytes.byteOffset + start, length);
  }

  int(): number {
    const zigzag = this.varint();
    return zigzag % 2 === 0 ? zigzag / 2 : -(zigzag + 1) / 2;
  }

  shortString(length: number): string {
    const start = this.skip(length);
    const bytes = this.bytes;
    // Beyond some ten characters the native call is cheaper than the loop.
    if (length > 10) return native.latin1Slice.call(bytes, start, start + length);
    let text = "";
    for (let i = start; i < start + length; i++) text += String.fromCharCode(bytes[i] as number);
    return text;
  }

  stringOf(head: number): string {
    if (head >= tag.tagShortString && head < tag.tagSmallInt) return this.shortString(head - tag.tagShortString);
    if (head !== tag.tagLatin1 && head !== tag.tagUtf16) throw corrupt("a string was expected");
    const bytesEach = head === tag.tagUtf16 ? 2 : 1;
    const length = this.count(bytesEach) * bytesEach;
    const start = this.skip(length);
    return head === tag.tagUtf16
      ? native.ucs2Slice.call(this.bytes, start, start + length)
      : native.latin1Slice.call(this.bytes, start, start + length);
  }

  string(): string {
    return this.stringOf(this.u8());
  }

  bigint(): bigint {
    const negative = this.u8() === 1;
    const length = this.count();
    const start = this.skip(length);
    const magnitude = length === 0 ? 0n : BigInt(`0x${native.hexSlice.call(this.bytes, start, start + length)}`);
    return negative ? -magnitude : magnitude;
  }
}
