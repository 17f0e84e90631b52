// Objects that are not plain: built-in kinds, class instances, errors, and what must be refused.
import { inspect, types } from "node:util";
import { messageOf } from "@tray/common";
import { type ClassTrait, classTrait } from "../function/class-trait.js";
import type { RegisteredSerializer } from "../state.js";
import * as tag from "../wire/tag.js";
import { writeArrow } from "./arrow.js";
import { constructorOfKind, kindOfView } from "./binary.js";
import type { Encoder } from "./encoder.js";
import { amongKeys, inMap, inSet, toPrototype } from "./path.js";
import { integrityOf, isArrayIndex, plainKeys, prototypeNull, prototypeObject, prototypeOfClass, prototypeValue } from "./properties.js";
import { builtinExportOf, intrinsicOf, isNative, wellKnownPath } from "./well-known.js";

/** Writes an object whose number is already given (writeKnown). */
export function writeSpecial(encoder: Encoder, value: object, prototype: object | null): void {
  if (prototype !== Object.prototype && encoder.writeExtension(value)) return;
  if (writeRegistered(encoder, value, prototype) || writeShared(encoder, value)) return;
  const kind = prototype === null ? undefined : intrinsicOf(prototype);
  const write = builtinKindOf(value);
  if (write === undefined) return writeInstance(encoder, value, prototype);
  const extraKeys = write.extraKeys(value);
  const integrity = ArrayBuffer.isView(value) ? 0 : integrityOf(value);
  const isGenuine = write.isGenuine(value, kind, prototype);
  if (isGenuine && extraKeys.length === 0 && integrity === 0) return write.write(encoder, value);
  const { writer } = encoder;
  writer.u8(tag.tagExtended);
  writer.u8(integrity);
  write.write(encoder, value);
  writer.u8(isGenuine ? 0 : 1);
  if (!isGenuine) writePrototype(encoder, value, prototype);
  encoder.properties(value, extraKeys);
}

/** What exists in every process goes by name. */
function writeShared(encoder: Encoder, value: object): boolean {
  const { writer, state } = encoder;
  const path = wellKnownPath(value);
  if (path !== undefined) {
    writer.u8(tag.tagWellKnown);
    writer.string(path);
    return true;
  }
  const builtin = builtinExportOf(value);
  const origin = state.provenance.get(value);
  if (builtin === undefined && !(origin !== undefined && types.isModuleNamespaceObject(value))) return false;
  const ref = builtin === undefined ? origin?.ref : state.host.referToImport(builtin.specifier, "", "require");
  if (ref === undefined) return false;
  writer.u8(tag.tagModuleBinding);
  writer.varint(encoder.moduleIndex(ref));
  writer.string(builtin?.name ?? origin?.name ?? "*");
  return true;
}

function writeRegistered(encoder: Encoder, value: object, prototype: object | null): boolean {
  const { state, writer } = encoder;
  if (state.registeredByClass.size === 0 || prototype === null) return false;
  const cls: unknown = Object.getOwnPropertyDescriptor(prototype, "constructor")?.value;
  const registered = typeof cls === "function" ? state.registeredByClass.get(cls) : undefined;
  if (registered === undefined) return false;
  writer.u8(tag.tagRegistered);
  if (registered.byItself) {
    writer.string(tag.byItsClass);
    encoder.write(registered.cls);
  } else writer.string(registered.key);
  encoder.whileOpaque(value, () => encoder.writeAt(value, "serialize()", serialized(encoder, registered, value)));
  return true;
}

function serialized(encoder: Encoder, registered: RegisteredSerializer, value: object): unknown {
  try {
    return registered.serialize(value);
  } catch (error) {
    return encoder.refuse(`the serializer registered for ${registered.cls.name} threw: ${messageOf(error)}`);
  }
}

interface BuiltinKind {
  /** Whether the object has just the prototype and class that reviving gives it. */
  isGenuine(value: object, intrinsic: string | undefined, prototype: object | null): boolean;
  extraKeys(value: object): (string | symbol)[];
  write(encoder: Encoder, value: object): void;
}

