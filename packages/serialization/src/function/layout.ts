// Puts compiled code back where it stood in its author's file.
//
// tsx and its like write a file's code into a few long lines. Shipped like that, every stack trace of a task would name line 2 of the user's file. Mapping
// stack traces where they are made would need the source map, and a hook in everything that reads a stack: `error.stack` in user code, the log, the
// profiler, `tray stack`. Instead the code itself gets the line breaks and blanks back that the compiler took, at the places that the source map knows, so
// that V8's own positions are the author's, anywhere, without anything at run time.
//
// White space between two tokens changes nothing, except that some of JavaScript's productions end at a line break (`return`, `x ++`, `a =>`, …):
// there only blanks are put.
import { parse, type Token } from "acorn";
import type { Position } from "./source-position.js";

/** A jump further than this is no layout that a person wrote; it would only bloat what is shipped. */
const lineJumpMax = 10_000;
const columnMax = 1_000;

/** After these a line break would end a statement or a class field, or make another one of it. */
const endsAtLineBreak = new Set(["return", "throw", "break", "continue", "yield", "async", "get", "set", "static", "accessor", "using", "await"]);

interface Piece {
  readonly type: Token["type"];
  readonly value: unknown;
  readonly start: number;
}

export interface LaidOut extends Position {
  readonly text: string;
}

/** `expression` so that its tokens stand where `positionOf` (by offset in it) says, as far as that is possible; and where it has to begin. */
export function layOut(expression: string, positionOf: (offset: number) => Position | undefined): LaidOut | undefined {
  const tokens = tokensOf(expression);
  const first = tokens.findIndex((token) => positionOf(token.start) !== undefined);
  const firstToken = tokens[first];
  if (firstToken === undefined) return undefined;
  const { line: firstLine, column: firstColumn } = positionOf(firstToken.start) as Position;
  const begin = { line: firstLine, column: Math.max(0, firstColumn - firstToken.start) };
  let { line } = begin;
  let lineStart = -begin.column;
  let text = "";
  let copied = 0;
  for (let i = first + 1; i < tokens.length; i++) {
    const token = tokens[i] as Piece;
    if (isInTemplate(token)) continue;
    const wanted = positionOf(token.start);
    if (wanted === undefined) continue;
    const before = expression.slice(copied, token.start);
    copied = token.start;
    text += before;
    const breaks = before.split("\n").length - 1;
    line += breaks;
    if (breaks > 0) lineStart = text.lastIndexOf("\n") + 1;
    if (wanted.line > line && wanted.line - line < lineJumpMax && mayBreak(tokens[i - 1] as Piece, token)) {
      text += "\n".repeat(wanted.line - line);
      line = wanted.line;
      lineStart = text.length;
    }
    const missing = wanted.column - (text.length - lineStart);
    if (line === wanted.line && missing > 0 && wanted.column < columnMax) text += " ".repeat(missing);
  }
  return { ...begin, text: text + expression.slice(copied) };
}

function tokensOf(expression: string): Piece[] {
  for (const sourceType of ["module", "script"] as const) {
    const tokens: Token[] = [];
    try {
      parse(`(${expression}\n)`, {
        ecmaVersion: "latest",
        sourceType,
        allowSuperOutsideMethod: true,
        checkPrivateFields: false,
        onToken: tokens,
      });
    } catch {
      continue; // sloppy-mode code parses only as a script
    }
    // Without the parentheses, and counted without the first.
    const pieces = tokens.slice(1).map((token) => ({ type: token.type, value: (token as { value?: unknown }).value, start: token.start - 1 }));
    return pieces.filter((piece) => piece.start < expression.length);
  }
  return [];
}

/** What a template literal says, and what ends a piece of that: white space before it would be part of the text. */
function isInTemplate({ type }: Piece): boolean {
  return type.label === "template" || type.label === "`" || type.label === "${";
}

/** Whether a line break between the two leaves the meaning as it is. */
function mayBreak(before: Piece, after: Piece): boolean {
  if (after.type.label === "=>" || after.type.label === "++/--") return false;
  const name = before.type.label === "name" ? before.value : undefined;
  return !endsAtLineBreak.has(before.type.keyword ?? String(name));
}
