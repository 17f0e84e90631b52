// Encoding of records between the two threads of one process: fixed fields in a fixed order, no names, no versions. Both sides are the same build.

/** A growing scratch buffer; `reset()` before each record, then pass `bytes` and `length` on. */
export class RecordWriter {
  bytes: Buffer = Buffer.allocUnsafeSlow(1 << 16);
  length = 0;

  reset(op: number): this {
    this.bytes[0] = op;
    this.length = 1;
    return this;
  }
  u8(value: number): this {
    this.ensure(1);
    this.bytes[this.length++] = value;
    return this;
  }
  u32(value: number): this {
    this.ensure(4);
    this.length = this.bytes.writeUInt32LE(value, this.length);
    return this;
  }
  f64(value: number): this {
    this.ensure(8);
    this.length = this.bytes.writeDoubleLE(value, this.length);
    return this;
  }
  text(value: string): this {
    this.ensure(4 + value.length * 3);
    const written = this.bytes.write(value, this.length + 4, "utf8");
    this.bytes.writeUInt32LE(written, this.length);
    this.length += 4 + written;
    return this;
  }
  data(value: Uint8Array): this {
    this.ensure(4 + value.length);
    this.bytes.writeUInt32LE(value.length, this.length);
    this.length += 4;
    if (value.length > 0) this.bytes.set(value, this.length);
    this.length += value.length;
    return this;
  }
  /** Reserves room for a byte string of known length and answers where to write it. */
  room(length: number): Buffer {
    this.ensure(4 + length);
    this.bytes.writeUInt32LE(length, this.length);
    this.length += 4;
    const at = this.length;
    this.length += length;
    return this.bytes.subarray(at, at + length);
  }
  list(values: readonly number[]): this {
    this.ensure(4 + values.length * 4);
    let at = this.bytes.writeUInt32LE(values.length, this.length);
    for (let i = 0; i < values.length; i++) at = this.bytes.writeUInt32LE(values[i] as number, at);
    this.length = at;
    return this;
  }
  /** After a very large record the scratch goes back to its normal size. */
  trim(): void {
    if (this.bytes.length > 1 << 22) this.bytes = Buffer.allocUnsafeSlow(1 << 16);
  }

  private ensure(more: number): void {
    if (this.length + more <= this.bytes.length) return;
    let size = this.bytes.length * 2;
    while (size < this.length + more) size *= 2;
    const next = Buffer.allocUnsafeSlow(size);
    next.set(this.bytes.subarray(0, this.length));
    this.bytes = next;
  }
}

const emptyBytes = Buffer.alloc(0);
const emptyList: readonly number[] = Object.freeze([]);

/** Reads a record in the order it was written. `data()` copies: the ring's memory is reused. */
export class RecordReader {
  private bytes: Buffer = emptyBytes;
  private at = 0;

  /** Starts the record at `start` and answers its op. */
  start(memory: Buffer, start: number): number {
    this.bytes = memory;
    this.at = start + 1;
    return memory[start] as number;
  }
  u8(): number {
    return this.bytes[this.at++] as number;
  }
  u32(): number {
    const value = this.bytes.readUInt32LE(this.at);
    this.at += 4;
    return value;
  }
  f64(): number {
    const value = this.bytes.readDoubleLE(this.at);
    this.at += 8;
    return value;
  }
  text(): string {
    const length = this.u32();
    const value = this.bytes.toString("utf8", this.at, this.at + length);
    this.at += length;
    return value;
  }
  data(): Buffer {
    const length = this.u32();
    if (length === 0) return emptyBytes;
    const copy = Buffer.allocUnsafe(length);
    if (length <= 32) for (let i = 0; i < length; i++) copy[i] = this.bytes[this.at + i] as number;
    else this.bytes.copy(copy, 0, this.at, this.at + length);
    this.at += length;
    return copy;
  }
  list(): readonly number[] {
    const count = this.u32();
    if (count === 0) return emptyList;
    const values = new Array<number>(count);
    for (let i = 0; i < count; i++) {
      values[i] = this.bytes.readUInt32LE(this.at);
      this.at += 4;
    }
    return values;
  }
}