const ownKeys = (value: object): (string | symbol)[] => Reflect.ownKeys(value);
const named =
  (name: string) =>
  (_value: object, intrinsic: string | undefined): boolean =>
    intrinsic === name;

function kind(name: string, write: BuiltinKind["write"], extraKeys = ownKeys): BuiltinKind {
  return { isGenuine: named(name), extraKeys, write };
}

const notElements = (value: object): (string | symbol)[] =>
  Reflect.ownKeys(value).filter((key) => key !== "length" && (typeof key === "symbol" || !isArrayIndex(key)));

const dateKind = kind("Date", (encoder, value: Date) => {
  encoder.writer.u8(tag.tagDate);
  encoder.writer.f64(Date.prototype.getTime.call(value));
});
const regExpKind = kind(
  "RegExp",
  ({ writer }, value: RegExp) => {
    writer.u8(tag.tagRegExp);
    writer.string(value.source);
    writer.string(value.flags);
    writer.number(value.lastIndex);
  },
  (value) => Reflect.ownKeys(value).filter((key) => key !== "lastIndex"),
);
const mapKind = kind("Map", (encoder, value: Map<unknown, unknown>) => {
  encoder.writer.u8(tag.tagMap);
  encoder.writer.varint(sizeOf(Map.prototype, value));
  // By the prototype's own method: a subclass may iterate otherwise.
  Map.prototype.forEach.call(value, (item, key) => {
    encoder.writeAt(amongKeys, undefined, key);
    encoder.writeAt(inMap, key, item);
  });
});
const setKind = kind("Set", (encoder, value: Set<unknown>) => {
  encoder.writer.u8(tag.tagSet);
  encoder.writer.varint(sizeOf(Set.prototype, value));
  Set.prototype.forEach.call(value, (item) => encoder.writeAt(inSet, undefined, item));
});
const arrayKind = kind("Array", (encoder, value: unknown[]) => encoder.array(value), notElements);
const boxedKind: BuiltinKind = {
  isGenuine: (value, intrinsic) => intrinsic === Object.prototype.toString.call(value).slice(8, -1),
  extraKeys: (value) => (types.isStringObject(value) ? notElements(value) : Reflect.ownKeys(value)),
  write: (encoder, value: object) => {
    encoder.writer.u8(tag.tagBoxed);
    encoder.write(unboxed(value));
  },
};
const viewKind: BuiltinKind = {
  isGenuine: (value, intrinsic, prototype) => {
    const expected = constructorOfKind(kindOfView(value as NodeJS.ArrayBufferView));
    return prototype === expected.prototype || intrinsic === (expected as unknown as Function).name;
  },
  extraKeys: (value) => {
    const prototype: unknown = Object.getPrototypeOf(value);
    const expected = constructorOfKind(kindOfView(value as NodeJS.ArrayBufferView)).prototype;
    // Listing the keys of a view lists its elements: done only for subclasses, which may have fields.
    return prototype === expected || (value as NodeJS.ArrayBufferView).byteLength > 4096 ? Object.getOwnPropertySymbols(value) : notElements(value);
  },
  write: (encoder, value: NodeJS.ArrayBufferView & { length?: number }) => {
    const { writer, binary } = encoder;
    const viewed = kindOfView(value);
    refuseUnshippableMemory(encoder, value.buffer);
    writer.u8(tag.tagView);
    writer.u8(viewed);
    writer.varint(viewed === 0 ? value.byteLength : (value.length ?? 0));
    binary.add(value.buffer, value.byteOffset, value.byteLength, false);
  },
};
const arrayBufferKind: BuiltinKind = {
  isGenuine: named("ArrayBuffer"),
  extraKeys: ownKeys,
  write: (encoder, value: ArrayBuffer) => {
    const { writer, binary } = encoder;
    refuseUnshippableMemory(encoder, value);
    writer.u8(tag.tagArrayBuffer);
    binary.add(value, 0, value.byteLength, true);
  },
};

