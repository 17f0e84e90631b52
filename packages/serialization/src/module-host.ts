import { existsSync } from "node:fs";
import { createRequire, isBuiltin } from "node:module";
import { dirname, isAbsolute, join, relative, resolve, sep } from "node:path";
import { fileURLToPath, pathToFileURL } from "node:url";
import { types } from "node:util";
import { compileFunction, constants } from "node:vm";
import { messageOf, TrayError } from "@tray/common";

/** A module named so that another machine finds it too. */
export interface ModuleRef {
  /** builtin: `node:fs`. file: a path, relative to the working directory unless outside of it. package: a bare specifier as written in the importer. */
  readonly kind: "builtin" | "file" | "package";
  readonly specifier: string;
  /** package only: directory of the importer, relative to the working directory unless outside of it. */
  readonly from: string;
  /** How the importer got it; decides what a CommonJS module's `default` is, and how it is loaded again. */
  readonly loader: "import" | "require";
}

/** What the codec needs to know of the module system; `createModuleHost` is the real one. */
export interface ModuleHost {
  /** The job's own script: its functions and classes always go by value. */
  isMain(url: string): boolean;
  /** By a script's URL or path; undefined for what is not a file (eval, REPL). */
  referToScript(url: string, loader: ModuleRef["loader"]): ModuleRef | undefined;
  /** By a specifier as the module `importer` (URL or path) wrote it. */
  referToImport(specifier: string, importer: string, loader: ModuleRef["loader"]): ModuleRef | undefined;
  /** The name under which a loaded CommonJS module exports `value`; "" if it is `module.exports` itself. */
  exportNameOf(url: string, value: unknown): string | undefined;
  /** Loads an ES module by `import()`, once; afterwards `binding` finds it. */
  prepare(ref: ModuleRef): Promise<void>;
  /** An export of a module, `"*"` the module itself. Synchronous: what was not prepared is loaded by `require`. */
  binding(ref: ModuleRef, name: string): unknown;
  /** Where a file of the job lies on this machine. */
  pathOf(ref: ModuleRef): string;
  requireFrom(file: string): NodeJS.Require;
}

export interface ModuleHostOptions {
  /** The job's working directory on this machine, absolute. */
  workingDir: string;
  /** URL or path of the driver's script; none in workers. */
  mainModule?: string;
  /**
   * Bare specifiers that resolve here when the job does not bring the package: `{ tray: "/…/tray/dist/index.cjs" }`. What these files export goes by
   * the specifier, too: the package may lie elsewhere on the next machine.
   */
  fallbacks?: Readonly<Record<string, string>>;
}

type DynamicImport = (specifier: string) => Promise<unknown>;

