// Objects that every process has: the language's built-ins and Node's modules. They travel by name and keep their identity.
import { createRequire, isBuiltin } from "node:module";

/** Roots that are looked into although they are accessors, which are not read otherwise: reading some (localStorage) has effects. */
const accessorRoots = new Set(["crypto", "performance", "navigator", "process", "Buffer"]);
const pathOf = new Map<unknown, string>();
const valueOf = new Map<string, unknown>();

/** Web-platform singletons hold native state but are globals everywhere; everything else of theirs is reached through them. */
function note(path: string, value: unknown): boolean {
  if ((typeof value !== "object" && typeof value !== "function") || value === null || pathOf.has(value)) return false;
  pathOf.set(value, path);
  valueOf.set(path, value);
  return true;
}

function noteMembers(path: string, owner: object, depth: number): void {
  for (const key of Object.getOwnPropertyNames(owner)) {
    const descriptor = Object.getOwnPropertyDescriptor(owner, key);
    if (descriptor === undefined || !("value" in descriptor) || key === "constructor") continue;
    const { value } = descriptor as { value: unknown };
    if (note(`${path}.${key}`, value) && key === "prototype" && depth < 2) noteMembers(`${path}.${key}`, value as object, depth + 1);
  }
}

function collect(): void {
  for (const name of Object.getOwnPropertyNames(globalThis)) {
    const descriptor = Object.getOwnPropertyDescriptor(globalThis, name);
    if (descriptor === undefined) continue;
    // What a script declared at its top level cannot be configured; it is the user's, not the runtime's.
    if (!descriptor.configurable) continue;
    const value: unknown =
      "value" in descriptor ? descriptor.value : accessorRoots.has(name) ? (globalThis as Record<string, unknown>)[name] : undefined;
    if (value === globalThis) continue; // `global`: its members are those listed here
    const isRuntime =
      accessorRoots.has(name) || name === "console" || isNative(value) || Object.prototype.toString.call(value) === `[object ${name}]`;
    if (isRuntime && note(name, value)) noteMembers(name, value as object, 0);
  }
  note("globalThis", globalThis);
  note("TypedArray", Object.getPrototypeOf(Int8Array));
  // What iterators written by hand inherit from.
  const arrayIterator = Object.getPrototypeOf([][Symbol.iterator]()) as object;
  note("IteratorPrototype", Object.getPrototypeOf(arrayIterator));
  const asyncGenerator = Object.getPrototypeOf(async function* () {}) as { prototype: object };
  note("AsyncIteratorPrototype", Object.getPrototypeOf(asyncGenerator.prototype));
  note("GeneratorFunction", (Object.getPrototypeOf(function* () {}) as object).constructor);
  note("AsyncFunction", (Object.getPrototypeOf(async () => {}) as object).constructor);
}

/** A function without source of its own. */
export function isNative(value: unknown): boolean {
  return typeof value === "function" && /\{\s*\[native code\]\s*\}$/.test(Function.prototype.toString.call(value));
}

/** The name of a built-in object or function, such as "Math" or "Object.prototype.hasOwnProperty". */
export function wellKnownPath(value: unknown): string | undefined {
  if (pathOf.size === 0) collect();
  return pathOf.get(value);
}

export function wellKnownValue(path: string): unknown {
  if (pathOf.size === 0) collect();
  return valueOf.get(path) ?? platformGlobal(path);
}

/** A function of Node's own that is a global under its name: `Headers`, `EventTarget`. Many of these are loaded by being looked at, so no list is made. */
export function isPlatformGlobal(fn: Function): boolean {
  return fn.name !== "" && platformGlobal(fn.name) === fn;
}

function platformGlobal(name: string): Function | undefined {
  const value: unknown = /^[A-Z]\w*$/.test(name) ? (globalThis as Record<string, unknown>)[name] : undefined;
  return typeof value === "function" ? value : undefined;
}

export interface BuiltinExport {
  readonly specifier: string;
  /** "*" for the module itself. */
  readonly name: string;
}

const builtinExports = new Map<unknown, BuiltinExport>();
const seenModules = new Set<string>();

/** Which Node module an object or function is, or is exported by. Only modules that are loaded are searched: nothing is loaded for it. */
export function builtinExportOf(value: unknown): BuiltinExport | undefined {
  const loaded = (process as unknown as { moduleLoadList: readonly string[] }).moduleLoadList;
  if (loaded.length !== seenModules.size) {
    const require = createRequire("/");
    for (const entry of loaded) {
      if (seenModules.has(entry)) continue;
      seenModules.add(entry);
      const specifier = `node:${entry.replace(/^NativeModule /, "")}`;
      if (specifier.startsWith("node:internal/") || !isBuiltin(specifier) || /^node:(punycode|sys|_)/.test(specifier)) continue;
      noteModule(specifier, require(specifier) as unknown);
    }
  }
  return builtinExports.get(value);
}

function noteModule(specifier: string, module: unknown): void {
  if ((typeof module !== "object" && typeof module !== "function") || module === null) return;
  if (!builtinExports.has(module)) builtinExports.set(module, { specifier, name: "*" });
  for (const key of Object.keys(module)) {
    const descriptor = Object.getOwnPropertyDescriptor(module, key);
    const value: unknown = descriptor?.value;
    if ((typeof value === "object" || typeof value === "function") && value !== null && !builtinExports.has(value))
      builtinExports.set(value, { specifier, name: key });
  }
}

const intrinsics = new WeakMap<object, string>();

/** "Object", "Array", "Map", … if this is that built-in's prototype in any realm. */
export function intrinsicOf(prototype: object): string | undefined {
  const known = intrinsics.get(prototype);
  if (known !== undefined) return known === "" ? undefined : known;
  const constructor: unknown = Object.getOwnPropertyDescriptor(prototype, "constructor")?.value;
  const name =
    typeof constructor === "function" && isNative(constructor) && (constructor as { prototype?: unknown }).prototype === prototype
      ? constructor.name
      : "";
  const genuine =
    name !== "" &&
    (name !== "Object" || Object.getPrototypeOf(prototype) === null) &&
    typeof (globalThis as Record<string, unknown>)[name] === "function";
  intrinsics.set(prototype, genuine ? name : "");
  return genuine ? name : undefined;
}
