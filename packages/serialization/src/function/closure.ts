// Functions and classes: which go by name, which by value, and what goes with the latter.
import { inspect, types } from "node:util";
import { isTrayError } from "@tray/common";
import { type ModuleRef, typescriptFile } from "../module-host.js";
import type { ClassEntry, CodecState } from "../state.js";
import type { Encoder } from "../value/encoder.js";
import { Step } from "../value/path.js";
import { writePrototype } from "../value/special.js";
import { builtinExportOf, isNative, isPlatformGlobal, wellKnownPath } from "../value/well-known.js";
import * as tag from "../wire/tag.js";
import { analyseSource, metaName, type SourceAnalysis } from "./analysis.js";
import type { PlacedSource, ScopeNode, UnitScript } from "./code-unit.js";
import type { FunctionInside, ScopeEntry } from "./inspector.js";
import { layOut } from "./layout.js";
import type { ScriptFacts } from "./script.js";

/** Kinds of `tagModuleSpecial`; part of the wire format. */
export const specialBinding = 0;
export const specialRequire = 1;
export const specialModule = 2;
export const specialFilename = 3;
export const specialDirname = 4;
export const specialMeta = 5;
export const specialWrapped = 6;

interface Located {
  readonly inside: FunctionInside;
  readonly facts: ScriptFacts | undefined;
  readonly text: string;
}

function locate(state: CodecState, fn: Function): Located {
  const inside = state.inspector.inspect(fn);
  return { inside, facts: state.scriptFacts(inside.scriptId), text: Function.prototype.toString.call(fn) };
}

/** Writes a function whose number is already given. `asClass`: instances of it travel too, so it needs an identity. */
export function writeFunction(encoder: Encoder, fn: Function, asClass: boolean): void {
  const { writer, state } = encoder;
  const known = state.knownClass(fn);
  if (known !== undefined) return writeClassId(encoder, fn, known);
  if (encoder.writeExtension(fn)) return;
  const path = wellKnownPath(fn);
  if (path !== undefined) {
    writer.u8(tag.tagWellKnown);
    return writer.string(path);
  }
  const origin = state.provenance.get(fn) ?? builtinOrigin(state, fn);
  if (origin !== undefined) return writeModuleBinding(encoder, origin.ref, origin.name);
  if (isNative(fn))
    encoder.refuse(
      fn.name.startsWith("bound ")
        ? `a bound function (${fn.name}); pass an arrow function that calls it`
        : `native function ${fn.name || "(anonymous)"}`,
    );
  const located = locate(state, fn);
  const { facts } = located;
  if (facts?.url.startsWith("node:")) {
    if (!isPlatformGlobal(fn)) encoder.refuse(`${fn.name || "a function"}, internal to Node.js`);
    writer.u8(tag.tagWellKnown);
    return writer.string(fn.name);
  }
  const exported = exportOf(state, fn, located);
  if (exported !== undefined) {
    state.provenance.set(fn, exported);
    return writeModuleBinding(encoder, exported.ref, exported.name);
  }
  const analysis = analysed(encoder, fn, located.text);
  if (asClass || isClassLike(fn, analysis)) return writeClassId(encoder, fn, state.classEntry(fn));
  writeByValue(encoder, fn, located, analysis);
}

function builtinOrigin(state: CodecState, fn: Function): { ref: ModuleRef; name: string } | undefined {
  const builtin = builtinExportOf(fn);
  const ref = builtin === undefined ? undefined : state.host.referToImport(builtin.specifier, "", "require");
  return ref === undefined || builtin === undefined ? undefined : { ref, name: builtin.name };
}

/** Top-level exports of modules other than the main script go by reference. */
function exportOf(state: CodecState, fn: Function, { inside, facts, text }: Located): { ref: ModuleRef; name: string } | undefined {
  if (facts === undefined || facts.revived || state.host.isMain(facts.url)) return undefined;
  const name = facts.isModule
    ? inside.scopes.every((scope) => scope.description === "Module" || isOwnScope(scope, fn))
      ? facts.exportedText.get(text)
      : undefined
    : state.host.exportNameOf(facts.url, fn);
  const ref = name === undefined ? undefined : state.host.referToScript(facts.url, facts.isModule ? "import" : "require");
  return ref === undefined || name === undefined ? undefined : { ref, name: name === "" ? "*" : name };
}

/** A class that names itself in its body has a scope around it, with its name alone. */
function isOwnScope({ variables }: ScopeEntry, fn: Function): boolean {
  const names = Object.keys(variables);
  return names.length === 1 && names[0] === fn.name && variables[fn.name] === fn;
}

