// What a module's own text says of its top-level names: which are imports, which are exported. V8's scopes only have their values.
import { type AnyNode, parse } from "acorn";
import type { ScriptText } from "./inspector.js";
import { ScriptPositions } from "./source-position.js";

/** A local name that stands for (an export of) another module. */
export interface ImportedName {
  readonly specifier: string;
  /** "*" for the module itself, "default" included. */
  readonly imported: string;
  readonly loader: "import" | "require";
  /** `__toESM(require("x"))` and its like in other compilers: a namespace made of a CommonJS module. */
  readonly wrapped: boolean;
}

export interface ScriptFacts {
  readonly url: string;
  readonly isModule: boolean;
  readonly strict: boolean;
  /** Code that this package revived: the file it came from is in its first line. */
  readonly revived: boolean;
  readonly imports: ReadonlyMap<string, ImportedName>;
  /** Source text of exported top-level functions and classes → exported name. */
  readonly exportedText: ReadonlyMap<string, string>;
  readonly positions: ScriptPositions;
}

export const revivedPrefix = "/*tray:";

interface RevivedHeader {
  url: string;
  strict: boolean;
}

const emptyFacts = { imports: new Map<string, ImportedName>(), exportedText: new Map<string, string>() };

export function readScript(script: ScriptText): ScriptFacts {
  return { ...readFacts(script), positions: new ScriptPositions(script.url, script.source, script.sourceMapUrl) };
}

function readFacts(script: ScriptText): Omit<ScriptFacts, "positions"> {
  if (script.source.startsWith(revivedPrefix)) {
    const header = JSON.parse(script.source.slice(revivedPrefix.length, script.source.indexOf("*/"))) as RevivedHeader;
    return { ...emptyFacts, url: header.url, isModule: false, strict: header.strict, revived: true };
  }
  const { url, isModule, source } = script;
  if (url.startsWith("node:")) return { ...emptyFacts, url, isModule, strict: true, revived: false };
  const body = parseBody(source, isModule);
  if (body === undefined) return { ...emptyFacts, url, isModule, strict: isModule, revived: false };
  const strict = isModule || body.some((s) => s.type === "ExpressionStatement" && s.directive === "use strict");
  const imports = new Map<string, ImportedName>();
  for (const statement of body) {
    if (statement.type === "ImportDeclaration") readImport(statement, imports);
    else if (statement.type === "VariableDeclaration") for (const d of statement.declarations) if (d.init) readRequire(d.id, d.init, imports);
  }
  return { url, isModule, strict, revived: false, imports, exportedText: isModule ? readExports(body, source) : new Map<string, string>() };
}

function parseBody(source: string, isModule: boolean): readonly AnyNode[] | undefined {
  try {
    const { body } = parse(source, {
      ecmaVersion: "latest",
      sourceType: isModule ? "module" : "script",
      allowReturnOutsideFunction: true,
      allowAwaitOutsideFunction: true,
      allowHashBang: true,
      checkPrivateFields: false,
    });
    return unwrap(body);
  } catch {
    return undefined; // V8 ran it, so it is syntax newer than the parser; its imports then go by value
  }
}

/** Loaders wrap modules: tsx, for CommonJS, into an arrow function that it calls at the end; jest into a function inside an object literal. */
function unwrap(body: readonly AnyNode[]): readonly AnyNode[] {
  const called = calledArrow(body.at(-1));
  if (called !== undefined && body.slice(0, -1).every((s) => s.type === "ExpressionStatement" && s.expression.type !== "CallExpression"))
    return called;
  const [statement] = body;
  if (body.length !== 1 || statement?.type !== "ExpressionStatement" || statement.expression.type !== "ObjectExpression") return body;
  const property = statement.expression.properties[0];
  const value = property?.type === "Property" ? property.value : undefined;
  return value?.type === "FunctionExpression" ? value.body.body : body;
}

/** The statements of `(() => { … })()`. */
function calledArrow(statement: AnyNode | undefined): readonly AnyNode[] | undefined {
  if (statement?.type !== "ExpressionStatement" || statement.expression.type !== "CallExpression") return undefined;
  const { callee } = statement.expression;
  return callee.type === "ArrowFunctionExpression" && callee.params.length === 0 && callee.body.type === "BlockStatement"
    ? callee.body.body
    : undefined;
}

