// The reading side of closure.ts: functions, classes with their identity, bindings of modules.
import { dirname } from "node:path";
import { pathToFileURL } from "node:url";
import { type ModuleRef, namespaceOf } from "../module-host.js";
import type { Decoder } from "../value/decoder.js";
import { defineProperty } from "../value/properties.js";
import { readPrototype } from "../value/revive-prototype.js";
import { corrupt } from "../wire/flat.js";
import { type CompiledUnit, compileUnit } from "./compile.js";
import * as special from "./closure.js";
import type { UnitScript } from "./code-unit.js";

function compiled(decoder: Decoder): CompiledUnit {
  if (decoder.compiled === undefined) {
    const { unit } = decoder.container;
    if (unit === undefined) throw corrupt("the code is missing");
    const { host } = decoder.job.state;
    const localFile = (script: UnitScript): string => {
      if (script.file === "") return script.url;
      const path = host.pathOf({ kind: "file", specifier: script.file, from: "", loader: "import" });
      if (!script.isLoadable) return path;
      // Node maps stack frames by file name: with the module's source map, if tsx has loaded the file as one, though this code stands where its author
      // put it (layout.ts). So it goes by another name of the same file.
      const url = pathToFileURL(path).href;
      return `${url.slice(0, url.lastIndexOf("/"))}/./${url.slice(url.lastIndexOf("/") + 1)}`;
    };
    decoder.compiled = compileUnit(unit, localFile);
  }
  return decoder.compiled;
}

function make(decoder: Decoder, index: number, superClass: unknown): Function {
  const maker = compiled(decoder).make[index];
  const fn: unknown = maker?.(superClass);
  if (typeof fn !== "function") throw corrupt("a function was expected");
  return fn;
}

function readCells(decoder: Decoder): void {
  const { set } = compiled(decoder);
  for (let left = decoder.reader.count(2); left > 0; left--) {
    const assign = set[decoder.reader.varint()];
    if (assign === undefined) throw corrupt("no such variable");
    decoder.readInto(assign);
  }
}

function rename(fn: Function, name: string): void {
  if (fn.name !== name && Object.getOwnPropertyDescriptor(fn, "name")?.configurable !== false) {
    Object.defineProperty(fn, "name", { value: name, configurable: true, writable: false, enumerable: false });
  }
}

export function readFunctionByValue(decoder: Decoder): Function {
  const number = decoder.reserve();
  const index = decoder.reader.varint();
  const name = decoder.readString();
  const fn = make(decoder, index, undefined);
  rename(fn, name);
  decoder.settle(number, fn);
  readCells(decoder);
  decoder.properties(fn);
  return fn;
}

export function readClass(decoder: Decoder): Function {
  const number = decoder.reserve();
  const entry = decoder.container.classes[decoder.reader.varint()];
  if (entry === undefined) throw corrupt("no such class");
  return decoder.settle(number, decoder.job.classes.load(entry.id, decoder.job));
}

export function readClassBody(decoder: Decoder): Function {
  const { defining } = decoder;
  if (defining === undefined) throw corrupt("a class outside its container");
  const number = decoder.reserve();
  const index = decoder.reader.varint();
  const name = decoder.readString();
  const superClass = decoder.read();
  readCells(decoder);
  const cls = make(decoder, index, superClass);
  const isClass = decoder.container.unit?.functions[index]?.kind === "class";
  if (!isClass && typeof superClass === "function") Object.setPrototypeOf(cls, superClass);
  if (typeof Object.getOwnPropertyDescriptor(cls, "name")?.value === "string") rename(cls, name);
  decoder.job.state.noteClass(cls, defining.id, defining.blob, defining.dependencies);
  decoder.settle(number, cls);
  decoder.job.classes.defined(defining.id, cls);
  readCells(decoder);
  decoder.properties(cls);
  decoder.properties(cls.prototype as object);
  if (decoder.reader.u8() === 1) Object.setPrototypeOf(cls.prototype as object, readPrototype(decoder));
  return cls;
}

function moduleAt(decoder: Decoder, index: number): ModuleRef {
  const ref = decoder.container.modules[index];
  if (ref === undefined) throw corrupt("no such module");
  return ref;
}

function remember(decoder: Decoder, value: unknown, ref: ModuleRef, name: string): void {
  if (ref.kind === "builtin" || ((typeof value !== "object" || value === null) && typeof value !== "function")) return;
  decoder.job.state.provenance.set(value, { ref, name });
}

export function readModuleBinding(decoder: Decoder): unknown {
  const number = decoder.reserve();
  const ref = moduleAt(decoder, decoder.reader.varint());
  const name = decoder.readString();
  const value = decoder.job.state.host.binding(ref, name);
  if (value === undefined) throw corrupt(`module ${ref.specifier} has no export ${name}`);
  remember(decoder, value, ref, name);
  return decoder.settle(number, value);
}

export function readModuleSpecial(decoder: Decoder): unknown {
  const { state } = decoder.job;
  const kind = decoder.reader.u8();
  if (kind === special.specialBinding || kind === special.specialWrapped) {
    const ref = moduleAt(decoder, decoder.reader.varint());
    const name = decoder.readString();
    const isWrapped = kind === special.specialWrapped;
    const value = isWrapped ? namespaceOf(state.host.binding(ref, name)) : state.host.binding(ref, name);
    remember(decoder, value, ref, isWrapped ? `wrapped:${name}` : name);
    return value;
  }
  if (kind === special.specialModule) return { exports: decoder.read() };
  const file = decoder.readString();
  const path = state.host.pathOf({ kind: "file", specifier: file === "" ? "main" : file, from: "", loader: "require" });
  switch (kind) {
    case special.specialRequire:
      return state.host.requireFrom(path);
    case special.specialFilename:
      return path;
    case special.specialDirname:
      return dirname(path);
    case special.specialMeta: {
      const meta = { __proto__: null, dirname: dirname(path), filename: path, url: pathToFileURL(path).href };
      defineProperty(meta, "resolve", 7, (specifier: string) => pathToFileURL(state.host.requireFrom(path).resolve(specifier)).href, undefined);
      return meta;
    }
    default:
      throw corrupt("unknown kind of module variable");
  }
}