function analysed(encoder: Encoder, fn: Function, text: string): SourceAnalysis {
  try {
    const analysis = analyseSource(text);
    if (analysis.usesThis)
      encoder.refuse(`arrow function ${fn.name || "(anonymous)"} uses \`this\` of the function around it; keep what it needs in a variable`);
    return analysis;
  } catch (error) {
    if (isTrayError(error, "SERIALIZATION") && !error.message.includes("→")) encoder.refuse(`function ${fn.name || "(anonymous)"}: ${error.message}`);
    throw error;
  }
}

function isClassLike(fn: Function, analysis: SourceAnalysis): boolean {
  if (analysis.kind === "class") return true;
  const prototype: unknown = fn.prototype;
  if (analysis.kind !== "function" || typeof prototype !== "object" || prototype === null || types.isGeneratorFunction(fn)) return false;
  return (
    Reflect.ownKeys(prototype).length > 1 || Object.getPrototypeOf(prototype) !== Object.prototype || Object.getPrototypeOf(fn) !== Function.prototype
  );
}

function writeModuleBinding(encoder: Encoder, ref: ModuleRef, name: string): void {
  encoder.writer.u8(tag.tagModuleBinding);
  encoder.writer.varint(encoder.moduleIndex(ref));
  encoder.writer.string(name);
}

function scriptOf(state: CodecState, facts: ScriptFacts | undefined): UnitScript {
  const url = facts?.url ?? "";
  const ref = state.host.referToScript(url, "import");
  const file = ref?.kind === "file" ? ref.specifier : "";
  const isLoadable = facts?.revived === true ? url.startsWith("file:") : typescriptFile.test(file) && !state.host.isMain(url);
  return { file, url, strict: facts?.strict ?? true, isLoadable };
}

/** The source as it stands in its author's file, so that stack traces of tasks name lines that the author knows (layout.ts). */
function placed({ inside, facts, text }: Located, analysis: SourceAnalysis): PlacedSource {
  const { kind, expression } = analysis;
  const positions = facts?.positions;
  const start = positions?.find(text, inside);
  if (positions === undefined || start === undefined) return { kind, expression, line: inside.line, column: 0 };
  const { line, column } = positions.generated(start);
  // A method is the member of a literal, whose brace stands before it.
  const begin = { line, column: kind === "method" ? Math.max(0, column - 1) : column };
  if (!positions.isMapped) return { kind, expression, ...begin };
  const laidOut = layOut(expression, (offset) => {
    const inSource = analysis.sourceOffset(offset);
    return inSource === undefined ? undefined : positions.original(start + inSource);
  });
  if (laidOut === undefined) return { kind, expression, ...begin };
  return { kind, expression: laidOut.text, line: laidOut.line, column: laidOut.column };
}

interface PendingCell {
  readonly index: number;
  readonly name: string;
  readonly value: unknown;
  readonly isTopLevel: boolean;
}

/** Index of the scope that holds a module's top-level names. Where a loader wraps the module's text once more, Node's own wrapper stands around it. */
function topLevelOf({ scopes }: FunctionInside): number {
  const last = scopes.length - 1;
  const outermost = scopes[last]?.variables ?? {};
  const names = Object.keys(outermost);
  return last > 0 && names.length > 0 && names.every((name) => nodeWrapperNames.has(name)) ? last - 1 : last;
}

const nodeWrapperNames = new Set(["exports", "require", "module", "__filename", "__dirname", "this", "arguments"]);

/** Made inside of a function, whose variables may have the names of imports. What is at the top of a module and uses an import that V8 does not show (in a computed member name, say) uses that import. */
function isInFunction(inside: FunctionInside): boolean {
  return inside.scopes.slice(0, Math.max(0, topLevelOf(inside))).some((scope) => scope.description.startsWith("Closure"));
}

