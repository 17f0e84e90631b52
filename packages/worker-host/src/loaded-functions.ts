// LoadedFunctions: the functions and classes that this worker was sent, each read when it is first needed.
//
// Owns:     blobs by id, what was made of them.
// Not mine: reading a blob (Codec), which function a task names (user-executor.ts).
// Crosses:  in: load.  out: rememberFunction, so that shipping one on needs no new copy.
//
// Invariants
//   F1. a blob is read once, however many tasks need it, unless reading fails: then those that wait fail, and the next one tries again.
import { publicError, rememberFunction, type Runtime } from "@tray/core-worker";

export type UserFunction = (...args: unknown[]) => unknown;

export class LoadedFunctions {
  private readonly blobs = new Map<string, Uint8Array>();
  private readonly functions = new Map<string, UserFunction | Promise<UserFunction>>();

  constructor(private readonly runtime: () => Runtime) {}

  /** Kept as bytes until it is needed: the job that it belongs to may not be known yet. */
  load(functionId: string, blob: Uint8Array): void {
    this.blobs.set(functionId, blob);
  }

  /** A promise when modules must be loaded first. @throws SYSTEM when it was not sent, SERIALIZATION when it cannot be read. */
  get(functionId: string): UserFunction | Promise<UserFunction> {
    const known = this.functions.get(functionId);
    if (known !== undefined) return known;
    const blob = this.blobs.get(functionId);
    if (blob === undefined) throw publicError("SYSTEM", `function ${functionId} was not loaded`);
    const { codec } = this.runtime();
    const whenRoot: ((fn: Function) => void)[] = [];
    if (!codec.needsPreparation(blob)) return this.wasRead(functionId, codec.deserializeFunction(blob, { args: [], whenRoot }), whenRoot);
    const prepared = codec.prepareFunction(blob, { args: [], whenRoot }).then((fn) => this.wasRead(functionId, fn, whenRoot));
    prepared.catch(() => this.functions.delete(functionId)); // F1; told by the tasks that need it
    this.functions.set(functionId, prepared);
    return prepared;
  }

  /** True when `error` is of one of the classes that were sent under `classesId`; "" stands for none. */
  isInstance(classesId: string, error: unknown): boolean {
    const blob = this.blobs.get(classesId);
    if (classesId === "" || blob === undefined) return false;
    const classes = this.runtime().codec.deserialize(blob, { args: [] }, { copyBuffers: true }) as (abstract new () => unknown)[];
    return classes.some((cls) => error instanceof cls);
  }

  private wasRead(functionId: string, fn: Function, whenRoot: readonly ((fn: Function) => void)[]): UserFunction {
    for (const complete of whenRoot) complete(fn);
    this.functions.set(functionId, fn as UserFunction);
    rememberFunction(this.runtime(), fn, functionId);
    return fn as UserFunction;
  }
}
