// The code of one container: functions and classes, and the scopes they share. Built while a value is written, compiled at once when it is read.
//
// The tree of scopes mirrors the original's: top (a script) → module scope → closures → blocks. Functions that shared a variable there share it here.
import type { Reader } from "../wire/reader.js";
import type { Writer } from "../wire/writer.js";
import { corrupt } from "../wire/flat.js";
import type { FunctionInside, ScopeEntry } from "./inspector.js";

export interface ScopeNode {
  readonly index: number;
  readonly parent: ScopeNode | undefined;
  readonly children: ScopeNode[];
  readonly entry: ScopeEntry | undefined;
  /** Function text → the closure of that text made in this scope. */
  readonly made: Map<string, object>;
  readonly cells: Map<string, number>;
  readonly script: UnitScript;
}

/** Where code came from. `file`: portable path (module-host.ts), or "" when `url` is not a file. */
export interface UnitScript {
  readonly file: string;
  readonly url: string;
  readonly strict: boolean;
  /** Where this code runs, a loader may load (and compile) the very file as a module too. */
  readonly isLoadable: boolean;
}

const kinds = ["function", "arrow", "method", "class"] as const;
export type CodeKind = (typeof kinds)[number];

export interface UnitFunction {
  readonly node: number;
  readonly source: number;
  readonly kind: CodeKind;
  /** Where the source begins in its author's file, zero-based. */
  readonly line: number;
  readonly column: number;
}

/** A function's source and its place. */
export type PlacedSource = Pick<UnitFunction, "kind" | "line" | "column"> & { readonly expression: string };

export interface UnitNode {
  /** Index, or −1 for the top of a script. */
  readonly parent: number;
  readonly script: UnitScript | undefined;
}

export interface UnitData {
  readonly sources: readonly string[];
  readonly nodes: readonly UnitNode[];
  /** In order of cell index. */
  readonly cells: readonly { node: number; name: string }[];
  readonly functions: readonly UnitFunction[];
}

export class CodeUnit {
  readonly #sources = new Map<string, number>();
  readonly #nodes: ScopeNode[] = [];
  readonly #tops = new Map<string, ScopeNode>();
  readonly #cells: { node: number; name: string }[] = [];
  readonly #functions: UnitFunction[] = [];

  get isEmpty(): boolean {
    return this.#functions.length === 0;
  }

  #node(parent: ScopeNode | undefined, entry: ScopeEntry | undefined, script: UnitScript): ScopeNode {
    const node: ScopeNode = { index: this.#nodes.length, parent, children: [], entry, made: new Map(), cells: new Map(), script };
    this.#nodes.push(node);
    parent?.children.push(node);
    return node;
  }

  /** The nodes for a function's scopes, in the order of `inside.scopes` (innermost first), then the top of its script. */
  place(fn: object, text: string, inside: FunctionInside, script: UnitScript): ScopeNode[] {
    const topKey = inside.scriptId ?? "";
    let node = this.#tops.get(topKey);
    if (node === undefined) {
      node = this.#node(undefined, undefined, script);
      this.#tops.set(topKey, node);
    }
    const chain = [node];
    for (let i = inside.scopes.length - 1; i >= 0; i--) {
      const entry = inside.scopes[i] as ScopeEntry;
      const parent: ScopeNode = node;
      node =
        parent.children.find((n) => n.entry !== undefined && isSameScope(n, entry, i === 0 ? { fn, text } : undefined)) ??
        this.#node(parent, entry, script);
      chain.unshift(node);
    }
    node.made.set(text, fn);
    return chain;
  }

  add(node: ScopeNode, { expression, kind, line, column }: PlacedSource): number {
    let source = this.#sources.get(expression);
    if (source === undefined) {
      source = this.#sources.size;
      this.#sources.set(expression, source);
    }
    this.#functions.push({ node: node.index, source, kind, line, column });
    return this.#functions.length - 1;
  }

  /** The index of a variable, and whether this is its first use. */
  cell(node: ScopeNode, name: string): { index: number; isNew: boolean } {
    const known = node.cells.get(name);
    if (known !== undefined) return { index: known, isNew: false };
    const index = this.#cells.length;
    this.#cells.push({ node: node.index, name });
    node.cells.set(name, index);
    return { index, isNew: true };
  }

  write(writer: Writer): void {
    writer.varint(this.#sources.size);
    for (const source of this.#sources.keys()) writer.string(source);
    writer.varint(this.#nodes.length);
    for (const node of this.#nodes) {
      writer.varint(node.parent === undefined ? 0 : node.parent.index + 1);
      if (node.parent !== undefined) continue;
      writer.string(node.script.file);
      writer.string(node.script.url);
      writer.u8((node.script.strict ? 1 : 0) | (node.script.isLoadable ? 2 : 0));
    }
    writer.varint(this.#cells.length);
    for (const cell of this.#cells) {
      writer.varint(cell.node);
      writer.string(cell.name);
    }
    writer.varint(this.#functions.length);
    for (const fn of this.#functions) {
      writer.varint(fn.node);
      writer.varint(fn.source);
      writer.u8(kinds.indexOf(fn.kind));
      writer.varint(fn.line);
      writer.varint(fn.column);
    }
  }
}

/**
 * Whether a scope is one met before. The inspector shows copies of scopes, so identity has to be inferred: a module has one; otherwise all variables
 * must be identical. Where these are only primitives (two fresh counters look alike), two closures of the same text mean two scopes.
 */
function isSameScope(node: ScopeNode, entry: ScopeEntry, maker: { fn: object; text: string } | undefined): boolean {
  const known = node.entry as ScopeEntry;
  if (known.description !== entry.description) return false;
  if (entry.description === "Module" || entry.description === "Script") return true;
  const names = Object.keys(entry.variables);
  if (names.length !== Object.keys(known.variables).length) return false;
  let sharesObject = false;
  for (const name of names) {
    const value = entry.variables[name];
    if (!(name in known.variables) || !Object.is(known.variables[name], value)) return false;
    sharesObject ||= (typeof value === "object" && value !== null) || typeof value === "function";
  }
  if (sharesObject || maker === undefined) return true;
  const other = node.made.get(maker.text);
  return other === undefined || other === maker.fn;
}

export function readUnit(reader: Reader): UnitData {
  const list = <T>(read: () => T): T[] => Array.from({ length: reader.count() }, read);
  const sources = list(() => reader.string());
  const nodes = list((): UnitNode => {
    const parent = reader.varint() - 1;
    if (parent >= 0) return { parent, script: undefined };
    const [file, url, flags] = [reader.string(), reader.string(), reader.u8()];
    return { parent, script: { file, url, strict: (flags & 1) !== 0, isLoadable: (flags & 2) !== 0 } };
  });
  const cells = list(() => ({ node: reader.varint(), name: reader.string() }));
  const functions = list((): UnitFunction => {
    const fn = { node: reader.varint(), source: reader.varint(), kind: kinds[reader.u8()], line: reader.varint(), column: reader.varint() };
    if (fn.kind === undefined) throw corrupt("unknown kind of function");
    return { ...fn, kind: fn.kind };
  });
  nodes.forEach((node, index) => {
    if (node.parent >= index) throw corrupt("scopes out of order");
  });
  return { sources, nodes, cells, functions };
}
