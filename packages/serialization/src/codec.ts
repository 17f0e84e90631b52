import { createHash, randomBytes } from "node:crypto";
import { isTrayError, messageOf, TrayError } from "@tray/common";
import { FunctionInspector } from "./function/inspector.js";
import { ClassLoader } from "./function/class-loader.js";
import { encodeClass, writeFunction } from "./function/closure.js";
import type { ModuleHost } from "./module-host.js";
import { CodecState, type Extension, type RegisteredSerializer } from "./state.js";
import { Decoder, type DecodeJob } from "./value/decoder.js";
import { Encoder, type KindWriters } from "./value/encoder.js";
import { readSpecial } from "./value/revive-special.js";
import { writeSpecial } from "./value/special.js";
import { readContainer } from "./value/tables.js";
import { corrupt, flagModules, flatten, prefixBytes, type Serialized } from "./wire/flat.js";

const inlineBufferMaxDefault = 256;
const kinds: KindWriters = { special: writeSpecial, function: writeFunction, classBlob: encodeClass };

export interface CodecOptions {
  readonly extensions?: readonly Extension[];
  readonly modules: ModuleHost;
  /** Binary data of fewer bytes travels inside the header, by copy. Default 256. */
  readonly inlineBufferMax?: number;
  /** Prefix of the ids of classes and symbols that this process ships; must be unique in the job. Default random. */
  readonly idPrefix?: string;
  /** What an error's stack is to say where it arrives. Default: what it says here. */
  readonly stackOf?: (error: Error) => string | undefined;
}

export interface DeserializeOptions {
  /** Typed arrays get memory of their own instead of views over `flat`. */
  readonly copyBuffers?: boolean;
}

/** A function or class ready to be stored: `hash` is the SHA-256 of `blob`, lower-case hex. */
export interface SerializedFunction {
  readonly blob: Uint8Array;
  readonly hash: string;
  readonly name: string;
}

export interface ClassSerializer<T, S> {
  serialize(value: T): S;
  deserialize(data: S): T;
}

/**
 * Turns values, functions and classes into bytes and back. One for each user thread: it remembers which class has which id.
 * Every failure is a TrayError with code SERIALIZATION; a refusal's message holds the path to what cannot be shipped.
 */
export class Codec {
  readonly #state: CodecState;
  readonly #inlineBufferMax: number;
  readonly #idPrefix: string;
  #encoder: Encoder | undefined;

  constructor(options: CodecOptions) {
    this.#idPrefix = options.idPrefix ?? randomBytes(6).toString("hex");
    this.#state = new CodecState([...(options.extensions ?? [])], options.modules, new FunctionInspector(), this.#idPrefix, options.stackOf);
    this.#inlineBufferMax = options.inlineBufferMax ?? inlineBufferMaxDefault;
  }

  /** @throws TrayError SERIALIZATION when this runtime cannot show closures. Call it at start-up. */
  static probe(): void {
    new FunctionInspector().probe();
  }

  /** `context` is passed to the extensions. The result's buffers are views of live memory: write them out in the same turn. */
  serialize(value: unknown, context?: unknown): Serialized {
    // An extension or serializer may serialize on its own while a value is under way (E2).
    const encoder = this.#encoder ?? new Encoder(this.#state, this.#inlineBufferMax, kinds);
    this.#encoder = undefined;
    try {
      return encoder.encode(value, context);
    } catch (error) {
      if (isTrayError(error)) throw error;
      throw new TrayError("SERIALIZATION", `cannot serialize: ${messageOf(error)}`, { cause: error });
    } finally {
      this.#encoder = encoder;
    }
  }

