// Encoder: one value's graph → tagged bytes.
//
// Owns:     the memo of objects met (identity, cycles), shapes, the plan for binary data, the unit of code, tables of modules and classes.
// Not mine: kinds of objects beyond plain data (special.ts), functions and classes (closure.ts), the layout (wire/flat.ts).
// Crosses:  in: encode(value).  out: Serialized, or TrayError SERIALIZATION with the path.
//
// Invariants
//   E1. Objects are numbered in the order in which their tag is written; the decoder numbers them alike.
//   E2. An encoder serves one value at a time; what is encoded on the way as a container of its own (a class) takes another encoder.
//   E3. Last children of plain objects, arrays and instances take no stack: lists of any length can be shipped. The decoder reads them alike (D3).
import { crc32 } from "node:zlib";
import { types } from "node:util";
import { messageOf, TrayError } from "@tray/common";
import { CodeUnit } from "../function/code-unit.js";
import type { ModuleRef } from "../module-host.js";
import type { ClassEntry, CodecState } from "../state.js";
import { flagCode, flagModules, flagTables, flatByteLength, prefixBytes, type Serialized } from "../wire/flat.js";
import * as tag from "../wire/tag.js";
import { formatVersion } from "../wire/tag.js";
import { Writer } from "../wire/writer.js";
import { BinaryPlan } from "./binary.js";
import { refusal, ValuePath } from "./path.js";
import { descriptorFlags, isArrayIndex, plainKeys, wellKnownSymbolName } from "./properties.js";
import { builtinExportOf } from "./well-known.js";

/** Arrays with a length beyond this are looked at for holes before they are walked. */
const denseLengthMax = 1 << 25;
/** Arrays up to this length keep named properties too (`match.index`); finding them in longer ones would cost more than the array. */
const namedArrayPropertiesMax = 256;

const shapesKeptMax = 16;

interface Shape {
  readonly id: number;
  readonly keys: readonly string[];
}

/** Kinds that have files of their own; handed in, because they in turn write through the encoder. */
export interface KindWriters {
  /** Both: the object's number is already given. */
  special(encoder: Encoder, value: object, prototype: object | null): void;
  function(encoder: Encoder, fn: Function, asClass: boolean): void;
  /** Makes a class's blob, in an encoder of its own that knows the path to here. */
  classBlob(encoder: Encoder, cls: Function, entry: ClassEntry): void;
}

export class Encoder {
  readonly writer = new Writer();
  readonly path = new ValuePath();
  readonly binary = new BinaryPlan();
  unit = new CodeUnit();
  context: unknown;
  #memo = new Map<object, number>();
  #opaque = new Set<object>();
  /** The last child of the object just written, where nothing of the object follows it: chains of these are written in a loop (E3). */
  #tail: object | undefined;
  /** The latest shapes, newest last: real data has few, and dictionaries have one each, which no search would find again. */
  readonly #shapes: Shape[] = [];
  #shapeCount = 0;
  #modules = new Map<string, { index: number; ref: ModuleRef }>();
  #classes = new Map<string, number>();

  constructor(
    readonly state: CodecState,
    readonly inlineBufferMax: number,
    readonly kinds: KindWriters,
  ) {}

  /** Another encoder for a container of its own (E2). */
  fork(): Encoder {
    return new Encoder(this.state, this.inlineBufferMax, this.kinds);
  }

  encode(value: unknown, context: unknown): Serialized {
    this.context = context;
    return this.#container(() => this.write(value), this.inlineBufferMax, true).serialized;
  }

  /** A class's container: self-contained but for the classes it names. */
  encodeClassBlob(write: (encoder: Encoder) => void, context: unknown): { blob: Uint8Array; dependencies: string[] } {
    this.context = context;
    const { serialized, classIds } = this.#container(() => write(this), Number.POSITIVE_INFINITY, false);
    return { blob: serialized.header, dependencies: classIds };
  }

  #container(write: () => void, inlineBufferMax: number, withClassBlobs: boolean): { serialized: Serialized; classIds: string[] } {
    const { writer } = this;
    writer.reset(prefixBytes);
    try {
      write();
      const classIds = [...this.#classes.keys()];
      const { flags, buffers } = this.#tables(inlineBufferMax, withClassBlobs);
      writer.u8At(0, formatVersion);
      writer.u8At(1, flags);
      writer.u32At(4, writer.position);
      writer.u32At(8, (flags & flagCode) === 0 ? 0 : crc32(writer.written(prefixBytes)));
      const header = writer.take();
      return {
        serialized: { header, buffers, byteLength: buffers.length === 0 ? header.byteLength : flatByteLength(header.byteLength, buffers) },
        classIds,
      };
    } catch (error) {
      if (error instanceof RangeError && /call stack/i.test(error.message)) throw new TrayError("SERIALIZATION", "the value is nested too deep");
      throw error;
    } finally {
      this.#reset();
    }
  }