/** Who shares memory counts on seeing the other's writes, which a copy in another process never would. */
function refuseUnshippableMemory(encoder: Encoder, memory: ArrayBufferLike): void {
  if (types.isSharedArrayBuffer(memory)) encoder.refuse("a SharedArrayBuffer, which other processes cannot share; pass a copy (`array.slice()`)");
  if (memory.byteLength === 0 && isDetached(memory)) encoder.refuse("an ArrayBuffer that was transferred elsewhere");
}

function isDetached(memory: ArrayBuffer): boolean {
  try {
    return new Uint8Array(memory).byteLength !== 0;
  } catch {
    return true; // no view can be made of it
  }
}

const errorKind: BuiltinKind = { isGenuine: () => true, extraKeys: () => [], write: (encoder, value: Error) => writeError(encoder, value) };
const argumentsKind: BuiltinKind = {
  isGenuine: () => true,
  extraKeys: () => [],
  write: (encoder, value: ArrayLike<unknown>) => encoder.array(Array.from(value)),
};

function sizeOf(prototype: object, value: object): number {
  return Reflect.get(prototype, "size", value) as number;
}

function unboxed(value: object): unknown {
  if (types.isStringObject(value)) return String.prototype.valueOf.call(value);
  if (types.isNumberObject(value)) return Number.prototype.valueOf.call(value);
  if (types.isBooleanObject(value)) return Boolean.prototype.valueOf.call(value);
  if (types.isBigIntObject(value)) return BigInt.prototype.valueOf.call(value);
  return Symbol.prototype.valueOf.call(value);
}

const urlKind: BuiltinKind = {
  isGenuine: (_value, _intrinsic, prototype) => prototype === URL.prototype,
  extraKeys: ownKeys,
  write: ({ writer }, value: object) => {
    writer.u8(tag.tagUrl);
    writer.string((value as URL).href);
  },
};

function builtinKindOf(value: object): BuiltinKind | undefined {
  if (Array.isArray(value)) return arrayKind;
  if (ArrayBuffer.isView(value)) return viewKind;
  if (types.isMap(value)) return mapKind;
  if (types.isSet(value)) return setKind;
  if (types.isDate(value)) return dateKind;
  if (types.isNativeError(value)) return errorKind;
  if (types.isRegExp(value)) return regExpKind;
  if (types.isAnyArrayBuffer(value)) return arrayBufferKind;
  if (types.isBoxedPrimitive(value)) return boxedKind;
  if (types.isArgumentsObject(value)) return argumentsKind;
  return webKindOf(value);
}

/** Node's own classes of the web platform whose state can be told: by their brand checks, not by prototype alone. */
function webKindOf(value: object): BuiltinKind | undefined {
  const genuine = (write: BuiltinKind["write"]): BuiltinKind => ({ isGenuine: () => true, extraKeys: () => [], write });
  if (value instanceof URL) return urlKind;
  if (value instanceof URLSearchParams) {
    return genuine(({ writer }) => {
      writer.u8(tag.tagUrlSearchParams);
      writer.string(value.toString());
    });
  }
  if (typeof DOMException === "function" && value instanceof DOMException) {
    return genuine(({ writer }) => {
      writer.u8(tag.tagDomException);
      writer.string(value.message);
      writer.string(value.name);
      writer.string(String(value.stack));
    });
  }
  if (value instanceof TextEncoder || value instanceof TextDecoder) {
    return genuine(({ writer }) => {
      writer.u8(tag.tagTextCodec);
      writer.string(value instanceof TextDecoder ? value.encoding : "");
      writer.u8(value instanceof TextDecoder ? (value.fatal ? 1 : 0) | (value.ignoreBOM ? 2 : 0) : 0);
    });
  }
  return undefined;
}

function refusedKind(value: object): string | undefined {
  if (types.isPromise(value)) return "a Promise; await it first";
  if (types.isWeakMap(value)) return "a WeakMap";
  if (types.isWeakSet(value)) return "a WeakSet";
  if (types.isGeneratorObject(value)) return 'a running generator; a task streams one with numReturns: "streaming"';
  if (types.isMapIterator(value) || types.isSetIterator(value) || isBuiltinIterator(value)) return "an iterator; pass an array of what it gives";
  if (types.isExternal(value)) return "native handle External; create it inside the task";
  if (types.isModuleNamespaceObject(value)) return "a module namespace; import the module inside the task";
  return undefined;
}

