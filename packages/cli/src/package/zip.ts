// A zip archive of given files, the same bytes for the same content: fixed times, sorted members, no compression (packages travel once, mostly over loopback).
import type { PackageFile } from "./collect.js";

const utf8Flag = 0x800;
const stored = 0;
const madeByUnix = (3 << 8) | 20;
/** 1980-01-01 00:00, the earliest that the format knows. */
const dosDate = (1 << 5) | 1;
const fileType = 0o100000;
const directoryType = 0o040000;
export const zip32Max = 0xffff_ffff;
const membersMax = 0xffff;

/** Pieces of the archive in order. @throws RangeError beyond what a plain zip can hold (4 GiB, 65 535 members). */
export function* zipOf(files: readonly PackageFile[], read: (file: PackageFile) => Buffer): Generator<Buffer, void> {
  if (files.length > membersMax) throw new RangeError(`${files.length} files; a package holds at most ${membersMax}`);
  const directory: Buffer[] = [];
  let offset = 0;
  for (const file of files) {
    const isDirectory = file.path.endsWith("/");
    const content = isDirectory ? Buffer.alloc(0) : read(file);
    const name = Buffer.from(file.path, "utf8");
    const crc = crc32(content);
    const fields = Buffer.alloc(26);
    fields.writeUInt16LE(20, 0); // version needed
    fields.writeUInt16LE(utf8Flag, 2);
    fields.writeUInt16LE(stored, 4);
    fields.writeUInt16LE(0, 6); // time
    fields.writeUInt16LE(dosDate, 8);
    fields.writeUInt32LE(crc, 10);
    fields.writeUInt32LE(content.length, 14);
    fields.writeUInt32LE(content.length, 18);
    fields.writeUInt16LE(name.length, 22);
    fields.writeUInt16LE(0, 24); // extra
    const head = Buffer.concat([Buffer.from("PK\u0003\u0004", "latin1"), fields, name]);
    const tail = Buffer.alloc(14);
    tail.writeUInt32LE(((((isDirectory ? directoryType : fileType) | file.mode) << 16) | (isDirectory ? 0x10 : 0)) >>> 0, 6); // external attributes
    tail.writeUInt32LE(offset, 10);
    const version = Buffer.alloc(2);
    version.writeUInt16LE(madeByUnix);
    directory.push(Buffer.concat([Buffer.from("PK\u0001\u0002", "latin1"), version, fields, tail, name]));
    offset += head.length + content.length;
    if (offset > zip32Max) throw new RangeError("more than 4 GiB");
    yield head;
    if (content.length > 0) yield content;
  }
  const central = Buffer.concat(directory);
  const end = Buffer.alloc(22);
  end.write("PK\u0005\u0006", 0, "latin1");
  end.writeUInt16LE(files.length, 8);
  end.writeUInt16LE(files.length, 10);
  end.writeUInt32LE(central.length, 12);
  end.writeUInt32LE(offset, 16);
  yield central;
  yield end;
}

const table = Uint32Array.from({ length: 256 }, (_, n) => {
  let c = n;
  for (let k = 0; k < 8; k++) c = c & 1 ? 0xedb88320 ^ (c >>> 1) : c >>> 1;
  return c >>> 0;
});

/** CRC-32 (ISO 3309), as zip has it. */
export function crc32(data: Uint8Array): number {
  let c = 0xffffffff;
  for (let i = 0; i < data.length; i++) c = (table[(c ^ (data[i] as number)) & 0xff] as number) ^ (c >>> 8);
  return (c ^ 0xffffffff) >>> 0;
}