  #reset(): void {
    this.path.clear();
    this.#tail = undefined;
    this.context = undefined;
    if (this.#memo.size > 0) this.#memo = new Map();
    if (this.#opaque.size > 0) this.#opaque.clear();
    if (this.#shapeCount > 0) {
      this.#shapes.length = 0;
      this.#shapeCount = 0;
    }
    this.binary.reset();
    if (!this.unit.isEmpty) this.unit = new CodeUnit();
    if (this.#modules.size > 0) this.#modules.clear();
    if (this.#classes.size > 0) this.#classes.clear();
  }

  #tables(inlineBufferMax: number, withClassBlobs: boolean): { flags: number; buffers: readonly Uint8Array[] } {
    const hasCode = !this.unit.isEmpty || this.#modules.size > 0 || this.#classes.size > 0;
    if (this.binary.isEmpty && !hasCode) return { flags: 0, buffers: [] };
    const { writer } = this;
    const start = writer.position;
    const buffers = this.binary.finish(writer, inlineBufferMax);
    this.unit.write(writer);
    writer.varint(this.#modules.size);
    for (const { ref } of this.#modules.values()) {
      writer.u8((ref.kind === "builtin" ? 0 : ref.kind === "file" ? 1 : 2) | (ref.loader === "require" ? 4 : 0));
      writer.string(ref.specifier);
      writer.string(ref.from);
    }
    const needsModules =
      this.#writeClasses(withClassBlobs) || [...this.#modules.values()].some((m) => m.ref.loader === "import" && m.ref.kind !== "builtin");
    writer.u32(start);
    return { flags: flagTables | (hasCode ? flagCode : 0) | (needsModules ? flagModules : 0), buffers };
  }

  /** The classes that the body names come first, so that their place in the table is the number used there; then what those need. */
  #writeClasses(withBlobs: boolean): boolean {
    const { writer, state } = this;
    const ids = [...this.#classes.keys()];
    let needsModules = false;
    const blobs = new Map<string, Uint8Array>();
    if (withBlobs) {
      // `ids` grows while the loop runs.
      for (let i = 0; i < ids.length; i++) {
        const cls = state.classById(ids[i] as string);
        const entry = cls === undefined ? undefined : state.knownClass(cls);
        if (cls === undefined || entry === undefined) throw new TrayError("SERIALIZATION", "a class went away while it was serialized");
        if (entry.blob === undefined) this.kinds.classBlob(this, cls, entry);
        const blob = entry.blob as Uint8Array;
        blobs.set(entry.id, blob);
        needsModules ||= ((blob[1] ?? 0) & flagModules) !== 0;
        for (const id of entry.dependencies) if (!ids.includes(id)) ids.push(id);
      }
    }
    writer.varint(ids.length);
    for (const id of ids) {
      writer.string(id);
      const blob = blobs.get(id);
      writer.varint(blob?.byteLength ?? 0);
      if (blob !== undefined) writer.bytes(blob);
    }
    return needsModules;
  }

  moduleIndex(ref: ModuleRef): number {
    const key = `${ref.kind}\0${ref.loader}\0${ref.specifier}\0${ref.from}`;
    let known = this.#modules.get(key);
    if (known === undefined) {
      known = { index: this.#modules.size, ref };
      this.#modules.set(key, known);
    }
    return known.index;
  }

  classIndex(id: string): number {
    let index = this.#classes.get(id);
    if (index === undefined) {
      index = this.#classes.size;
      this.#classes.set(id, index);
    }
    return index;
  }

  /** Throws the refusal of what is at the current path. */
  refuse(what: string): never {
    throw refusal(this.path, what);
  }

  /** Whether a value could be shipped, found out by trying in another encoder. */
  canShip(value: unknown): boolean {
    if (typeof value !== "object" && typeof value !== "function") return true;
    try {
      this.fork().encodeClassBlob((trial) => trial.write(value), this.context);
      return true;
    } catch {
      return false; // the caller has a substitute for what cannot be shipped
    }
  }

  write(value: unknown): void {
    switch (typeof value) {
      case "string":
        return this.writer.string(value);
      case "number":
        return this.writer.number(value);
      case "boolean":
        return this.writer.u8(value ? tag.tagTrue : tag.tagFalse);
      case "undefined":
        return this.writer.u8(tag.tagUndefined);
      case "object":
        return value === null ? this.writer.u8(tag.tagNull) : this.#chain(value);
      case "bigint":
        return this.writer.bigint(value);
      case "symbol":
        return this.#symbol(value);
      case "function":
        if (this.writeKnown(value)) return;
        if (!types.isProxy(value)) this.kinds.function(this, value, false);
        else if (!this.writeExtension(value)) this.refuse("a Proxy");
    }
  }

  /** Writes a child, with its place on the path. */
  writeAt(owner: object | undefined, key: unknown, value: unknown): void {
    this.path.push(owner, key);
    this.write(value);
    this.path.pop();
  }

  /** A reference to an object met before; false if it is new, and then it has its number now (E1). */
  writeKnown(value: object): boolean {
    const index = this.#memo.get(value);
    if (index === undefined) {
      this.#memo.set(value, this.#memo.size);
      return false;
    }
    if (this.#opaque.has(value)) this.refuse("a cycle through a custom serializer");
    this.writer.u8(tag.tagRef);
    this.writer.varint(index);
    return true;
  }

  /** While `write` runs, a reference back to `value` could not be revived: its other side exists only afterwards. */
  whileOpaque(value: object, write: () => void): void {
    this.#opaque.add(value);
    write();
    this.#opaque.delete(value);
  }

  /** A class whose instances travel: it needs an identity even when it is an old-style constructor function. */
  writeClassReference(cls: Function): void {
    if (!this.writeKnown(cls)) this.kinds.function(this, cls, true);
  }

  #symbol(symbol: symbol): void {
    const { writer } = this;
    const known = wellKnownSymbolName(symbol);
    const registered = Symbol.keyFor(symbol);
    if (known !== undefined) {
      writer.u8(tag.tagSymbolKnown);
      return writer.string(known);
    }
    if (registered !== undefined) {
      writer.u8(tag.tagSymbolFor);
      return writer.string(registered);
    }
    writer.u8(tag.tagSymbolUnique);
    writer.string(this.state.symbolId(symbol));
    this.write(symbol.description);
  }

  #chain(value: object): void {
    const { depth } = this.path;
    this.#object(value);
    if (this.#tail === undefined) return;
    for (let next: object | undefined = this.#tail; next !== undefined; next = this.#tail) {
      this.#tail = undefined;
      this.#object(next);
    }
    this.path.backTo(depth);
  }

  #object(value: object): void {
    if (types.isProxy(value)) {
      if (!this.writeKnown(value) && !this.writeExtension(value)) this.refuse("a Proxy");
      return;
    }
    const prototype: unknown = Object.getPrototypeOf(value);
    if (prototype === Object.prototype) {
      if (!this.writeKnown(value)) this.#plain(value as Record<string, unknown>);
    } else if (prototype === Array.prototype && Array.isArray(value)) {
      if (this.writeKnown(value)) return;
      if (hasOnlyElements(value)) this.array(value, true);
      else this.kinds.special(this, value, Array.prototype);
    } else if (!this.writeKnown(value)) this.kinds.special(this, value, prototype as object | null);
  }

  writeExtension(value: object): boolean {
    const extension = this.state.extensionFor(value);
    if (extension === undefined) return false;
    const data = extension.encode(value, this.context);
    this.writer.u8(tag.tagExtension);
    this.writer.string(extension.tag);
    this.whileOpaque(value, () => this.write(data));
    return true;
  }

  #plain(value: Record<string, unknown>): void {
    const keys = plainKeys(value);
    if (keys === undefined || (keys.length > 2 && typeof value[keys[0] as string] === "function" && builtinExportOf(value) !== undefined)) {
      return this.kinds.special(this, value, Object.prototype);
    }
    this.fields(value, keys, tag.tagShaped, tag.tagNewShape);
  }

  /** Keys by shape, then the values; nothing of the object may be written afterwards (E3). */
  fields(value: Record<string, unknown>, keys: readonly string[], shapedTag: number, newTag: number): void {
    const { writer } = this;
    const shape = this.#shapeOf(keys);
    if (shape === undefined) {
      writer.u8(newTag);
      writer.varint(keys.length);
      for (const key of keys) writer.string(key);
    } else {
      writer.u8(shapedTag);
      writer.varint(shape.id);
    }
    const last = keys.length - 1;
    for (let i = 0; i <= last; i++) {
      const key = keys[i] as string;
      const child = value[key];
      if (typeof child !== "object" && typeof child !== "function") this.write(child);
      else if (i < last || child === null || typeof child === "function") this.writeAt(value, key, child);
      else {
        this.path.push(value, key);
        this.#tail = child;
      }
    }
  }

  #shapeOf(keys: readonly string[]): Shape | undefined {
    const shapes = this.#shapes;
    for (let i = shapes.length - 1; i >= 0; i--) {
      const shape = shapes[i] as Shape;
      if (isSameList(shape.keys, keys)) return shape;
    }
    if (shapes.length === shapesKeptMax) shapes.shift();
    shapes.push({ id: this.#shapeCount++, keys });
    return undefined;
  }

  /** `isLast`: nothing of the object is written afterwards (E3). */
  array(value: readonly unknown[], isLast = false): void {
    const { writer } = this;
    const { length } = value;
    if (length > denseLengthMax || (length > 64 && (!(0 in value) || !(length - 1 in value) || !(length >> 1 in value)))) {
      const indices = Object.keys(value).filter((key) => isArrayIndex(key));
      if (indices.length < length / 8) return this.#sparse(value, indices);
    }
    writer.u8(tag.tagArray);
    writer.varint(length);
    for (let i = 0; i < length; i++) {
      const item = value[i];
      if (isLast && i === length - 1 && typeof item === "object" && item !== null) {
        this.path.push(value, i);
        this.#tail = item;
      } else if (typeof item === "object" || typeof item === "function") this.writeAt(value, i, item);
      else if (item === undefined && !(i in value)) writer.u8(tag.tagHole);
      else this.write(item);
    }
  }

  #sparse(value: readonly unknown[], indices: readonly string[]): void {
    const { writer } = this;
    writer.u8(tag.tagSparseArray);
    writer.varint(value.length);
    writer.varint(indices.length);
    for (const key of indices) {
      writer.varint(Number(key));
      this.writeAt(value, Number(key), value[Number(key)]);
    }
  }

  /** Own properties by descriptor: key, flags, then the value, or getter and setter. */
  properties(owner: object, keys: readonly (string | symbol)[], substitute?: (value: unknown) => unknown): void {
    const { writer } = this;
    writer.varint(keys.length);
    for (const key of keys) {
      const descriptor = Object.getOwnPropertyDescriptor(owner, key) ?? { value: undefined };
      this.write(key);
      const isAccessor = descriptor.get !== undefined || descriptor.set !== undefined;
      if (isAccessor && this.canShip(descriptor.get) && this.canShip(descriptor.set)) {
        writer.u8(descriptorFlags(descriptor));
        this.writeAt(owner, key, descriptor.get);
        this.writeAt(owner, key, descriptor.set);
        continue;
      }
      const value: unknown = isAccessor ? this.#read(owner, key) : descriptor.value;
      writer.u8(descriptorFlags(isAccessor ? { ...descriptor, get: undefined, set: undefined, writable: true } : descriptor));
      this.writeAt(owner, key, substitute === undefined ? value : substitute(value));
    }
  }

  #read(owner: object, key: string | symbol): unknown {
    try {
      return (owner as Record<string | symbol, unknown>)[key];
    } catch (error) {
      this.path.push(owner, key);
      return this.refuse(`a getter that throws: ${messageOf(error)}`);
    }
  }
}

function hasOnlyElements(value: readonly unknown[]): boolean {
  if (!Object.isExtensible(value)) return false;
  if (value.length === 0 || value.length > namedArrayPropertiesMax) return value.length > 0 || Reflect.ownKeys(value).length === 1;
  // Keys list the elements first. With holes the count does not tell, so the last one must be an element.
  const keys = Object.keys(value);
  return (
    keys.length <= value.length &&
    (keys.length === 0 || isArrayIndex(keys[keys.length - 1] as string)) &&
    Object.getOwnPropertySymbols(value).length === 0
  );
}

function isSameList(a: readonly string[], b: readonly string[]): boolean {
  if (a.length !== b.length) return false;
  for (let i = 0; i < a.length; i++) if (a[i] !== b[i]) return false;
  return true;
}
