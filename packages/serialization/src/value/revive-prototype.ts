import { corrupt } from "../wire/flat.js";
import type { Decoder } from "./decoder.js";
import { prototypeNull, prototypeObject, prototypeOfClass, prototypeValue } from "./properties.js";

export function readPrototype(decoder: Decoder): object | null {
  const kind = decoder.reader.u8();
  if (kind === prototypeObject) return Object.prototype;
  if (kind === prototypeNull) return null;
  if (kind === prototypeOfClass) return prototypeOf(decoder.readFunction());
  const value = kind === prototypeValue ? decoder.read() : undefined;
  if (typeof value !== "object" || value === null) throw corrupt("a prototype was expected");
  return value;
}

export function prototypeOf(cls: Function): object {
  const prototype: unknown = cls.prototype;
  if (typeof prototype !== "object" || prototype === null) throw corrupt("a class was expected");
  return prototype;
}
