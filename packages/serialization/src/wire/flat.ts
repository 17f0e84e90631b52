// The flat layout of a serialized value: what travels inline in specs and replies, and what lies in the arena.
//
//   0  u8   format version
//   1  u8   flags
//   2  u16  zero
//   4  u32  header length h, these bytes included
//   8  u32  crc32 of header[12, h) when flagCode is set, else zero
//  12  …    body (tagged values), then the tables (container.ts)
//   h  …    out-of-band buffers, each at the next multiple of 64 from the start of the flat value
//
// Small values have no out-of-band buffer: there the header is the flat value.
import { TrayError } from "@tray/common";
import { formatVersion } from "./tag.js";

/** Out-of-band buffers start at multiples of this, counted from the start of the flat value. */
export const bufferAlignment = 64;
export const prefixBytes = 12;

/** The header ends in tables (views, code, classes, modules). */
export const flagTables = 1;
/** The value holds code or names modules: the header is checksummed, so that no damaged source is ever run. */
export const flagCode = 2;
/** Modules must be loaded before the value can be revived: `Codec.prepare` does so asynchronously. */
export const flagModules = 4;

/**
 * A serialized value. `buffers` are views of the caller's live memory, not copies: write them out (`writeFlat`) in the same turn,
 * before user code can change them.
 */
export interface Serialized {
  readonly header: Uint8Array;
  readonly buffers: readonly Uint8Array[];
  /** Bytes of the flat layout. */
  readonly byteLength: number;
}

export function alignUp(offset: number): number {
  return Math.ceil(offset / bufferAlignment) * bufferAlignment;
}

export function flatByteLength(headerLength: number, buffers: readonly Uint8Array[]): number {
  let end = headerLength;
  for (const buffer of buffers) end = alignUp(end) + buffer.byteLength;
  return end;
}

/** Writes the flat layout to the start of `target` (at least `byteLength` bytes; the gaps are zeroed, because arena blocks are reused). */
export function writeFlat(s: Serialized, target: Uint8Array): void {
  if (target.byteLength < s.byteLength) throw new RangeError(`flat value of ${s.byteLength} bytes does not fit in ${target.byteLength}`);
  target.set(s.header, 0);
  let end = s.header.byteLength;
  for (const buffer of s.buffers) {
    const start = alignUp(end);
    target.fill(0, end, start);
    target.set(buffer, start);
    end = start + buffer.byteLength;
  }
}

/** The flat layout as one array. Without out-of-band buffers this is the header itself, not a copy. */
export function flatten(s: Serialized): Uint8Array {
  if (s.buffers.length === 0) return s.header;
  const target = new Uint8Array(s.byteLength);
  writeFlat(s, target);
  return target;
}

export function corrupt(what: string): TrayError {
  return new TrayError("SERIALIZATION", `cannot deserialize: ${what}`);
}

export interface FlatPrefix {
  readonly flags: number;
  readonly headerLength: number;
  readonly checksum: number;
}

export function readPrefix(flat: Uint8Array): FlatPrefix {
  if (flat.byteLength < prefixBytes) throw corrupt(`${flat.byteLength} bytes are too few`);
  const version = flat[0];
  if (version !== formatVersion) throw corrupt(`format version ${version}, this process reads ${formatVersion}`);
  const headerLength = readU32(flat, 4);
  if (headerLength < prefixBytes || headerLength > flat.byteLength) throw corrupt(`header of ${headerLength} in ${flat.byteLength} bytes`);
  return { flags: flat[1] as number, headerLength, checksum: readU32(flat, 8) };
}

/** Little-endian; the caller knows that the four bytes are there. */
export function readU32(bytes: Uint8Array, at: number): number {
  return ((bytes[at] as number) | ((bytes[at + 1] as number) << 8) | ((bytes[at + 2] as number) << 16) | ((bytes[at + 3] as number) << 24)) >>> 0;
}