/** The scope's variables that a function uses, as cells not yet written. */
function* newCells(encoder: Encoder, names: Iterable<string>, chain: readonly ScopeNode[], { inside, facts }: Located): Generator<PendingCell> {
  for (const name of names) {
    const at = inside.scopes.findIndex((s) => Object.hasOwn(s.variables, name));
    const isTopLevel = at < 0 || at === topLevelOf(inside) || inside.scopes[at]?.description === "Module";
    let value: unknown;
    if (at >= 0) value = inside.scopes[at]?.variables[name];
    else if (facts?.imports.has(name) !== true || isInFunction(inside)) {
      // Not in any scope: a global, found again where the function runs, unless a classic script declared it (those cannot be configured).
      const declared = Object.getOwnPropertyDescriptor(globalThis, name);
      if (declared === undefined || declared.configurable === true || !("value" in declared) || ["undefined", "NaN", "Infinity"].includes(name))
        continue;
      value = declared.value;
    }
    const node = chain[at < 0 ? chain.length - 1 : at] as ScopeNode;
    const { index, isNew } = encoder.unit.cell(node, name);
    if (isNew) yield { index, name, value, isTopLevel };
  }
}

function writeCells(encoder: Encoder, names: Iterable<string>, chain: readonly ScopeNode[], located: Located, withMeta: boolean): void {
  const cells = [...newCells(encoder, names, chain, located)];
  const meta = withMeta ? encoder.unit.cell(chain.at(-1) as ScopeNode, metaName) : undefined;
  const { writer } = encoder;
  writer.varint(cells.length + (meta?.isNew ? 1 : 0));
  for (const cell of cells) {
    writer.varint(cell.index);
    encoder.path.push(undefined, new Step(`captured variable '${cell.name}'`));
    if (!writeOriginOf(encoder, cell, located.facts)) encoder.write(cell.value);
    encoder.path.pop();
  }
  if (meta?.isNew) {
    writer.varint(meta.index);
    writeSpecialBinding(encoder, specialMeta, located.facts?.url ?? "");
  }
}

function writeSpecialBinding(encoder: Encoder, kind: number, url: string): void {
  const ref = encoder.state.host.referToScript(url, "require");
  encoder.writer.u8(tag.tagModuleSpecial);
  encoder.writer.u8(kind);
  encoder.writer.string(ref?.kind === "file" ? ref.specifier : "");
}

/** Captured variables that stand for a module, or that a module system puts there; false for everything else. */
function writeOriginOf(encoder: Encoder, { name, value, isTopLevel }: PendingCell, facts: ScriptFacts | undefined): boolean {
  const { state, writer } = encoder;
  const imported = isTopLevel ? facts?.imports.get(name) : undefined;
  if (imported !== undefined && facts !== undefined) {
    const ref = state.host.referToImport(imported.specifier, facts.url, imported.loader);
    if (ref !== undefined) {
      const wrapped = imported.wrapped && (value as { __esModule?: unknown } | null)?.__esModule !== true;
      writer.u8(tag.tagModuleSpecial);
      writer.u8(wrapped ? specialWrapped : specialBinding);
      writer.varint(encoder.moduleIndex(ref));
      writer.string(imported.imported);
      return true;
    }
  }
  const origin = typeof value === "function" || (typeof value === "object" && value !== null) ? state.provenance.get(value) : undefined;
  if (origin !== undefined) {
    writer.u8(tag.tagModuleSpecial);
    writer.u8(origin.name.startsWith("wrapped:") ? specialWrapped : specialBinding);
    writer.varint(encoder.moduleIndex(origin.ref));
    writer.string(origin.name.replace(/^wrapped:/, ""));
    return true;
  }
  const url = facts?.url ?? "";
  if (name === "require" && typeof value === "function" && "resolve" in value && "cache" in value) writeSpecialBinding(encoder, specialRequire, url);
  else if (name === "__filename" && typeof value === "string") writeSpecialBinding(encoder, specialFilename, url);
  else if (name === "__dirname" && typeof value === "string") writeSpecialBinding(encoder, specialDirname, url);
  else if (name === metaName) writeSpecialBinding(encoder, specialMeta, url);
  else if (name === "module" && typeof value === "object" && value !== null && value.constructor.name === "Module") {
    writer.u8(tag.tagModuleSpecial);
    writer.u8(specialModule);
    encoder.write((value as { exports?: unknown }).exports);
  } else return false;
  return true;
}

/** Properties that every function has, or that its source brings. */
const impliedFunctionKeys = new Set<string | symbol>(["length", "name", "prototype", "arguments", "caller"]);

function writeByValue(encoder: Encoder, fn: Function, located: Located, analysis: SourceAnalysis): void {
  const { writer, unit } = encoder;
  const chain = unit.place(fn, located.text, located.inside, scriptOf(encoder.state, located.facts));
  const index = unit.add(chain[0] as ScopeNode, placed(located, analysis));
  writer.u8(tag.tagFunction);
  writer.varint(index);
  writer.string(typeof fn.name === "string" ? fn.name : "");
  writeCells(encoder, analysis.free, chain, located, analysis.usesMeta);
  encoder.properties(
    fn,
    Reflect.ownKeys(fn).filter((key) => !impliedFunctionKeys.has(key)),
  );
}

