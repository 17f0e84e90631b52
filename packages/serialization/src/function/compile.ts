// Turns the code of a container back into functions: one script for each original script, with a block for each scope.
import { compileFunction, constants } from "node:vm";
import { TrayError } from "@tray/common";
import { corrupt } from "../wire/flat.js";
import { superName } from "./analysis.js";
import type { UnitData, UnitScript } from "./code-unit.js";
import { revivedPrefix } from "./script.js";
import type { Position } from "./source-position.js";

export interface CompiledUnit {
  /** By function index: makes the function or class; classes take their superclass. */
  readonly make: readonly ((superClass: unknown) => Function)[];
  /** By cell index: assigns a captured variable. */
  readonly set: readonly ((value: unknown) => void)[];
}

const setName = "$tray_set";
const makeName = "$tray_make";
const methodName = "$tray_method";

/** A method is revived as the only member of an object literal. */
function methodOf(literal: object): Function {
  const [key] = Reflect.ownKeys(literal);
  const descriptor = key === undefined ? undefined : Object.getOwnPropertyDescriptor(literal, key);
  const fn: unknown = descriptor?.get ?? descriptor?.set ?? descriptor?.value;
  if (typeof fn !== "function") throw corrupt("a method was expected");
  return fn;
}

/** Beyond this a function's first line is indented as far only for its column, and the rest of it is where it should be anyway. */
const columnMax = 1_000;

class ScriptText {
  #text: string;
  #line = 0;
  #lineStart = 0;

  constructor(head: string) {
    this.#text = head;
  }

  add(code: string): void {
    const before = this.#text.length;
    this.#text += code;
    for (let i = code.indexOf("\n"); i >= 0; i = code.indexOf("\n", i + 1)) {
      this.#line++;
      this.#lineStart = before + i + 1;
    }
  }

  /** Blank lines up to a line of the original, so that stack traces name the lines the user knows. */
  advanceTo(line: number): void {
    if (line > this.#line && line - this.#line < 100_000) this.add("\n".repeat(line - this.#line));
  }

  /** `prefix` on the line above if there is room, so that what comes next stands at its very column. */
  addBefore(prefix: string, { line, column }: Position): void {
    this.advanceTo(line - 1);
    this.add(prefix);
    this.advanceTo(line);
    const missing = column - (this.#text.length - this.#lineStart);
    if (this.#line === line && missing > 0 && column < columnMax) this.#text += " ".repeat(missing);
  }

  toString(): string {
    return this.#text;
  }
}

export function compileUnit(unit: UnitData, localFile: (script: UnitScript) => string): CompiledUnit {
  const make: ((superClass: unknown) => Function)[] = [];
  const set: ((value: unknown) => void)[] = [];
  const children = unit.nodes.map((): number[] => []);
  const functionsOf = unit.nodes.map((): number[] => []);
  const cellsOf = unit.nodes.map((): number[] => []);
  const into = (lists: number[][], node: number, index: number): void => {
    const list = lists[node];
    if (list === undefined) throw corrupt("no such scope");
    list.push(index);
  };
  unit.nodes.forEach((node, index) => {
    if (node.parent >= 0) into(children, node.parent, index);
  });
  unit.functions.forEach((fn, index) => {
    into(functionsOf, fn.node, index);
  });
  unit.cells.forEach((cell, index) => {
    into(cellsOf, cell.node, index);
  });

  const firstLine = unit.nodes.map(() => Number.POSITIVE_INFINITY);
  for (const fn of unit.functions) for (let n = fn.node; n >= 0; n = unit.nodes[n]?.parent ?? -1) firstLine[n] = Math.min(firstLine[n] ?? 0, fn.line);

  const emit = (text: ScriptText, node: number): void => {
    text.add("{");
    const cells = cellsOf[node] ?? [];
    if (cells.length > 0) text.add(`let ${cells.map((c) => unit.cells[c]?.name).join(",")};`);
    for (const c of cells) text.add(`${setName}[${c}]=($tray_value)=>{${unit.cells[c]?.name}=$tray_value};`);
    const parts = [
      ...(functionsOf[node] ?? []).map((index) => ({ line: unit.functions[index]?.line ?? 0, fn: index, node: -1 })),
      ...(children[node] ?? []).map((index) => ({ line: firstLine[index] ?? 0, fn: -1, node: index })),
    ].sort((a, b) => a.line - b.line);
    for (const part of parts) {
      if (part.node >= 0) {
        emit(text, part.node);
        continue;
      }
      const fn = unit.functions[part.fn];
      const source = unit.sources[fn?.source ?? -1];
      if (fn === undefined || source === undefined) throw corrupt("no such source");
      text.addBefore(`${makeName}[${part.fn}]=function(${superName}){return ${fn.kind === "method" ? methodName : ""}(`, fn);
      text.add(`${source})};`);
    }
    text.add("}");
  };

  unit.nodes.forEach((node, index) => {
    if (node.script === undefined) return;
    const filename = localFile(node.script);
    const header = JSON.stringify({ url: filename, strict: node.script.strict }).replaceAll("*/", "*\\/");
    const text = new ScriptText(`${revivedPrefix}${header}*/${node.script.strict ? `"use strict";` : ""}`);
    emit(text, index);
    try {
      const define = compileFunction(text.toString(), [setName, makeName, methodName], {
        filename,
        importModuleDynamically: constants.USE_MAIN_CONTEXT_DEFAULT_LOADER,
      }) as (setters: typeof set, makers: typeof make, method: typeof methodOf) => void;
      define(set, make, methodOf);
    } catch (error) {
      throw new TrayError("SERIALIZATION", `cannot revive code of ${filename}: ${String(error)}`, { cause: error });
    }
  });
  return { make, set };
}
