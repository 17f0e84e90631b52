// The reading side of special.ts.
import { corrupt } from "../wire/flat.js";
import * as tag from "../wire/tag.js";
import { readClass, readClassBody, readFunctionByValue, readModuleBinding, readModuleSpecial } from "../function/revive.js";
import { readArrow } from "./arrow.js";
import type { Decoder } from "./decoder.js";
import { restrict } from "./properties.js";
import { prototypeOf, readPrototype } from "./revive-prototype.js";
import { wellKnownValue } from "./well-known.js";

type Read = (decoder: Decoder) => unknown;

const readers = new Map<number, Read>([
  [tag.tagExtended, readExtended],
  [tag.tagInstance, readInstance],
  [tag.tagDate, (d) => d.note(new Date(d.reader.f64()))],
  [tag.tagRegExp, readRegExp],
  [tag.tagMap, readMap],
  [tag.tagSet, readSet],
  [tag.tagUrl, (d) => d.note(new URL(d.readString()))],
  [tag.tagUrlSearchParams, (d) => d.note(new URLSearchParams(d.readString()))],
  [tag.tagBoxed, readBoxed],
  [tag.tagError, readError],
  [tag.tagDomException, readDomException],
  [tag.tagArrayBuffer, (d) => d.note((d.container.binary ?? missing("binary data")).arrayBuffer())],
  [tag.tagView, (d) => d.note((d.container.binary ?? missing("binary data")).view(d.reader.u8(), d.reader.varint()))],
  [tag.tagWellKnown, readWellKnown],
  [tag.tagExtension, readExtension],
  [tag.tagRegistered, readRegistered],
  [tag.tagTextCodec, readTextCodec],
  [tag.tagArrow, readArrow],
  [tag.tagFunction, readFunctionByValue],
  [tag.tagClass, readClass],
  [tag.tagClassBody, readClassBody],
  [tag.tagModuleBinding, readModuleBinding],
  [tag.tagModuleSpecial, readModuleSpecial],
]);

export function readSpecial(decoder: Decoder, head: number): unknown {
  const read = readers.get(head);
  if (read === undefined) throw corrupt(`unknown tag ${head}`);
  return read(decoder);
}

function missing(what: string): never {
  throw corrupt(`the ${what} is missing`);
}

function readWellKnown(decoder: Decoder): unknown {
  const path = decoder.readString();
  const value = wellKnownValue(path);
  if (value === undefined) throw corrupt(`this runtime has no ${path}`);
  return decoder.note(value);
}

function readRegExp(decoder: Decoder): RegExp {
  const regExp = decoder.note(new RegExp(decoder.readString(), decoder.readString()));
  const lastIndex = decoder.read();
  if (typeof lastIndex !== "number") throw corrupt("a number was expected");
  regExp.lastIndex = lastIndex;
  return regExp;
}

function readMap(decoder: Decoder): Map<unknown, unknown> {
  const map = decoder.note(new Map<unknown, unknown>());
  for (let left = decoder.reader.count(2); left > 0; left--) map.set(decoder.read(), decoder.read());
  return map;
}

function readSet(decoder: Decoder): Set<unknown> {
  const set = decoder.note(new Set<unknown>());
  for (let left = decoder.reader.count(); left > 0; left--) set.add(decoder.read());
  return set;
}

function readBoxed(decoder: Decoder): object {
  const index = decoder.reserve();
  const value = decoder.read();
  if (value === undefined || value === null) throw corrupt("a primitive was expected");
  return decoder.settle(index, Object(value) as object);
}

function readTextCodec(decoder: Decoder): object {
  const encoding = decoder.readString();
  const flags = decoder.reader.u8();
  return decoder.note(encoding === "" ? new TextEncoder() : new TextDecoder(encoding, { fatal: (flags & 1) !== 0, ignoreBOM: (flags & 2) !== 0 }));
}

function readInstance(decoder: Decoder): object {
  const index = decoder.reserve();
  const instance = decoder.settle(index, Object.create(readPrototype(decoder)) as object);
  const integrity = decoder.reader.u8();
  const head = decoder.reader.u8();
  if (head === tag.tagDescribed) decoder.properties(instance);
  else if (head === tag.tagShaped || head === tag.tagNewShape) decoder.fields(head, instance);
  else throw corrupt("fields were expected");
  restrict(instance, integrity);
  return instance;
}

function readExtended(decoder: Decoder): unknown {
  const integrity = decoder.reader.u8();
  const value = decoder.read();
  if ((typeof value !== "object" && typeof value !== "function") || value === null) throw corrupt("an object was expected");
  if (decoder.reader.u8() === 1) Object.setPrototypeOf(value, readPrototype(decoder));
  decoder.properties(value);
  restrict(value, integrity);
  return value;
}

function bareError(): Error {
  // The stack comes from the data; walking this one would cost more than everything else here.
  const limit = Error.stackTraceLimit;
  Error.stackTraceLimit = 0;
  const error = new Error();
  Error.stackTraceLimit = limit;
  return error;
}

function readError(decoder: Decoder): Error {
  const error = decoder.note(bareError());
  const prototype = prototypeOf(decoder.readFunction());
  if (prototype !== Error.prototype) Object.setPrototypeOf(error, prototype);
  const stack = decoder.read();
  Object.defineProperty(error, "stack", { value: stack, writable: true, configurable: true, enumerable: false });
  const name = decoder.read();
  if (typeof name === "string") Object.defineProperty(error, "name", { value: name, writable: true, configurable: true, enumerable: false });
  decoder.properties(error);
  return error;
}

function readDomException(decoder: Decoder): DOMException {
  const exception = decoder.note(new DOMException(decoder.readString(), decoder.readString()));
  Object.defineProperty(exception, "stack", { value: decoder.readString(), writable: true, configurable: true, enumerable: false });
  return exception;
}

function readExtension(decoder: Decoder): object {
  const index = decoder.reserve();
  const name = decoder.readString();
  const extension = decoder.job.state.extensionsByTag.get(name);
  if (extension === undefined) throw corrupt(`no extension ${name} here`);
  return decoder.settle(index, extension.decode(decoder.read(), decoder.job.context));
}

function readRegistered(decoder: Decoder): unknown {
  const index = decoder.reserve();
  const key = decoder.readString();
  const { registeredByClass, registeredByKey } = decoder.job.state;
  const cls = key === tag.byItsClass ? decoder.read() : undefined;
  const data = decoder.read();
  const registered = typeof cls === "function" ? registeredByClass.get(cls) : registeredByKey.get(key);
  if (registered === undefined && typeof cls === "function")
    throw corrupt(`class ${cls.name} has not registered its serializer here, as it did where the value comes from; do it in a static block`);
  if (registered === undefined) throw corrupt(`no serializer registered as ${key} here; call tray.registerSerializer before submitting`);
  return decoder.settle(index, registered.deserialize(data));
}
