import * as tag from "./tag.js";

const initialBytes = 16 * 1024;
/** A scratch that grew beyond this for one large value is dropped afterwards. */
const keptBytesMax = 1024 * 1024;
const headerBytesMax = 0xffff_ffff;

/** Growable scratch that values are written into; `take` copies the result out, so one writer serves many values. */
export class Writer {
  #scratch = Buffer.allocUnsafeSlow(initialBytes);
  position = 0;

  /** Starts anew, with room for a prefix that is zero until filled in. */
  reset(prefixBytes: number): void {
    if (this.#scratch.byteLength > keptBytesMax) this.#scratch = Buffer.allocUnsafeSlow(initialBytes);
    for (let i = 0; i < prefixBytes; i++) this.#scratch[i] = 0;
    this.position = prefixBytes;
  }

  /** A copy with memory of its own: safe to transfer to another thread. */
  take(): Uint8Array {
    return Uint8Array.prototype.slice.call(this.#scratch, 0, this.position);
  }

  #reserve(bytes: number): void {
    const needed = this.position + bytes;
    if (needed <= this.#scratch.byteLength) return;
    if (needed > headerBytesMax) throw new RangeError("the value's structure exceeds 4 GiB");
    const grown = Buffer.allocUnsafeSlow(Math.min(headerBytesMax, Math.max(needed, this.#scratch.byteLength * 2)));
    grown.set(this.#scratch.subarray(0, this.position));
    this.#scratch = grown;
  }

  u8(byte: number): void {
    if (this.position === this.#scratch.byteLength) this.#reserve(1);
    this.#scratch[this.position++] = byte;
  }

  /** Unsigned LEB128 of a safe integer. */
  varint(value: number): void {
    this.#reserve(8);
    let rest = value;
    while (rest > 0x7f) {
      this.#scratch[this.position++] = (rest % 0x80) | 0x80;
      rest = Math.floor(rest / 0x80);
    }
    this.#scratch[this.position++] = rest;
  }

  u32(value: number): void {
    this.#reserve(4);
    this.position = this.#scratch.writeUInt32LE(value, this.position);
  }

  u32At(position: number, value: number): void {
    this.#scratch.writeUInt32LE(value, position);
  }

  u8At(position: number, value: number): void {
    this.#scratch[position] = value;
  }

  written(from: number): Uint8Array {
    return this.#scratch.subarray(from, this.position);
  }

  f64(value: number): void {
    this.#reserve(8);
    this.position = this.#scratch.writeDoubleLE(value, this.position);
  }

  bytes(source: Uint8Array): void {
    this.#reserve(source.byteLength);
    this.#scratch.set(source, this.position);
    this.position += source.byteLength;
  }

  number(value: number): void {
    if ((value | 0) === value && (value !== 0 || 1 / value > 0)) {
      if (value >= 0 && value <= tag.smallIntMax) return this.u8(tag.tagSmallInt | value);
      this.u8(tag.tagInt);
      return this.varint(value < 0 ? -value * 2 - 1 : value * 2);
    }
    this.u8(tag.tagFloat);
    this.f64(value);
  }

  /** Latin-1 when it fits, else UTF-16: both keep every code unit, lone surrogates included. */
  string(value: string): void {
    const length = value.length;
    if (length <= tag.shortStringMax) {
      this.#reserve(length + 1);
      const scratch = this.#scratch;
      const start = this.position + 1;
      let i = 0;
      for (; i < length; i++) {
        const code = value.charCodeAt(i);
        if (code > 0xff) break;
        scratch[start + i] = code;
      }
      if (i === length) {
        scratch[start - 1] = tag.tagShortString + length;
        this.position = start + length;
        return;
      }
    }
    // biome-ignore lint/suspicious/noControlCharactersInRegex: the range is Latin-1
    const wide = /[^\x00-\xff]/.test(value);
    this.u8(wide ? tag.tagUtf16 : tag.tagLatin1);
    this.varint(length);
    this.#reserve(wide ? length * 2 : length);
    this.position += wide ? this.#scratch.write(value, this.position, "utf16le") : this.#scratch.write(value, this.position, "latin1");
  }

  bigint(value: bigint): void {
    const hex = (value < 0n ? -value : value).toString(16);
    const magnitude = Buffer.from(hex.length % 2 === 0 ? hex : `0${hex}`, "hex");
    this.u8(tag.tagBigInt);
    this.u8(value < 0n ? 1 : 0);
    this.varint(magnitude.byteLength);
    this.bytes(magnitude);
  }
}
