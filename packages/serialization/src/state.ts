// What one codec knows beyond a single value: plugged-in kinds, registered classes, identities of classes and symbols.
//
// Owns:     class and symbol ids, the registry of serializers, the record of what was loaded by reference.
// Not mine: the module system (module-host.ts), reading closures (function/inspector.ts), one value's graph (value/*).
// Crosses:  in: encoder and decoder look up and note.  out: nothing.
//
// Invariants
//   C1. An id names one class for ever: the class that was first shipped under it, or, elsewhere in the job, the one revived copy in this process.
//   C2. A class's blob is made once (its captured variables are snapshotted then) and is forwarded unchanged by processes that revived it.
//   C3. Classes are held weakly by id: an id whose class nobody can reach any more is forgotten.
import { TrayError } from "@tray/common";
import type { FunctionInspector } from "./function/inspector.js";
import { type ScriptFacts, readScript } from "./function/script.js";
import type { ModuleHost, ModuleRef } from "./module-host.js";

/** How a kind of object that this package does not know travels. */
export interface Extension<T extends object = object> {
  /** Stable name on the wire. */
  readonly tag: string;
  /** Called for class instances, functions and proxies, never for plain objects and arrays. Use a brand (symbol), not `instanceof`. */
  test(value: object): value is T;
  /**
   * Plain data, itself serialized. `context` is what the caller gave to `serialize`. May be called more than once for one occurrence (a trial
   * whether a getter or an error's property can be shipped), so noting the same value twice must not matter.
   */
  encode(value: T, context: unknown): unknown;
  decode(data: unknown, context: unknown): T;
}

export interface RegisteredSerializer {
  readonly key: string;
  readonly cls: Function;
  /** Wherever the class is, it has registered itself. */
  readonly byItself: boolean;
  readonly serialize: (value: object) => unknown;
  readonly deserialize: (data: unknown) => unknown;
}

export interface ClassEntry {
  readonly id: string;
  blob: Uint8Array | undefined;
  /** Ids of classes that the blob names. */
  dependencies: readonly string[];
  encoding: boolean;
}

/** A value that came from a module by reference: captured again, it goes by reference again. */
export interface Provenance {
  readonly ref: ModuleRef;
  readonly name: string;
}

export class CodecState {
  readonly #classes = new WeakMap<Function, ClassEntry>();
  readonly #classesById = new Map<string, WeakRef<Function>>();
  readonly #forget = new FinalizationRegistry<string>((id) => {
    if (this.#classesById.get(id)?.deref() === undefined) this.#classesById.delete(id); // C3
  });
  readonly #symbols = new Map<string, symbol>();
  readonly #symbolIds = new Map<symbol, string>();
  readonly #facts = new Map<string, ScriptFacts>();
  readonly #idPrefix: string;
  #nextId = 0;
  readonly registeredByClass = new Map<Function, RegisteredSerializer>();
  readonly registeredByKey = new Map<string, RegisteredSerializer>();
  readonly provenance = new WeakMap<object, Provenance>();
  readonly extensionsByTag = new Map<string, Extension>();

  constructor(
    readonly extensions: readonly Extension[],
    readonly host: ModuleHost,
    readonly inspector: FunctionInspector,
    idPrefix: string,
    readonly stackOf: (error: Error) => unknown = (error) => error.stack,
  ) {
    this.#idPrefix = idPrefix;
    for (const extension of extensions) {
      if (this.extensionsByTag.has(extension.tag)) throw new TrayError("INVALID_ARGUMENT", `two extensions with the tag ${extension.tag}`);
      this.extensionsByTag.set(extension.tag, extension);
    }
  }

  extensionFor(value: object): Extension | undefined {
    for (const extension of this.extensions) if (extension.test(value)) return extension;
    return undefined;
  }

  #newId(): string {
    return `${this.#idPrefix}-${(this.#nextId++).toString(36)}`;
  }

  knownClass(cls: Function): ClassEntry | undefined {
    return this.#classes.get(cls);
  }

  classEntry(cls: Function): ClassEntry {
    return this.#classes.get(cls) ?? this.noteClass(cls, this.#newId(), undefined, []);
  }

  noteClass(cls: Function, id: string, blob: Uint8Array | undefined, dependencies: readonly string[]): ClassEntry {
    const entry: ClassEntry = { id, blob, dependencies, encoding: false };
    this.#classes.set(cls, entry);
    this.#classesById.set(id, new WeakRef(cls));
    this.#forget.register(cls, id);
    return entry;
  }

  classById(id: string): Function | undefined {
    return this.#classesById.get(id)?.deref();
  }

  symbolId(symbol: symbol): string {
    let id = this.#symbolIds.get(symbol);
    if (id === undefined) {
      id = this.#newId();
      this.noteSymbol(symbol, id);
    }
    return id;
  }

  noteSymbol(symbol: symbol, id: string): void {
    this.#symbolIds.set(symbol, id);
    this.#symbols.set(id, symbol);
  }

  symbolById(id: string): symbol | undefined {
    return this.#symbols.get(id);
  }

  scriptFacts(scriptId: string | undefined): ScriptFacts | undefined {
    if (scriptId === undefined) return undefined;
    let facts = this.#facts.get(scriptId);
    if (facts === undefined) {
      const script = this.inspector.script(scriptId);
      if (script === undefined) return undefined;
      facts = readScript(script);
      this.#facts.set(scriptId, facts);
    }
    return facts;
  }
}
