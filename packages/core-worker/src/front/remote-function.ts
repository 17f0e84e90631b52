// RemoteFunction: a function that runs elsewhere.
import { createHash } from "node:crypto";
import { type Codec, flatten } from "@tray/serialization";
import { argumentRefusalOf, refusalOf } from "./errors.js";
import type { ObjectRef } from "./object-ref.js";
import type { ObjectRefGenerator } from "./object-ref-generator.js";
import { isGeneratorFunction, type ResolvedTask, resolveTaskOptions, type TaskOptions } from "./options.js";
import type { Runtime } from "./runtime.js";

export const remoteFunctionBrand: unique symbol = Symbol.for("tray.RemoteFunction") as never;

type AnyFunction = (...args: never[]) => unknown;

/** Functions already stored in the cluster's function table, per runtime. */
const shipped = new WeakMap<Runtime, Map<AnyFunction, string>>();

/** A worker knows under which id it got a function: shipping it on needs no new copy. */
export function rememberFunction(runtime: Runtime, fn: Function, functionId: string): void {
  let ids = shipped.get(runtime);
  if (ids === undefined) {
    ids = new Map();
    shipped.set(runtime, ids);
  }
  ids.set(fn as AnyFunction, functionId);
}

/** Stores `fn` in the function table once and answers its id. The closure is a snapshot of this moment. */
export function shipFunction(runtime: Runtime, fn: AnyFunction): string {
  let ids = shipped.get(runtime);
  if (ids === undefined) {
    ids = new Map();
    shipped.set(runtime, ids);
  }
  const known = ids.get(fn);
  if (known !== undefined) return known;
  const codec: Codec = runtime.codec;
  const held: number[] = [];
  const { blob, hash } = serialized(codec, fn, held);
  runtime.keepForJob(held);
  runtime.core.putFunction(hash, blob);
  ids.set(fn, hash);
  return hash;
}

function serialized(codec: Codec, fn: AnyFunction, held: number[]): ReturnType<Codec["serializeFunction"]> {
  try {
    return codec.serializeFunction(fn, { held, root: fn });
  } catch (error) {
    const kind = /^class\b/.test(Function.prototype.toString.call(fn)) ? "class" : "function";
    throw refusalOf(error, `${kind} ${fn.name || "(anonymous)"}`);
  }
}

/** Why an argument list could not be sent, naming the argument. */
export function argumentRefusal(runtime: Runtime, error: unknown, callee: string, args: readonly unknown[]): unknown {
  return argumentRefusalOf(error, callee, args, (arg) => runtime.codec.serialize(arg, { held: [] }));
}

/** Stores the error classes that a task's retries are for; "" when there are none. */
export function shipClasses(runtime: Runtime, classes: readonly Function[]): string {
  if (classes.length === 0) return "";
  const blob = flatten(runtime.codec.serialize([...classes], { held: [] }));
  const id = createHash("sha256").update(blob).digest("hex");
  runtime.core.putFunction(id, blob);
  return id;
}

export class RemoteFunctionCore {
  private readonly resolved: ResolvedTask;
  private template: { runtime: Runtime; id: number; numReturns: number; streaming: boolean } | undefined;

  constructor(
    private readonly current: () => Runtime,
    /** Assigned late where a function refers to itself and is just being read. */
    public fn: AnyFunction,
    readonly given: TaskOptions,
  ) {
    this.resolved = resolveTaskOptions(given);
  }

  submit(args: readonly unknown[]): ObjectRef<unknown> | ObjectRef<unknown>[] | ObjectRefGenerator<unknown> | undefined {
    const runtime = this.current();
    let { template } = this;
    if (template === undefined || template.runtime !== runtime) {
      const functionId = shipFunction(runtime, this.fn);
      const returns = this.resolved.returns(isGeneratorFunction(this.fn));
      template = { runtime, id: runtime.takeTemplate(), numReturns: returns.numReturns, streaming: returns.streaming === true };
      const retryClassesId = shipClasses(runtime, this.resolved.retries.classes);
      runtime.core.defineTemplate(template.id, {
        ...this.resolved.template,
        ...returns,
        functionId,
        retryClassesId,
        name: this.resolved.name ?? (this.fn.name || "anonymous"),
      });
      this.template = template;
    }
    const { numReturns } = template;
    let refs: ObjectRef<unknown>[];
    try {
      if (template.streaming) return runtime.submitStream(template.id, args, 0);
      refs = runtime.submit(template.id, numReturns, args, 0);
    } catch (error) {
      throw argumentRefusal(runtime, error, this.resolved.name ?? (this.fn.name || "an anonymous function"), args);
    }
    return numReturns === 1 ? refs[0] : numReturns === 0 ? undefined : refs;
  }
}
