// Decoder: tagged bytes → one value's graph.
//
// Owns:     the memo of objects revived so far, shapes, the compiled unit of its container.
// Not mine: functions and classes (function/revive.ts), special kinds (revive-special.ts), the tables (tables.ts).
// Crosses:  in: the bytes of a flat value, which nobody has vouched for.  out: the value, or TrayError SERIALIZATION.
//
// Invariants
//   D1. Objects are numbered as the encoder did (E1): a number is taken when the tag is read, before children.
//   D2. Only code under a valid checksum is compiled; damaged data yields an error or another value, never a hang or a crash.
//   D3. Last children are read in a loop, as they were written (E3).
import { corrupt } from "../wire/flat.js";
import type { CodecState } from "../state.js";
import * as tag from "../wire/tag.js";
import type { Reader } from "../wire/reader.js";
import type { ClassLoader } from "../function/class-loader.js";
import type { CompiledUnit } from "../function/compile.js";
import { accessorFlag, defineProperty, integrityOpen, isArrayIndex, wellKnownSymbol } from "./properties.js";
import { readPrototype } from "./revive-prototype.js";
import type { Container } from "./tables.js";

/** Stands in the memo for an object whose number is taken but which does not exist yet. */
export const pending = Symbol("pending");
const hole = Symbol("hole");

export interface DecodeJob {
  readonly state: CodecState;
  readonly context: unknown;
  /** Reads the kinds that have files of their own; handed in, because they in turn read through the decoder. */
  readonly readSpecial: (decoder: Decoder, tag: number) => unknown;
  /** Shared by the containers of one value. */
  readonly classes: ClassLoader;
}

export interface ClassDefinition {
  readonly id: string;
  readonly blob: Uint8Array;
  readonly dependencies: readonly string[];
}

export class Decoder {
  readonly reader: Reader;
  readonly memo: unknown[] = [];
  readonly #shapes: string[][] = [];
  /** Captured variables that wait for an object under construction, by its number. */
  #waiting: Map<number, ((value: unknown) => void)[]> | undefined;
  compiled: CompiledUnit | undefined;
  /** Set for the container of a class: what it is. */
  defining: ClassDefinition | undefined;

  constructor(
    readonly container: Container,
    readonly job: DecodeJob,
  ) {
    this.reader = container.body;
  }

  /** Takes the next number for an object that exists from now on. */
  note<T>(value: T): T {
    this.memo.push(value);
    return value;
  }

  /** Takes the next number for an object that `settle` brings. */
  reserve(): number {
    return this.memo.push(pending) - 1;
  }

  settle<T>(index: number, value: T): T {
    this.memo[index] = value;
    const waiting = this.#waiting?.get(index);
    if (waiting !== undefined) {
      for (const assign of waiting) assign(value);
      this.#waiting?.delete(index);
    }
    return value;
  }

  readRoot(): unknown {
    const value = this.#element();
    if (this.reader.position !== this.reader.end) throw corrupt("bytes are left over");
    return value;
  }

  read(): unknown {
    const head = this.reader.u8();
    if (head >= tag.tagSmallInt) return head - tag.tagSmallInt;
    if (head >= tag.tagShortString) return this.reader.shortString(head - tag.tagShortString);
    switch (head) {
      case tag.tagUndefined:
        return undefined;
      case tag.tagNull:
        return null;
      case tag.tagFalse:
        return false;
      case tag.tagTrue:
        return true;
      case tag.tagInt:
        return this.reader.int();
      case tag.tagFloat:
        return this.reader.f64();
      case tag.tagBigInt:
        return this.reader.bigint();
      case tag.tagLatin1:
      case tag.tagUtf16:
        return this.reader.stringOf(head);
      case tag.tagRef:
        return this.#reference();
      case tag.tagShaped:
      case tag.tagNewShape:
        return this.fields(head, this.note({}));
      case tag.tagArray: {
        const array: unknown[] = this.note([]);
        this.#fill(head, array);
        return array;
      }
      case tag.tagSparseArray:
        return this.#sparse();
      case tag.tagHole:
        return hole;
      case tag.tagSymbolFor:
        return Symbol.for(this.reader.string());
      case tag.tagSymbolKnown:
        return wellKnownSymbol(this.reader.string()) ?? this.#fail("unknown symbol");
      case tag.tagSymbolUnique:
        return this.#uniqueSymbol();
      default:
        return this.job.readSpecial(this, head);
    }
  }