/** A file's path; undefined for what is not a file. Loaders such as tsx add queries. */
export function pathOfUrl(url: string): string | undefined {
  if (url.startsWith("file:")) {
    try {
      return fileURLToPath(url.replace(/[?#].*$/, ""));
    } catch {
      return undefined; // file URLs of another host, from a source map or a damaged value
    }
  }
  if (url.startsWith("data:")) {
    // tsx's way to give a CommonJS module in TypeScript to an ES module.
    const file = /\?filePath=([^&#]+)$/.exec(url)?.[1];
    return file === undefined ? undefined : decodeURIComponent(file);
  }
  return isAbsolute(url) ? url.replace(/\?.*$/, "") : undefined;
}

export const typescriptFile = /\.[cm]?tsx?$/;

/** TypeScript files import `./x.js`, or `./x`, and mean `x.ts`; who loads it from elsewhere must know. */
function meantByTypeScript(path: string): string {
  const sources = /\.[cm]?jsx?$/.test(path)
    ? [path.replace(/js(x?)$/, "ts$1"), path.replace(/\.js$/, ".tsx")]
    : [`${path}.ts`, `${path}.tsx`, join(path, "index.ts")];
  return sources.find((file) => existsSync(file)) ?? path;
}

class NodeModuleHost implements ModuleHost {
  readonly #workingDir: string;
  readonly #main: string | undefined;
  readonly #fallbacks: Readonly<Record<string, string>>;
  readonly #imported = new Map<string, unknown>();

  constructor(options: ModuleHostOptions) {
    this.#workingDir = resolve(options.workingDir);
    this.#main = options.mainModule === undefined ? undefined : (pathOfUrl(options.mainModule) ?? resolve(options.mainModule));
    this.#fallbacks = options.fallbacks ?? {};
  }

  isMain(url: string): boolean {
    return this.#main !== undefined && pathOfUrl(url) === this.#main;
  }

  /** Forward slashes; absolute when outside of the working directory, which only a machine with the same files can follow. */
  #portable(path: string): string {
    const inside = relative(this.#workingDir, path);
    return (inside === ".." || inside.startsWith(`..${sep}`) || isAbsolute(inside) ? path : inside).split(sep).join("/");
  }

  #referToPath(path: string, loader: ModuleRef["loader"]): ModuleRef {
    const fallback = Object.keys(this.#fallbacks).find((specifier) => this.#fallbacks[specifier] === path);
    return fallback === undefined
      ? { kind: "file", specifier: this.#portable(path), from: "", loader }
      : { kind: "package", specifier: fallback, from: "", loader };
  }

  referToScript(url: string, loader: ModuleRef["loader"]): ModuleRef | undefined {
    if (isBuiltin(url)) return { kind: "builtin", specifier: url, from: "", loader };
    const path = pathOfUrl(url);
    return path === undefined ? undefined : this.#referToPath(path, loader);
  }

  referToImport(specifier: string, importer: string, loader: ModuleRef["loader"]): ModuleRef | undefined {
    if (isBuiltin(specifier)) return { kind: "builtin", specifier, from: "", loader };
    const from = pathOfUrl(importer) ?? join(this.#workingDir, "main");
    const directory = dirname(from);
    if (/^\.{0,2}\//.test(specifier) || specifier === "." || specifier === "..") {
      const path = resolve(directory, specifier);
      return this.#referToPath(typescriptFile.test(from) ? meantByTypeScript(path) : path, loader);
    }
    if (specifier.startsWith("file:")) return this.referToScript(specifier, loader);
    return { kind: "package", specifier, from: this.#portable(directory), loader };
  }

  exportNameOf(url: string, value: unknown): string | undefined {
    const path = pathOfUrl(url);
    if (path === undefined) return undefined;
    const exports: unknown = this.requireFrom(path).cache[path]?.exports;
    if (exports === value) return "";
    if ((typeof exports !== "object" && typeof exports !== "function") || exports === null) return undefined;
    // Compilers export through getters; reading them is what any importer does.
    return Object.keys(exports).find((name) => (exports as Record<string, unknown>)[name] === value);
  }

  pathOf(ref: ModuleRef): string {
    return resolve(this.#workingDir, ref.specifier);
  }

  requireFrom(file: string): NodeJS.Require {
    return createRequire(file);
  }

  /** A file that stands for the importer: resolution starts in its directory. */
  #importerOf(ref: ModuleRef): string {
    return join(resolve(this.#workingDir, ref.from), "_.js");
  }

  #keyOf(ref: ModuleRef): string {
    return `${ref.kind}\0${ref.specifier}\0${ref.from}`;
  }

  async prepare(ref: ModuleRef): Promise<void> {
    const key = this.#keyOf(ref);
    if (ref.loader === "require" || ref.kind === "builtin" || this.#imported.has(key)) return;
    let loaded: unknown;
    try {
      loaded = await (ref.kind === "file" ? import(pathToFileURL(this.pathOf(ref)).href) : this.#importPackage(ref));
    } catch (error) {
      const fallback = this.#fallbacks[ref.specifier];
      if (ref.kind !== "package" || fallback === undefined || !isNotFound(error)) throw this.#failed(ref, error);
      loaded = await import(pathToFileURL(fallback).href);
    }
    this.#imported.set(key, withNames(loaded));
  }

  /**
   * As the importer's directory sees it: the main context's default loader resolves against the file name given here, with the conditions of `import`
   * and the process's loader hooks.
   */
  #importPackage(ref: ModuleRef): Promise<unknown> {
    const make = compileFunction("return (specifier) => import(specifier);", [], {
      filename: this.#importerOf(ref),
      importModuleDynamically: constants.USE_MAIN_CONTEXT_DEFAULT_LOADER,
    }) as () => DynamicImport;
    return withoutLoaderWarning(() => make()(ref.specifier));
  }

  #failed(ref: ModuleRef, error: unknown): TrayError {
    const target =
      ref.kind === "package"
        ? `${ref.specifier} (from ${resolve(this.#workingDir, ref.from)})`
        : ref.kind === "file"
          ? this.pathOf(ref)
          : ref.specifier;
    const code = (error as { code?: unknown } | null)?.code;
    const asyncOnly = code === "ERR_REQUIRE_ASYNC_MODULE" || code === "ERR_PACKAGE_PATH_NOT_EXPORTED";
    return new TrayError("SERIALIZATION", `cannot load module ${target}, which a shipped function or class uses: ${messageOf(error)}`, {
      cause: error,
      hint: asyncOnly
        ? "this module can only be loaded asynchronously; import it in the task's function itself"
        : "the worker needs the job's files: set runtimeEnv.workingDir, or install the package there",
    });
  }

  #require(ref: ModuleRef): unknown {
    const require = createRequire(this.#importerOf(ref));
    try {
      return require(ref.kind === "file" ? this.pathOf(ref) : ref.specifier);
    } catch (error) {
      const fallback = this.#fallbacks[ref.specifier];
      if (ref.kind === "package" && fallback !== undefined && isNotFound(error)) return require(fallback);
      throw this.#failed(ref, error);
    }
  }

  binding(ref: ModuleRef, name: string): unknown {
    const imported = this.#imported.get(this.#keyOf(ref));
    if (ref.loader === "import" && imported !== undefined) return name === "*" ? imported : (imported as Record<string, unknown>)[name];
    const loaded = this.#require(ref);
    if (ref.loader === "require" || types.isModuleNamespaceObject(loaded)) {
      return name === "*" ? loaded : (loaded as Record<string, unknown>)[name];
    }
    // A CommonJS module seen through `import`.
    if (name === "default") return loaded;
    return name === "*" ? namespaceOf(loaded) : (loaded as Record<string, unknown>)[name];
  }
}

/** tsx's loader shows a CommonJS module in TypeScript as its `default` alone; importers compiled by tsx see the names, so shipped code must as well. */
function withNames(namespace: unknown): unknown {
  if (!types.isModuleNamespaceObject(namespace)) return namespace;
  if (Object.keys(namespace as object).some((key) => key !== "default" && key !== "module.exports")) return namespace;
  const exports = (namespace as { default?: unknown }).default;
  return (exports as { __esModule?: unknown } | null | undefined)?.__esModule === true ? namespaceOf(exports) : namespace;
}

/** Node calls that way of importing experimental, in a warning about which the user of a program that reads a value can do nothing. */
function withoutLoaderWarning<T>(start: () => T): T {
  const emit = process.emitWarning;
  process.emitWarning = (warning: string | Error, ...rest: unknown[]): void => {
    if (!String(warning).includes("USE_MAIN_CONTEXT_DEFAULT_LOADER")) Reflect.apply(emit, process, [warning, ...rest]);
  };
  try {
    return start();
  } finally {
    process.emitWarning = emit;
  }
}

function isNotFound(error: unknown): boolean {
  const code = (error as { code?: unknown } | null)?.code;
  return code === "MODULE_NOT_FOUND" || code === "ERR_MODULE_NOT_FOUND";
}

/** A CommonJS module as `import * as` shows it (also what compilers' interop functions make of `require`). */
export function namespaceOf(exports: unknown): object {
  const namespace = Object.create(null) as Record<string, unknown>;
  if ((typeof exports === "object" || typeof exports === "function") && exports !== null) {
    for (const key of Object.keys(exports)) {
      if (key !== "default") Object.defineProperty(namespace, key, { enumerable: true, get: () => (exports as Record<string, unknown>)[key] });
    }
  }
  namespace.default = exports;
  return namespace;
}

export function createModuleHost(options: ModuleHostOptions): ModuleHost {
  return new NodeModuleHost(options);
}