/** Iterators of arrays, strings and matches, and what iterator helpers make: their state cannot be seen. */
function isBuiltinIterator(value: object): boolean {
  return (
    /^\[object (?!Generator)\w+( \w+)* (Iterator|Helper)\]$/.test(Object.prototype.toString.call(value)) &&
    isNative((value as { next?: unknown }).next)
  );
}

function writeInstance(encoder: Encoder, value: object, prototype: object | null): void {
  const refused = refusedKind(value);
  if (refused !== undefined) encoder.refuse(refused);
  if (writeArrow(encoder, value)) return;
  const { writer } = encoder;
  writer.u8(tag.tagInstance);
  writePrototype(encoder, value, prototype);
  const integrity = integrityOf(value);
  writer.u8(integrity);
  const keys = plainKeys(value);
  if (keys !== undefined) return encoder.fields(value as Record<string, unknown>, keys, tag.tagShaped, tag.tagNewShape);
  writer.u8(tag.tagDescribed);
  encoder.properties(value, Reflect.ownKeys(value));
}

export function writePrototype(encoder: Encoder, value: object, prototype: object | null): void {
  const { writer } = encoder;
  if (prototype === null) return writer.u8(prototypeNull);
  if (prototype === Object.prototype || intrinsicOf(prototype) === "Object") return writer.u8(prototypeObject);
  const trait = classTrait(encoder.state, prototype);
  if (trait.cls === undefined) {
    writer.u8(prototypeValue);
    return encoder.writeAt(toPrototype, undefined, prototype);
  }
  refuseTrait(encoder, value, trait);
  writer.u8(prototypeOfClass);
  encoder.writeClassReference(trait.cls);
}

function refuseTrait(encoder: Encoder, value: object, trait: ClassTrait): void {
  if (trait.native !== undefined) {
    // Sockets and servers keep the native object here; its name says more than theirs.
    const handle = (value as { _handle?: unknown })._handle;
    const holder = typeof handle === "object" && handle !== null ? handle.constructor.name : trait.native;
    encoder.refuse(`native handle ${holder}; create it inside the task`);
  }
  if (trait.privateIn !== undefined) {
    encoder.refuse(
      `an instance of ${trait.cls?.name ?? "a class"}, which has private #members in ${trait.privateIn} that cannot be read from outside; let the class register a serializer in a static block (tray.registerSerializer)`,
    );
  }
}

function writeError(encoder: Encoder, error: Error): void {
  const { writer, state } = encoder;
  writer.u8(tag.tagError);
  // Errors must get through: when the very class cannot be shipped, the nearest ancestor that can stands in, under the same name.
  let prototype = Object.getPrototypeOf(error) as object | null;
  let cls: Function = Error;
  for (; prototype !== null; prototype = Object.getPrototypeOf(prototype) as object | null) {
    const trait = classTrait(state, prototype);
    if (trait.cls === undefined || trait.internal || trait.privateIn !== undefined || trait.native !== undefined) continue;
    if (trait.cls !== Error && !encoder.canShip(trait.cls)) continue;
    cls = trait.cls;
    break;
  }
  encoder.writeClassReference(cls);
  const stack = state.stackOf(error);
  encoder.write(typeof stack === "string" ? stack : undefined);
  const keys = Reflect.ownKeys(error).filter((key) => key !== "stack");
  const standsIn = prototype !== Object.getPrototypeOf(error) && !keys.includes("name");
  encoder.write(standsIn ? String(error.name) : undefined);
  encoder.properties(error, keys, (value) => (isErrorOrErrors(value) || encoder.canShip(value) ? value : inspect(value, { depth: 0 })));
}

/** These are written without a trial, which for a chain of causes would double at each link. */
function isErrorOrErrors(value: unknown): boolean {
  return types.isNativeError(value) || (Array.isArray(value) && value.every((item) => types.isNativeError(item)));
}