type Declaration<T extends AnyNode["type"]> = Extract<AnyNode, { type: T }>;

function nameOf(node: AnyNode): string {
  return node.type === "Identifier" ? node.name : String((node as { value?: unknown }).value);
}

function readImport(statement: Declaration<"ImportDeclaration">, into: Map<string, ImportedName>): void {
  const specifier = String(statement.source.value);
  for (const s of statement.specifiers) {
    const imported = s.type === "ImportSpecifier" ? nameOf(s.imported) : s.type === "ImportDefaultSpecifier" ? "default" : "*";
    into.set(s.local.name, { specifier, imported, loader: "import", wrapped: false });
  }
}

/** The specifier, if this is `require("…")`. */
function requiredBy(node: AnyNode | null | undefined): string | undefined {
  if (node?.type !== "CallExpression" || node.callee.type !== "Identifier" || node.callee.name !== "require") return undefined;
  const [argument] = node.arguments;
  return argument?.type === "Literal" && typeof argument.value === "string" ? argument.value : undefined;
}

function readRequire(id: AnyNode, init: AnyNode, into: Map<string, ImportedName>): void {
  const set = (local: string, specifier: string, imported: string, wrapped = false): void => {
    into.set(local, { specifier, imported, loader: "require", wrapped });
  };
  const whole = requiredBy(init);
  if (whole !== undefined) {
    if (id.type === "Identifier") set(id.name, whole, "*");
    if (id.type !== "ObjectPattern") return;
    for (const p of id.properties) if (p.type === "Property" && !p.computed && p.value.type === "Identifier") set(p.value.name, whole, nameOf(p.key));
    return;
  }
  if (id.type !== "Identifier") return;
  if (init.type === "MemberExpression" && !init.computed) {
    const specifier = requiredBy(init.object);
    if (specifier !== undefined) set(id.name, specifier, nameOf(init.property));
  } else if (init.type === "CallExpression") {
    const specifier = init.arguments.map((a) => requiredBy(a)).find((s) => s !== undefined);
    if (specifier !== undefined) set(id.name, specifier, "*", true);
  }
}

function readExports(body: readonly AnyNode[], source: string): Map<string, string> {
  const declared = new Map<string, string>();
  const exported = new Map<string, string>();
  const textOf = (node: AnyNode): string => source.slice(node.start, node.end);
  const declare = (node: AnyNode | null | undefined, exportedAs?: (local: string) => string): void => {
    if (node?.type === "FunctionDeclaration" || node?.type === "ClassDeclaration") {
      if (node.id) declared.set(node.id.name, textOf(node));
      if (exportedAs) exported.set(textOf(node), exportedAs(node.id?.name ?? "default"));
    } else if (node?.type === "VariableDeclaration") {
      for (const d of node.declarations) {
        if (d.id.type !== "Identifier" || !d.init || !/^(ArrowFunction|Function|Class)Expression$/.test(d.init.type)) continue;
        declared.set(d.id.name, textOf(d.init));
        if (exportedAs) exported.set(textOf(d.init), exportedAs(d.id.name));
      }
    }
  };
  for (const statement of body) {
    if (statement.type === "ExportNamedDeclaration") declare(statement.declaration, (local) => local);
    else if (statement.type === "ExportDefaultDeclaration") {
      declare(statement.declaration, () => "default");
      if (/^(ArrowFunction|Function|Class)Expression$/.test(statement.declaration.type)) exported.set(textOf(statement.declaration), "default");
    } else declare(statement);
  }
  for (const statement of body) {
    if (statement.type === "ExportNamedDeclaration" && !statement.source) {
      for (const s of statement.specifiers) {
        const text = declared.get(nameOf(s.local));
        if (text !== undefined) exported.set(text, nameOf(s.exported));
      }
    } else if (statement.type === "ExportDefaultDeclaration" && statement.declaration.type === "Identifier") {
      const text = declared.get(statement.declaration.name);
      if (text !== undefined) exported.set(text, "default");
    }
  }
  return exported;
}
