import { inspect } from "node:util";
import { TrayError } from "@tray/common";

/** Owners that stand for a way into a collection, or to a prototype; the key says which. */
export const inMap = Object.freeze({ at: "value" });
export const amongKeys = Object.freeze({ at: "key" });
export const inSet = Object.freeze({ at: "element" });
export const toPrototype = Object.freeze({ at: "prototype" });

/** A step that is not a property: shown as it is. */
export class Step {
  constructor(readonly label: string) {}
}

/** Of a longer way, its beginning and its end are shown. */
const shownStepsMax = 40;

/**
 * Where the encoder is: pairs of (object, key). Kept as plain pushes because it is maintained for every nested object; turned into text only for
 * an error, such as `captured variable 'db' → Pool.socket → native handle TCP`.
 */
export class ValuePath {
  #pairs: unknown[] = [];
  /** Entries in use; those beyond are left over, which is cheaper than shortening the array at each step back. */
  #length = 0;

  push(owner: object | undefined, key: unknown): void {
    this.#pairs[this.#length++] = owner;
    this.#pairs[this.#length++] = key;
  }

  pop(): void {
    this.#length -= 2;
  }

  get depth(): number {
    return this.#length;
  }
  backTo(depth: number): void {
    this.#length = depth;
  }

  clear(): void {
    if (this.#pairs.length > 0) this.#pairs = [];
    this.#length = 0;
  }

  copyFrom(other: ValuePath): void {
    this.#pairs = other.#pairs.slice(0, other.#length);
    this.#length = other.#length;
  }

  toString(): string {
    const parts: string[] = [];
    let current = "";
    const left = shownStepsMax / 2;
    for (let i = 0; i < this.#length; i += 2) {
      if (this.#length > shownStepsMax * 2 && i === left * 2) {
        current += " … ";
        i = this.#length - left * 2;
      }
      const owner = this.#pairs[i] as object | undefined;
      const key = this.#pairs[i + 1];
      if (key instanceof Step) {
        if (current !== "") parts.push(current);
        current = key.label;
        continue;
      }
      const special = specialSegment(owner, key);
      if (special !== undefined) {
        current = (current === "" ? "value" : current) + special;
        continue;
      }
      const className = owner === undefined ? "" : classNameOf(owner);
      if (current === "") current = className === "" ? "value" : className;
      else if (className !== "") {
        parts.push(current);
        current = className;
      }
      current += segment(key);
    }
    if (current !== "") parts.push(current);
    return parts.join(" → ");
  }
}

function specialSegment(owner: object | undefined, key: unknown): string | undefined {
  switch (owner) {
    case inMap:
      return `.get(${inspect(key, { depth: 0, breakLength: Number.POSITIVE_INFINITY })})`;
    case amongKeys:
      return ".keys()";
    case inSet:
      return ".values()";
    case toPrototype:
      return "'s prototype";
    default:
      return undefined;
  }
}

function segment(key: unknown): string {
  if (typeof key === "number") return `[${key}]`;
  if (typeof key === "symbol") return `[${String(key)}]`;
  const text = String(key);
  return /^[\p{ID_Start}$_#][\p{ID_Continue}$]*$/u.test(text) ? `.${text}` : `[${JSON.stringify(text)}]`;
}

/** The name of an object's class; "" for plain objects, arrays and functions. */
function classNameOf(owner: object): string {
  if (typeof owner === "function" || Array.isArray(owner)) return "";
  const prototype: unknown = Object.getPrototypeOf(owner);
  if (typeof prototype !== "object" || prototype === null) return "";
  const constructor: unknown = Object.getOwnPropertyDescriptor(prototype, "constructor")?.value;
  return typeof constructor === "function" && constructor.name !== "Object" ? constructor.name : "";
}

export function refusal(path: ValuePath, what: string): TrayError {
  const where = path.toString();
  return new TrayError("SERIALIZATION", where === "" ? what : `${where} → ${what}`);
}
