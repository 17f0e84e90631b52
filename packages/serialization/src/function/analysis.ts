// What a function's source needs from outside: free names, found by parsing, so that only what is used is captured.
import { type AnyNode, parse } from "acorn";
import { TrayError } from "@tray/common";

/** Names that revived code uses for itself; `capture.ts` rewrites `extends X` and `import.meta` to them. */
export const superName = "$tray_super";
export const metaName = "$tray_meta";

export interface SourceAnalysis {
  readonly kind: "function" | "arrow" | "method" | "class";
  /** The source as an expression (a method: as an object literal with the one member), `import.meta` and the superclass replaced. */
  readonly expression: string;
  /** Where a place in `expression` is in the source; undefined for what is not from there. */
  sourceOffset(offset: number): number | undefined;
  readonly free: readonly string[];
  /** Of a class: free names that are read while the class is being defined (static fields and blocks, computed keys). */
  readonly eager: ReadonlySet<string>;
  readonly usesThis: boolean;
  readonly usesMeta: boolean;
  readonly hasSuperClass: boolean;
  /** A class whose instances carry private state that nobody outside can read. */
  readonly hasPrivateState: boolean;
  /** Of a class: the source text of its members, `static` ones with the prefix "static ". */
  readonly members: ReadonlyMap<string, string>;
}

interface Edit {
  start: number;
  end: number;
  text: string;
}

interface Names {
  readonly declared: Set<string>;
  readonly parent: Names | undefined;
  readonly isFunction: boolean;
}

type Fields = Record<string, unknown>;

const cacheMax = 1000;
const cache = new Map<string, SourceAnalysis>();

/** @throws TrayError SERIALIZATION (message without a path) when the source cannot stand alone. */
export function analyseSource(source: string): SourceAnalysis {
  const known = cache.get(source);
  if (known !== undefined) return known;
  const analysis = new Analyser(source).run();
  if (cache.size >= cacheMax) cache.clear();
  cache.set(source, analysis);
  return analysis;
}

function refused(why: string): TrayError {
  return new TrayError("SERIALIZATION", why);
}

class Analyser {
  readonly #source: string;
  readonly #free = new Set<string>();
  readonly #eager = new Set<string>();
  readonly #edits: Edit[] = [];
  #inEagerPart = false;
  #usesThis = false;
  #usesMeta = false;
  /** Functions (not arrows) and class bodies around the current node, which bind `this`, `arguments` and `super`. */
  #binders = 0;
  #classes = 0;
  #offset = 1;

  constructor(source: string) {
    this.#source = source;
  }

