// The tables at the end of a header: binary data, code, modules, classes.
import { crc32 } from "node:zlib";
import { readUnit, type UnitData } from "../function/code-unit.js";
import type { ModuleRef } from "../module-host.js";
import { corrupt, flagCode, type FlatPrefix, flagTables, prefixBytes, readPrefix, readU32 } from "../wire/flat.js";
import { Reader } from "../wire/reader.js";
import { BinaryTable } from "./binary.js";

export interface ClassTableEntry {
  readonly id: string;
  /** Empty where another class's blob only names it. */
  readonly blob: Uint8Array;
}

export interface Container {
  readonly flags: number;
  /** Positioned at the value. */
  readonly body: Reader;
  readonly binary: BinaryTable | undefined;
  readonly unit: UnitData | undefined;
  readonly modules: readonly ModuleRef[];
  readonly classes: readonly ClassTableEntry[];
}

const none: readonly never[] = [];

export function readContainer(flat: Uint8Array, copyBuffers: boolean): Container {
  const prefix = readPrefix(flat);
  const { flags } = prefix;
  if ((flags & flagCode) !== 0) verify(flat, prefix);
  const plain = (body: Reader, binary?: BinaryTable): Container => ({ flags, body, binary, unit: undefined, modules: none, classes: none });
  if ((flags & flagTables) === 0) return plain(new Reader(flat, prefixBytes, prefix.headerLength));
  const end = prefix.headerLength - 4;
  if (end < prefixBytes) throw corrupt("the tables are missing");
  const start = readU32(flat, end);
  if (start < prefixBytes || start > end) throw corrupt("the tables are misplaced");
  const reader = new Reader(flat, start, end);
  const binary = new BinaryTable(reader, flat, prefix.headerLength, copyBuffers);
  const body = new Reader(flat, prefixBytes, start);
  // Without the checksum there is no code, whatever the bytes look like.
  if ((flags & flagCode) === 0) return plain(body, binary);
  const unit = readUnit(reader);
  const modules: ModuleRef[] = [];
  for (let left = reader.count(3); left > 0; left--) {
    const bits = reader.u8();
    const kind = (["builtin", "file", "package"] as const)[bits & 3] ?? "package";
    modules.push({ kind, loader: (bits & 4) === 0 ? "import" : "require", specifier: reader.string(), from: reader.string() });
  }
  const classes: ClassTableEntry[] = [];
  for (let left = reader.count(2); left > 0; left--) classes.push({ id: reader.string(), blob: reader.take(reader.varint()) });
  return { flags, body, binary, unit, modules, classes };
}

function verify(flat: Uint8Array, { headerLength, checksum }: FlatPrefix): void {
  if (crc32(flat.subarray(prefixBytes, headerLength)) !== checksum) throw corrupt("the checksum of its code does not match");
}
