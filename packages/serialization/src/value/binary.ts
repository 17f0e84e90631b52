// Typed arrays, DataViews and ArrayBuffers of one value: which bytes travel, where, and which views share them.
//
// Views of one ArrayBuffer share memory after the trip too. What travels is the range they cover, not the whole buffer: a ten-byte Buffer lies in a
// pool of other people's bytes, and a view of a value that came from the arena lies among that value's other arrays.
import { alignUp, corrupt } from "../wire/flat.js";
import type { Reader } from "../wire/reader.js";
import type { Writer } from "../wire/writer.js";

type AnyBuffer = ArrayBuffer | SharedArrayBuffer;
type AnyView = NodeJS.ArrayBufferView;

/** Order is part of the wire format. */
const kindNames = [
  "DataView",
  "Buffer",
  "Int8Array",
  "Uint8Array",
  "Uint8ClampedArray",
  "Int16Array",
  "Uint16Array",
  "Int32Array",
  "Uint32Array",
  "Float32Array",
  "Float64Array",
  "BigInt64Array",
  "BigUint64Array",
  "Float16Array",
];
const bufferKind = 1;

const typedArrayTag = Object.getOwnPropertyDescriptor(Object.getPrototypeOf(Uint8Array.prototype), Symbol.toStringTag)?.get as () =>
  | string
  | undefined;

/** The index of a view's built-in kind: by internal slot, so subclasses and other realms count as what they are. */
export function kindOfView(view: AnyView): number {
  if (Buffer.isBuffer(view)) return bufferKind;
  return kindNames.indexOf(typedArrayTag.call(view) ?? "DataView");
}

type ViewConstructor = {
  new (buffer: AnyBuffer, byteOffset: number, length: number): AnyView;
  readonly prototype: object;
  readonly BYTES_PER_ELEMENT?: number;
};

export function constructorOfKind(kind: number): ViewConstructor {
  const found = (globalThis as Record<string, unknown>)[kindNames[kind] ?? ""];
  if (typeof found !== "function") throw corrupt(`this runtime has no ${kindNames[kind] ?? `view kind ${kind}`}`);
  return found as unknown as ViewConstructor;
}

interface Range {
  readonly buffer: AnyBuffer;
  readonly start: number;
  readonly end: number;
  /** Range of its group; set by `finish`. */
  group: number;
  base: number;
}

/** Where views cover less than this share of what lies between the first and the last, each stretch travels by itself. */
const sparseFactor = 2;
const sparseSlackBytes = 4096;
const maxElementBytes = 8;

const inlineGroup = 0;
const outOfBandGroup = 1;
/** An ArrayBuffer that the value itself refers to: it is revived as one with exactly these bytes. */
const ownedFlag = 2;

/** Collects the views of one value while it is written. */
export class BinaryPlan {
  #ranges: Range[] = [];
  #owned = new Set<AnyBuffer>();

  get isEmpty(): boolean {
    return this.#ranges.length === 0;
  }