  run(): SourceAnalysis {
    const { root, isMethod } = this.#parse();
    const kind = isMethod ? "method" : root.type === "ClassExpression" ? "class" : root.type === "ArrowFunctionExpression" ? "arrow" : "function";
    const isClass = root.type === "ClassExpression";
    this.#visit(root, { declared: new Set(), parent: undefined, isFunction: true }, isClass);
    let expression = isMethod ? `{${this.#source}}` : this.#source;
    const shift = isMethod ? 1 : 0;
    const edits = this.#edits.map((e) => ({ ...e, start: e.start - this.#offset + shift, end: e.end - this.#offset + shift }));
    edits.sort((a, b) => a.start - b.start);
    for (const edit of edits.toReversed()) expression = expression.slice(0, edit.start) + edit.text + expression.slice(edit.end);
    return {
      kind,
      expression,
      sourceOffset: (offset) => {
        let added = 0;
        for (const edit of edits) {
          if (offset < edit.start + added) break;
          if (offset < edit.start + added + edit.text.length) return undefined;
          added += edit.text.length - (edit.end - edit.start);
        }
        return offset < shift ? undefined : offset - added - shift;
      },
      free: [...this.#free],
      eager: this.#eager,
      usesThis: this.#usesThis,
      usesMeta: this.#usesMeta,
      hasSuperClass: this.#edits.some((e) => e.text === superName),
      hasPrivateState: isClass && root.body.body.some((m) => "key" in m && m.key.type === "PrivateIdentifier" && !m.static),
      members: isClass ? membersOf(root, this.#source, this.#offset) : new Map<string, string>(),
    };
  }

  #parse(): { root: AnyNode & { type: string }; isMethod: boolean } {
    const asExpression = tryParse(`(${this.#source}\n)`);
    if (asExpression !== undefined) return { root: asExpression, isMethod: false };
    this.#offset = 2;
    const literal = tryParse(`({${this.#source}\n})`);
    if (literal?.type !== "ObjectExpression" || literal.properties[0]?.type !== "Property") throw refused("its source cannot be read on its own");
    const property = literal.properties[0];
    // The key of a computed method was evaluated long ago; any key will do.
    if (property.computed) this.#edits.push({ start: property.key.start, end: property.key.end, text: `"method"` });
    return { root: property.value, isMethod: true };
  }

  #reference(name: string, names: Names): void {
    for (let scope: Names | undefined = names; scope !== undefined; scope = scope.parent) if (scope.declared.has(name)) return;
    if (name === "arguments") {
      if (this.#binders > 0) return;
      throw refused("it uses the `arguments` of the function around it; copy them to a variable first");
    }
    this.#free.add(name);
    if (this.#inEagerPart) this.#eager.add(name);
  }

  #children(node: AnyNode, names: Names): void {
    for (const value of Object.values(node) as unknown[]) {
      for (const item of Array.isArray(value) ? (value as unknown[]) : [value]) if (isNode(item)) this.#visit(item, names);
    }
  }

  #visit(node: AnyNode, names: Names, isRootClass = false): void {
    switch (node.type) {
      case "Identifier":
        return this.#reference(node.name, names);
      case "ThisExpression":
        if (this.#binders === 0) this.#usesThis = true;
        return;
      case "Super":
        if (this.#classes === 0) throw refused("it uses `super`, which only works inside its class or object; ship that instead");
        return;
      case "PrivateIdentifier":
        if (this.#classes === 0) throw refused(`it uses the private name #${node.name} of the class around it; ship the class instead`);
        return;
      case "MetaProperty":
        if (node.meta.name === "import") {
          this.#usesMeta = true;
          this.#edits.push({ start: node.start, end: node.end, text: metaName });
        } else if (this.#binders === 0) throw refused("it uses `new.target` of the function around it");
        return;
      case "FunctionDeclaration":
      case "FunctionExpression":
      case "ArrowFunctionExpression":
        return this.#function(node, names);
      case "ClassDeclaration":
      case "ClassExpression":
        return this.#class(node, names, isRootClass);
      case "MemberExpression":
        this.#visit(node.object, names);
        if (node.computed || node.property.type === "PrivateIdentifier") this.#visit(node.property, names);
        return;
      case "Property":
        if (node.computed) this.#visit(node.key, names);
        return this.#visit(node.value, names);
      case "LabeledStatement":
        return this.#visit(node.body, names);
      case "BreakStatement":
      case "ContinueStatement":
        return;
      case "BlockStatement":
      case "StaticBlock":
        return this.#block(node, node.body, names, node.type === "StaticBlock");
      case "SwitchStatement": {
        this.#visit(node.discriminant, names);
        const inner = { declared: blockNames(node.cases.flatMap((c) => c.consequent)), parent: names, isFunction: false };
        for (const c of node.cases) this.#children(c, inner);
        return;
      }
      case "ForStatement":
      case "ForInStatement":
      case "ForOfStatement": {
        const head = node.type === "ForStatement" ? node.init : node.left;
        return this.#children(node, { declared: blockNames(head?.type === "VariableDeclaration" ? [head] : []), parent: names, isFunction: false });
      }
      case "CatchClause": {
        const declared = new Set<string>();
        if (node.param) patternNames(node.param, declared);
        return this.#children(node, { declared, parent: names, isFunction: false });
      }
      default:
        return this.#children(node, names);
    }
  }

  #block(node: AnyNode, body: readonly AnyNode[], names: Names, bindsThis: boolean): void {
    const declared = blockNames(body);
    if (bindsThis) varNames(body, declared);
    if (bindsThis) this.#binders++;
    this.#children(node, { declared, parent: names, isFunction: bindsThis });
    if (bindsThis) this.#binders--;
  }

  #function(node: Extract<AnyNode, { type: "FunctionDeclaration" | "FunctionExpression" | "ArrowFunctionExpression" }>, names: Names): void {
    const declared = new Set<string>();
    if (node.type === "FunctionExpression" && node.id) declared.add(node.id.name);
    for (const param of node.params) patternNames(param, declared);
    if (node.body.type === "BlockStatement") varNames(node.body.body, declared);
    const binds = node.type !== "ArrowFunctionExpression";
    if (binds) this.#binders++;
    const inner = { declared, parent: names, isFunction: true };
    for (const param of node.params) this.#visit(param, inner);
    this.#visit(node.body, inner);
    if (binds) this.#binders--;
  }

  #class(node: Extract<AnyNode, { type: "ClassDeclaration" | "ClassExpression" }>, names: Names, isRoot: boolean): void {
    const inner = { declared: new Set(node.id ? [node.id.name] : []), parent: names, isFunction: false };
    // The root's superclass is shipped as the live class, so the expression that gave it is not needed. `extends null` stays.
    const { superClass } = node;
    if (superClass && isRoot && !(superClass.type === "Literal" && superClass.value === null)) {
      this.#edits.push({ start: superClass.start, end: superClass.end, text: superName });
    } else if (superClass) this.#visit(superClass, inner);
    for (const member of node.body.body) {
      const eagerBefore = this.#inEagerPart;
      if (member.type === "StaticBlock") {
        this.#inEagerPart ||= isRoot;
        this.#classes++;
        this.#visit(member, inner);
        this.#classes--;
      } else {
        if (member.computed) {
          this.#inEagerPart ||= isRoot;
          this.#visit(member.key, inner);
          this.#inEagerPart = eagerBefore;
        }
        this.#inEagerPart ||= isRoot && member.static && member.type === "PropertyDefinition";
        this.#classes++;
        this.#binders++;
        if (member.value) this.#visit(member.value, inner);
        this.#binders--;
        this.#classes--;
      }
      this.#inEagerPart = eagerBefore;
    }
  }
}

function tryParse(
  text: string,
): Extract<AnyNode, { type: "ClassExpression" | "FunctionExpression" | "ArrowFunctionExpression" | "ObjectExpression" }> | undefined {
  for (const sourceType of ["module", "script"] as const) {
    try {
      const program = parse(text, {
        ecmaVersion: "latest",
        sourceType,
        allowSuperOutsideMethod: true,
        checkPrivateFields: false,
        allowAwaitOutsideFunction: false,
      });
      const [statement] = program.body;
      if (program.body.length !== 1 || statement?.type !== "ExpressionStatement") return undefined;
      const { expression } = statement;
      const fits = ["ClassExpression", "FunctionExpression", "ArrowFunctionExpression", "ObjectExpression"].includes(expression.type);
      if (fits) return expression as Extract<AnyNode, { type: "ClassExpression" }>;
      return undefined;
    } catch {
      // Not of this grammar; sloppy-mode code parses only as a script, methods only inside an object literal.
    }
  }
  return undefined;
}

function isNode(value: unknown): value is AnyNode {
  return typeof value === "object" && value !== null && typeof (value as Fields).type === "string";
}

/** Names that a pattern binds. */
export function patternNames(pattern: AnyNode, into: Set<string>): void {
  switch (pattern.type) {
    case "Identifier":
      into.add(pattern.name);
      return;
    case "ObjectPattern":
      for (const p of pattern.properties) patternNames(p.type === "Property" ? p.value : p.argument, into);
      return;
    case "ArrayPattern":
      for (const element of pattern.elements) if (element) patternNames(element, into);
      return;
    case "AssignmentPattern":
      patternNames(pattern.left, into);
      return;
    case "RestElement":
      patternNames(pattern.argument, into);
      return;
    default:
  }
}

/** let, const, class and function declarations directly in a block. */
function blockNames(body: readonly AnyNode[]): Set<string> {
  const names = new Set<string>();
  for (const statement of body) {
    if (statement.type === "VariableDeclaration" && statement.kind !== "var") for (const d of statement.declarations) patternNames(d.id, names);
    else if ((statement.type === "FunctionDeclaration" || statement.type === "ClassDeclaration") && statement.id) names.add(statement.id.name);
  }
  return names;
}

/** `var`s at any depth, and functions in blocks, which sloppy code hoists; other functions' bodies excluded. */
function varNames(body: readonly unknown[], into: Set<string>): void {
  for (const node of body) {
    if (!isNode(node)) continue;
    if (node.type === "VariableDeclaration" && node.kind === "var") for (const d of node.declarations) patternNames(d.id, into);
    if (node.type === "FunctionDeclaration" && node.id) into.add(node.id.name);
    if (/Function|Class/.test(node.type)) continue;
    for (const value of Object.values(node) as unknown[]) {
      if (Array.isArray(value)) varNames(value, into);
      else if (isNode(value)) varNames([value], into);
    }
  }
}

function membersOf(root: Extract<AnyNode, { type: "ClassExpression" }>, source: string, offset: number): Map<string, string> {
  const members = new Map<string, string>();
  for (const member of root.body.body) {
    if (member.type === "StaticBlock" || member.computed || member.key.type === "PrivateIdentifier") continue;
    const name = member.key.type === "Identifier" ? member.key.name : String((member.key as { value?: unknown }).value);
    const text = source.slice(member.start - offset, member.end - offset);
    const key = member.static ? `static ${name}` : name;
    // A getter and its setter share a name.
    members.set(key, (members.get(key) ?? "") + text);
  }
  return members;
}
