// Closures: reads a function's scopes through the V8 inspector, connected to this very thread.
//
// The protocol only speaks in previews; live values come out by calling back into this thread: an object planted where the inspector's `Runtime.evaluate`
// finds it (a builtin module, shared by every realm of the thread) carries functions in and scope objects out.
import inspector from "node:inspector";
import { messageOf, TrayError } from "@tray/common";

export interface ScopeEntry {
  /** "Closure (f)", "Block", "Catch", "Module", "Script", "Global", … */
  readonly description: string;
  /** The live values of the scope's variables, by name. */
  readonly variables: Readonly<Record<string, unknown>>;
}

export interface FunctionInside {
  /** Innermost first, without the global scope. */
  readonly scopes: readonly ScopeEntry[];
  readonly scriptId: string | undefined;
  /** Zero-based, where V8 says the function starts. */
  readonly line: number;
  readonly column: number;
}

export interface ScriptText {
  readonly url: string;
  readonly isModule: boolean;
  readonly source: string;
  /** As the script's last comment gives it; "" for none. */
  readonly sourceMapUrl: string;
}

interface Slot {
  fn: unknown;
  scopes: ArrayLike<{ description: string; object: Record<string, unknown> }> | undefined;
}

interface RemoteObject {
  objectId?: string;
  value?: { scriptId?: string; lineNumber?: number; columnNumber?: number };
}

interface ParsedScript {
  scriptId: string;
  url: string;
  isModule?: boolean;
  sourceMapURL?: string;
}

const slotKey = Symbol.for("tray.serialization.slot");
const group = "tray.serialization";

/** One session a thread, opened at first use and kept: it holds no debugger attached. */
export class FunctionInspector {
  #session: inspector.Session | undefined;
  #slot: Slot = { fn: undefined, scopes: undefined };
  #slotId = "";
  readonly #scripts = new Map<string, ScriptText>();

  #post(method: string, params: object): Record<string, unknown> {
    let result: object | undefined;
    let failure: Error | null = null;
    // Synchronous for a session on the own thread: the callback has run when post returns.
    this.#session?.post(method, params, (error, answer) => {
      failure = error;
      result = answer;
    });
    if (failure !== null || result === undefined) {
      throw new TrayError("SERIALIZATION", `the V8 inspector did not answer ${method}: ${failure === null ? "no reply" : messageOf(failure)}`);
    }
    return result as Record<string, unknown>;
  }

  #connect(): void {
    if (this.#session !== undefined) return;
    const session = new inspector.Session();
    session.connect();
    this.#session = session;
    const home = inspector.Session as unknown as Record<symbol, Slot>;
    // Several copies of this package in one thread share the slot; nothing runs between filling and reading it.
    const planted = home[slotKey] ?? this.#slot;
    home[slotKey] = planted;
    this.#slot = planted;
    const expression = `process.getBuiltinModule("node:inspector").Session[Symbol.for("tray.serialization.slot")]`;
    this.#slotId = (this.#post("Runtime.evaluate", { expression }).result as RemoteObject).objectId ?? "";
  }

  /** @throws TrayError SERIALIZATION when this runtime cannot show scopes. */
  inspect(fn: object): FunctionInside {
    this.#connect();
    const slot = this.#slot;
    try {
      slot.fn = fn;
      const handle = this.#post("Runtime.callFunctionOn", {
        objectId: this.#slotId,
        functionDeclaration: "function () { return this.fn; }",
        objectGroup: group,
      }).result as RemoteObject;
      const properties = this.#post("Runtime.getProperties", { objectId: handle.objectId, ownProperties: true }).internalProperties as
        | { name: string; value?: RemoteObject }[]
        | undefined;
      const location = properties?.find((p) => p.name === "[[FunctionLocation]]")?.value?.value;
      const scopesId = properties?.find((p) => p.name === "[[Scopes]]")?.value?.objectId;
      const place = { scriptId: location?.scriptId, line: location?.lineNumber ?? 0, column: location?.columnNumber ?? 0 };
      if (scopesId === undefined) return { scopes: [], ...place };
      this.#post("Runtime.callFunctionOn", {
        objectId: scopesId,
        functionDeclaration: "function (slot) { slot.scopes = this; }",
        arguments: [{ objectId: this.#slotId }],
        objectGroup: group,
      });
      const scopes = Array.from(slot.scopes ?? [], (s) => ({ description: s.description, variables: s.object })).filter(
        (s) => s.description !== "Global",
      );
      return { scopes, ...place };
    } finally {
      slot.fn = undefined;
      slot.scopes = undefined;
      this.#post("Runtime.releaseObjectGroup", { objectGroup: group });
    }
  }

  /**
   * The text that V8 runs for a script (after loaders such as tsx), cached. The debugger is on only for the moment of asking (2–3 ms): left on, a
   * `debugger` statement in user code would stop the thread.
   */
  script(scriptId: string): ScriptText | undefined {
    const known = this.#scripts.get(scriptId);
    if (known !== undefined) return known;
    this.#connect();
    let parsed: ParsedScript | undefined;
    const onParsed = (message: { params: ParsedScript }): void => {
      if (message.params.scriptId === scriptId) parsed = message.params;
    };
    const session = this.#session as unknown as NodeJS.EventEmitter;
    session.on("Debugger.scriptParsed", onParsed);
    try {
      this.#post("Debugger.enable", {});
      if (parsed === undefined) return undefined;
      const source = String(this.#post("Debugger.getScriptSource", { scriptId }).scriptSource);
      const script = { url: parsed.url, isModule: parsed.isModule === true, source, sourceMapUrl: parsed.sourceMapURL ?? "" };
      this.#scripts.set(scriptId, script);
      return script;
    } finally {
      session.off("Debugger.scriptParsed", onParsed);
      this.#post("Debugger.disable", {});
    }
  }

  /** @throws TrayError SERIALIZATION naming the runtime when closures cannot be read here. */
  probe(): void {
    const hidden = { mark: Symbol("probe") };
    const closure = (): unknown => hidden;
    let seen: unknown;
    try {
      seen = this.inspect(closure).scopes.find((s) => "hidden" in s.variables)?.variables.hidden;
    } catch (error) {
      throw new TrayError("SERIALIZATION", `this runtime cannot show a function's variables (V8 inspector): ${messageOf(error)}`, {
        cause: error,
        hint: "use Node.js 20.19 or later",
      });
    }
    if (seen !== hidden)
      throw new TrayError("SERIALIZATION", "this runtime's V8 inspector does not show a function's variables", {
        hint: "use Node.js 20.19 or later",
      });
  }
}