  reset(): void {
    if (this.#ranges.length > 0) this.#ranges = [];
    if (this.#owned.size > 0) this.#owned = new Set();
  }

  /** Views are numbered in order of addition, and read back in that order. */
  add(buffer: AnyBuffer, start: number, byteLength: number, wholeBuffer: boolean): void {
    this.#ranges.push({ buffer, start, end: start + byteLength, group: -1, base: 0 });
    if (wholeBuffer) this.#owned.add(buffer);
  }

  /** Writes the tables, inline bytes included; returns what goes out of band. */
  finish(writer: Writer, inlineBufferMax: number): Uint8Array[] {
    const byBuffer = new Map<AnyBuffer, Range[]>();
    for (const range of this.#ranges) {
      const others = byBuffer.get(range.buffer);
      if (others === undefined) byBuffer.set(range.buffer, [range]);
      else others.push(range);
    }
    const groups: { buffer: AnyBuffer; start: number; end: number }[] = [];
    for (const [buffer, ranges] of byBuffer) {
      const stretches = this.#owned.has(buffer) ? [{ start: 0, end: buffer.byteLength }] : stretchesOf(buffer, ranges);
      for (const range of ranges) {
        const index = stretches.findIndex((s) => s.start <= range.start && range.end <= s.end);
        range.group = groups.length + index;
        range.base = stretches[index]?.start ?? 0;
      }
      for (const s of stretches) groups.push({ buffer, ...s });
    }
    const outOfBand: Uint8Array[] = [];
    writer.varint(groups.length);
    for (const { buffer, start, end } of groups) {
      const bytes = new Uint8Array(buffer, start, end - start);
      const inline = bytes.byteLength < inlineBufferMax || bytes.byteLength === 0;
      writer.u8((inline ? inlineGroup : outOfBandGroup) | (this.#owned.has(buffer) ? ownedFlag : 0));
      writer.varint(bytes.byteLength);
      if (inline) writer.bytes(bytes);
      else outOfBand.push(bytes);
    }
    writer.varint(this.#ranges.length);
    for (const range of this.#ranges) {
      writer.varint(range.group);
      writer.varint(range.start - range.base);
    }
    return outOfBand;
  }
}

function stretchesOf(buffer: AnyBuffer, ranges: readonly Range[]): { start: number; end: number }[] {
  const sorted = ranges.map((r) => ({ start: r.start - (r.start % maxElementBytes), end: r.end })).sort((a, b) => a.start - b.start);
  const merged: { start: number; end: number }[] = [];
  for (const range of sorted) {
    const last = merged.at(-1);
    if (last !== undefined && range.start < last.end) last.end = Math.max(last.end, range.end);
    else merged.push(range);
  }
  const start = merged[0]?.start ?? 0;
  const end = Math.max(...merged.map((m) => m.end));
  const used = merged.reduce((sum, m) => sum + m.end - m.start, 0);
  // Node's pool for small Buffers belongs to everybody; never ship what lies between two of them.
  const slack = buffer.byteLength === Buffer.poolSize ? 0 : sparseSlackBytes;
  return end - start > used * sparseFactor + slack || (slack === 0 && end - start > used) ? merged : [{ start, end }];
}

interface Group {
  readonly flags: number;
  readonly byteLength: number;
  /** Offset in the flat value. */
  readonly start: number;
  memory: { buffer: AnyBuffer; byteOffset: number } | undefined;
}

/** The other side: hands out views in the order in which they were added. */
export class BinaryTable {
  readonly #flat: Uint8Array;
  readonly #groups: Group[] = [];
  readonly #views: { group: Group; offset: number }[] = [];
  readonly #copy: boolean;
  #next = 0;

  /** `copy`: no view shares memory with `flat`. */
  constructor(reader: Reader, flat: Uint8Array, headerLength: number, copy: boolean) {
    this.#flat = flat;
    this.#copy = copy;
    let end = headerLength;
    for (let left = reader.count(2); left > 0; left--) {
      const flags = reader.u8();
      const byteLength = reader.varint();
      let start: number;
      if ((flags & outOfBandGroup) === 0) start = reader.skip(byteLength);
      else {
        start = alignUp(end);
        end = start + byteLength;
        if (end > flat.byteLength) throw corrupt("a buffer reaches beyond the end");
      }
      this.#groups.push({ flags, byteLength, start, memory: undefined });
    }
    for (let left = reader.count(2); left > 0; left--) {
      const group = this.#groups[reader.varint()];
      const offset = reader.varint();
      if (group === undefined || offset > group.byteLength) throw corrupt("a view lies outside its buffer");
      this.#views.push({ group, offset });
    }
  }

  #memoryOf(group: Group): { buffer: AnyBuffer; byteOffset: number } {
    if (group.memory === undefined) {
      const absolute = this.#flat.byteOffset + group.start;
      const zeroCopy = !this.#copy && group.flags === outOfBandGroup && absolute % maxElementBytes === 0;
      group.memory = zeroCopy
        ? { buffer: this.#flat.buffer, byteOffset: absolute }
        : { buffer: Uint8Array.prototype.slice.call(this.#flat, group.start, group.start + group.byteLength).buffer as ArrayBuffer, byteOffset: 0 };
    }
    return group.memory;
  }

  #take(byteLength: number): { group: Group; offset: number } {
    const view = this.#views[this.#next++];
    if (view === undefined || view.offset + byteLength > view.group.byteLength) throw corrupt("a view lies outside its buffer");
    return view;
  }

  view(kind: number, length: number): AnyView {
    const constructor = constructorOfKind(kind);
    const elementBytes = constructor.BYTES_PER_ELEMENT ?? 1;
    const { group, offset } = this.#take(length * elementBytes);
    const { buffer, byteOffset } = this.#memoryOf(group);
    if (kind === bufferKind) return Buffer.from(buffer as ArrayBuffer, byteOffset + offset, length);
    if (offset % elementBytes !== 0) throw corrupt("a view is not aligned");
    return new constructor(buffer, byteOffset + offset, length);
  }

  arrayBuffer(): AnyBuffer {
    const { group } = this.#take(0);
    if ((group.flags & ownedFlag) === 0) throw corrupt("an ArrayBuffer was expected");
    return this.#memoryOf(group).buffer;
  }
}
