// Property descriptors and symbols in the form in which they travel.

const writableFlag = 1;
const enumerableFlag = 2;
const configurableFlag = 4;
export const accessorFlag = 8;

export function isPlainDescriptor(descriptor: PropertyDescriptor | undefined): boolean {
  return descriptor !== undefined && descriptor.writable === true && descriptor.configurable === true && descriptor.enumerable === true;
}

export function descriptorFlags(descriptor: PropertyDescriptor): number {
  return (
    (descriptor.writable === true ? writableFlag : 0) |
    (descriptor.enumerable === true ? enumerableFlag : 0) |
    (descriptor.configurable === true ? configurableFlag : 0) |
    (descriptor.get !== undefined || descriptor.set !== undefined ? accessorFlag : 0)
  );
}

export function defineProperty(owner: object, key: string | symbol, flags: number, value: unknown, setter: unknown): void {
  const common = { enumerable: (flags & enumerableFlag) !== 0, configurable: (flags & configurableFlag) !== 0 };
  Object.defineProperty(
    owner,
    key,
    (flags & accessorFlag) === 0
      ? { ...common, value, writable: (flags & writableFlag) !== 0 }
      : { ...common, get: value as (() => unknown) | undefined, set: setter as ((value: unknown) => void) | undefined },
  );
}

const knownSymbols = new Map<symbol, string>();
for (const name of Object.getOwnPropertyNames(Symbol)) {
  const value: unknown = (Symbol as unknown as Record<string, unknown>)[name];
  if (typeof value === "symbol") knownSymbols.set(value, name);
}

/** "iterator" for `Symbol.iterator`, and so on. */
export function wellKnownSymbolName(symbol: symbol): string | undefined {
  return knownSymbols.get(symbol);
}

export function wellKnownSymbol(name: string): symbol | undefined {
  for (const [symbol, known] of knownSymbols) if (known === name) return symbol;
  return undefined;
}

/** Whether an object may still change, most to least. */
export const integrityOpen = 0;
export const integrityNonExtensible = 1;
export const integritySealed = 2;
export const integrityFrozen = 3;

export function integrityOf(value: object): number {
  if (Object.isExtensible(value)) return integrityOpen;
  return Object.isFrozen(value) ? integrityFrozen : Object.isSealed(value) ? integritySealed : integrityNonExtensible;
}

export function restrict(value: object, integrity: number): void {
  if (integrity === integrityFrozen) Object.freeze(value);
  else if (integrity === integritySealed) Object.seal(value);
  else if (integrity === integrityNonExtensible) Object.preventExtensions(value);
}

/** The keys of an object that holds nothing but plain data properties; undefined if it needs descriptors. */
export function plainKeys(value: object): string[] | undefined {
  if (!Object.isExtensible(value)) return undefined;
  const keys = Object.getOwnPropertyNames(value);
  if (Object.getOwnPropertySymbols(value).length > 0) return undefined;
  for (const key of keys) if (!isPlainDescriptor(Object.getOwnPropertyDescriptor(value, key))) return undefined;
  return keys;
}

export function isArrayIndex(key: string): boolean {
  const index = Number(key);
  return Number.isInteger(index) && index >= 0 && index < 0xffff_ffff && String(index) === key;
}

/** How a prototype is told; part of the wire format. */
export const prototypeObject = 0;
export const prototypeNull = 1;
export const prototypeOfClass = 2;
export const prototypeValue = 3;