  /** Typed arrays are views over `flat` where alignment allows (`flat` at a multiple of 8), unless `copyBuffers`. */
  deserialize(flat: Uint8Array, context?: unknown, options?: DeserializeOptions): unknown {
    try {
      const container = readContainer(flat, options?.copyBuffers === true);
      const job: DecodeJob = { state: this.#state, context, readSpecial, classes: new ClassLoader(container.classes) };
      return new Decoder(container, job).readRoot();
    } catch (error) {
      if (isTrayError(error)) throw error;
      throw new TrayError("SERIALIZATION", `cannot deserialize: ${messageOf(error)}`, { cause: error });
    }
  }

  /** Whether `prepare` has anything to do for this value; costs one byte's look. */
  needsPreparation(flat: Uint8Array): boolean {
    return flat.byteLength >= prefixBytes && ((flat[1] ?? 0) & flagModules) !== 0;
  }

  /**
   * Loads, by `import()`, the ES modules that functions and classes in the value were captured with. Without it `deserialize` loads them by `require`,
   * which Node does for ES modules without top-level await only, and which loaders such as tsx answer with a second copy of the module.
   */
  async prepare(flat: Uint8Array): Promise<void> {
    const container = readContainer(flat, true);
    const loads = container.modules.map((ref) => this.#state.host.prepare(ref));
    for (const { id, blob } of container.classes) {
      if (blob.byteLength > 0 && this.#state.classById(id) === undefined && this.needsPreparation(blob)) loads.push(this.prepare(blob));
    }
    await Promise.all(loads);
  }

  /** A function or class with everything it captures. Captured variables are snapshotted now; the caller caches the result. */
  serializeFunction(fn: Function, context?: unknown): SerializedFunction {
    if (typeof fn !== "function") throw new TrayError("SERIALIZATION", `a function was expected, not ${typeof fn}`);
    const blob = withSerializers(this.exportSerializers(), flatten(this.serialize(fn, context)));
    return { blob, hash: createHash("sha256").update(blob).digest("hex"), name: fn.name };
  }

  /** Synchronous: ES modules it needs must have been prepared, or be loadable by `require`. Better await `prepareFunction`. */
  deserializeFunction(blob: Uint8Array, context?: unknown): Function {
    const { serializers, own } = splitSerializers(blob);
    if (serializers !== undefined) this.#import(serializers);
    const value = this.deserialize(own, context, { copyBuffers: true });
    if (typeof value !== "function") throw corrupt("a function was expected");
    return value;
  }

  async prepareFunction(blob: Uint8Array, context?: unknown): Promise<Function> {
    const { serializers, own } = splitSerializers(blob);
    if (serializers !== undefined) await this.importSerializers(serializers);
    if (this.needsPreparation(own)) await this.prepare(own);
    return this.deserializeFunction(own, context);
  }

  /** Instances of `cls` itself (not of subclasses) travel as what `serialize` makes of them. The last registration of a class counts. */
  registerSerializer<T extends object, S>(cls: abstract new (...args: never[]) => T, codec: ClassSerializer<T, S>): void {
    checkSerializer(cls, codec);
    this.#register({
      key: `${this.#idPrefix}:${this.#state.registeredByKey.size}`,
      cls,
      byItself: registersItself(cls),
      serialize: (value) => codec.serialize(value as T),
      deserialize: (data) => codec.deserialize(data as S),
      codec,
    });
  }

  #register(entry: Registration): void {
    this.#state.registeredByClass.set(entry.cls, entry);
    this.#state.registeredByKey.set(entry.key, entry);
  }

  /** All registered serializers, to be given to `importSerializers` in the job's workers; undefined when there are none. */
  exportSerializers(): Uint8Array | undefined {
    const entries = ([...this.#state.registeredByClass.values()] as Registration[]).filter(({ byItself }) => !byItself);
    if (entries.length === 0) return undefined;
    return flatten(this.serialize(entries.map(({ key, cls, codec }) => ({ key, cls, serialize: codec.serialize, deserialize: codec.deserialize }))));
  }

  async importSerializers(blob: Uint8Array): Promise<void> {
    if (this.needsPreparation(blob)) await this.prepare(blob);
    this.#import(blob);
  }

  #import(blob: Uint8Array): void {
    const entries = this.deserialize(blob, undefined, { copyBuffers: true }) as (ClassSerializer<unknown, unknown> & {
      key: string;
      cls: Function;
    })[];
    for (const { key, cls, serialize, deserialize } of entries) {
      if (this.#state.registeredByKey.has(key)) continue;
      this.#register({ key, cls, byItself: false, serialize, deserialize, codec: { serialize, deserialize } });
    }
  }
}

/** @throws INVALID_ARGUMENT `cls` is no class, or `codec` lacks a function. */
export function checkSerializer(cls: unknown, codec: Partial<Record<"serialize" | "deserialize", unknown>>): void {
  if (typeof cls !== "function" || typeof cls.prototype !== "object") throw new TrayError("INVALID_ARGUMENT", "registerSerializer takes a class");
  for (const name of ["serialize", "deserialize"] as const) {
    if (typeof codec[name] !== "function") throw new TrayError("INVALID_ARGUMENT", `registerSerializer(${cls.name}): ${name} is no function`);
  }
}

/** In a static block, most likely, which runs wherever the class is revived or imported: nothing has to travel beside the class. */
const registersItself = (cls: Function): boolean => /\bregisterSerializer\s*\(/.test(Function.prototype.toString.call(cls));

// A function takes the serializers that are registered when it is serialized along, in front of itself, so that its captured values, its arguments
// and its results can use them where it runs:  mark u8 | bytes of the serializers u32 | serializers | function.  No container begins with the mark.
const serializersMark = 0xf5;
const serializersPrefixBytes = 5;

function withSerializers(serializers: Uint8Array | undefined, own: Uint8Array): Uint8Array {
  if (serializers === undefined) return own;
  const blob = new Uint8Array(serializersPrefixBytes + serializers.byteLength + own.byteLength);
  blob[0] = serializersMark;
  new DataView(blob.buffer).setUint32(1, serializers.byteLength, true);
  blob.set(serializers, serializersPrefixBytes);
  blob.set(own, serializersPrefixBytes + serializers.byteLength);
  return blob;
}

function splitSerializers(blob: Uint8Array): { serializers: Uint8Array | undefined; own: Uint8Array } {
  if (blob[0] !== serializersMark || blob.byteLength < serializersPrefixBytes) return { serializers: undefined, own: blob };
  const end = serializersPrefixBytes + new DataView(blob.buffer, blob.byteOffset, blob.byteLength).getUint32(1, true);
  return { serializers: blob.subarray(serializersPrefixBytes, end), own: blob.subarray(end) };
}

interface Registration extends RegisteredSerializer {
  /** As given: what is exported. */
  readonly codec: { readonly serialize: Function; readonly deserialize: Function };
}