function writeClassId(encoder: Encoder, cls: Function, entry: ClassEntry): void {
  if (entry.blob === undefined && !entry.encoding) encodeClass(encoder, cls, entry);
  encoder.writer.u8(tag.tagClass);
  encoder.writer.varint(encoder.classIndex(entry.id));
}

/** Makes a class's blob (C2), in an encoder of its own that knows the path to here. */
export function encodeClass(outer: Encoder, cls: Function, entry: ClassEntry): void {
  const inner = outer.fork();
  inner.path.copyFrom(outer.path);
  entry.encoding = true;
  try {
    const { blob, dependencies } = inner.encodeClassBlob(() => writeClassBody(inner, cls), outer.context);
    entry.blob = blob;
    entry.dependencies = dependencies;
  } finally {
    entry.encoding = false;
  }
}

function writeClassBody(encoder: Encoder, cls: Function): void {
  const { writer, unit, state } = encoder;
  encoder.writeKnown(cls);
  const located = locate(state, cls);
  const analysis = analysed(encoder, cls, located.text);
  const chain = unit.place(cls, located.text, located.inside, scriptOf(state, located.facts));
  writer.u8(tag.tagClassBody);
  writer.varint(unit.add(chain[0] as ScopeNode, placed(located, analysis)));
  writer.string(typeof cls.name === "string" ? cls.name : "");
  const parent: unknown = Object.getPrototypeOf(cls);
  encoder.writeAt(undefined, new Step(`superclass of ${cls.name}`), parent === Function.prototype ? undefined : parent);
  const eager = analysis.kind === "class" ? analysis.eager : new Set<string>();
  // import.meta may be read while the class is defined; it has no captures of its own.
  writeCells(encoder, eager, chain, located, analysis.usesMeta);
  writeCells(
    encoder,
    analysis.free.filter((name) => !eager.has(name)),
    chain,
    located,
    false,
  );
  writeMembers(encoder, cls, cls, impliedFunctionKeys, located.text, analysis, "static ");
  const prototype = cls.prototype as object;
  writeMembers(encoder, cls, prototype, new Set(["constructor"]), located.text, analysis, "");
  const grandparent = Object.getPrototypeOf(prototype) as object | null;
  const parentPrototype: unknown = typeof parent === "function" ? parent.prototype : undefined;
  const isImplied = analysis.kind === "class" ? grandparent === parentPrototype || parent === Function.prototype : grandparent === Object.prototype;
  writer.u8(isImplied ? 0 : 1);
  if (!isImplied) writePrototype(encoder, prototype, grandparent);
}

/**
 * What a class or its prototype has beyond what evaluating its source gives again: fields assigned later, decorated or patched methods. A static
 * field that the source declares but whose value cannot be shipped is left to the source's initialiser.
 */
function writeMembers(
  encoder: Encoder,
  cls: Function,
  owner: object,
  implied: ReadonlySet<string | symbol>,
  text: string,
  analysis: SourceAnalysis,
  prefix: string,
): void {
  // By the text of the very member; where the key is computed, by the class's. A method under a second name has the text of the first.
  const isInSource = (f: Function, key: string | symbol): boolean => {
    if (isNative(f) || f === cls) return false;
    const own = Function.prototype.toString.call(f);
    const declared = typeof key === "string" ? analysis.members.get(prefix + key) : undefined;
    if (declared !== undefined) return declared.includes(own);
    const isAlias = [...analysis.members.values()].some((member) => member.includes(own));
    return text.includes(own) && !(isAlias && encoder.canShip(f));
  };
  const keys = Reflect.ownKeys(owner).filter((key) => {
    if (implied.has(key)) return false;
    const descriptor = Object.getOwnPropertyDescriptor(owner, key) as PropertyDescriptor;
    const functions = [descriptor.get, descriptor.set, descriptor.value].filter((f): f is Function => typeof f === "function");
    if (functions.length > 0 && functions.every((f) => isInSource(f, key))) return false;
    if (typeof key === "string" && analysis.members.has(prefix + key) && !encoder.canShip(descriptor.value)) return false;
    return true;
  });
  encoder.path.push(undefined, new Step(`class ${cls.name || inspect(cls)}`));
  encoder.properties(owner, keys);
  encoder.path.pop();
}