  #fail(what: string): never {
    throw corrupt(what);
  }

  #reference(): unknown {
    const index = this.reader.varint();
    if (index >= this.memo.length) throw corrupt("a reference to nothing");
    const value = this.memo[index];
    if (value === pending) throw corrupt("a cycle through an object that cannot be revived in part");
    return value;
  }

  /** Reads a captured variable. What it refers to may be under construction (a class that its own helper uses): then it is assigned once it exists. */
  readInto(assign: (value: unknown) => void): void {
    const { reader } = this;
    const start = reader.position;
    const head = reader.u8();
    if (head === tag.tagRef) {
      const index = reader.varint();
      if (this.memo[index] === pending) {
        this.#waiting ??= new Map();
        const waiting = this.#waiting.get(index);
        if (waiting === undefined) this.#waiting.set(index, [assign]);
        else waiting.push(assign);
        return;
      }
    } else if (head === tag.tagClass) {
      const entry = this.container.classes[reader.varint()];
      const index = this.reserve();
      if (entry === undefined) throw corrupt("no such class");
      this.job.classes.whenLoaded(entry.id, this.job, (cls) => {
        this.settle(index, cls);
        assign(cls);
      });
      return;
    }
    reader.position = start;
    assign(this.read());
  }

  readString(): string {
    return this.reader.string();
  }

  readFunction(): Function {
    const value = this.read();
    if (typeof value !== "function") throw corrupt("a function was expected");
    return value;
  }

  #uniqueSymbol(): symbol {
    const { state } = this.job;
    const id = this.reader.string();
    const description = this.read();
    const known = state.symbolById(id);
    if (known !== undefined) return known;
    const symbol = Symbol(typeof description === "string" ? description : undefined);
    state.noteSymbol(symbol, id);
    return symbol;
  }

  fields<T extends object>(head: number, into: T): T {
    this.#fill(head, into);
    return into;
  }

  /** D3: an object's children, and those of its last child, and so on. */
  #fill(head: number, into: object): void {
    let filled = into;
    let kind = head;
    for (;;) {
      const next = kind === tag.tagArray ? this.#elements(filled as unknown[]) : this.#values(kind, filled);
      if (next === undefined) return;
      filled = next;
      kind = this.#tailKind;
    }
  }

  /** The tag of what the last `#beginTail` began. */
  #tailKind = 0;

  /** The last child of an object, empty, if it is one whose own children can be read afterwards; otherwise nothing was read. */
  #beginTail(): object | undefined {
    const { reader } = this;
    const start = reader.position;
    const head = reader.u8();
    this.#tailKind = head;
    if (head === tag.tagShaped || head === tag.tagNewShape) return this.note({});
    if (head === tag.tagArray) return this.note([]);
    if (head === tag.tagInstance) {
      const numbers = this.memo.length;
      const index = this.reserve();
      const instance = this.settle(index, Object.create(readPrototype(this)) as object);
      const isOpen = reader.u8() === integrityOpen;
      this.#tailKind = reader.u8();
      if (isOpen && (this.#tailKind === tag.tagShaped || this.#tailKind === tag.tagNewShape)) return instance;
      // Read again, as what it is: its class is known by now, and its number is taken anew.
      this.memo.length = numbers;
    }
    reader.position = start;
    return undefined;
  }

  #values(head: number, into: object): object | undefined {
    const { reader } = this;
    let keys: readonly string[];
    if (head === tag.tagShaped) keys = this.#shapes[reader.varint()] ?? this.#fail("no such shape");
    else {
      const count = reader.count();
      const read: string[] = [];
      for (let i = 0; i < count; i++) read.push(reader.string());
      this.#shapes.push(read);
      keys = read;
    }
    const isPlain = Object.getPrototypeOf(into) === Object.prototype;
    const last = keys.length - 1;
    for (let i = 0; i <= last; i++) {
      const key = keys[i] as string;
      const tail = i === last ? this.#beginTail() : undefined;
      const value = tail ?? this.#element();
      // Assigning runs setters of the prototype and fails for what is read-only there; of those, plain objects have one, __proto__.
      if (isPlain ? key !== "__proto__" : !(key in into)) (into as Record<string, unknown>)[key] = value;
      else defineProperty(into, key, 7, value, undefined);
      if (tail !== undefined) return tail;
    }
    return undefined;
  }

  #element(): unknown {
    const value = this.read();
    if (value === hole) throw corrupt("a hole outside an array");
    return value;
  }

  #elements(array: unknown[]): object | undefined {
    const length = this.reader.count();
    for (let i = 0; i < length; i++) {
      const tail = i === length - 1 ? this.#beginTail() : undefined;
      if (tail !== undefined) {
        array.push(tail);
        return tail;
      }
      const value = this.read();
      if (value === hole) array.length = i + 1;
      else array.push(value);
    }
    return undefined;
  }

  #sparse(): unknown[] {
    const { reader } = this;
    const length = reader.varint();
    if (length > 0xffff_ffff) throw corrupt("array too long");
    const array: unknown[] = this.note([]);
    array.length = length;
    for (let left = reader.count(2); left > 0; left--) {
      const index = reader.varint();
      const value = this.#element();
      if (index >= length) throw corrupt("an element beyond the array's end");
      defineProperty(array, String(index), 7, value, undefined);
    }
    return array;
  }

  /** Own properties by descriptor. */
  properties(owner: object): void {
    const { reader } = this;
    for (let left = reader.count(3); left > 0; left--) {
      const key = this.#element();
      if (typeof key !== "string" && typeof key !== "symbol") throw corrupt("a property key was expected");
      if (ArrayBuffer.isView(owner) && typeof key === "string" && isArrayIndex(key)) throw corrupt("an element among properties");
      const flags = reader.u8();
      const value = this.#element();
      const setter = (flags & accessorFlag) === 0 ? undefined : this.#element();
      if ((flags & accessorFlag) !== 0 && ![value, setter].every((f) => f === undefined || typeof f === "function"))
        throw corrupt("an accessor was expected");
      defineProperty(owner, key, flags, value, setter);
    }
  }
}
