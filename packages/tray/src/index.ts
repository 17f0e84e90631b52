/**
 * tray: tasks, actors and objects on one machine or many.
 *
 *   import * as tray from "tray";
 *   const square = tray.remote((x: number) => x * x);
 *   const refs = [1, 2, 3].map((x) => square.remote(x));
 *   console.log(await tray.get(refs));      // [1, 4, 9]
 */
import { type Duration, type ErrorCode, isTrayError as isTrayErrorOf, parseDuration, TrayError } from "@tray/common";
import { closest } from "@tray/config";
import {
  type ActorOptions,
  ExitActorSignal,
  fromCaller,
  handleStateOf,
  isObjectRef,
  isObjectRefGenerator,
  makeHandle,
  ObjectRef,
  ObjectRefGenerator,
  refusalOf,
  slotOf,
  type TaskOptions,
} from "@tray/core-worker";
import { connect, connectSync, disconnect, type InitOptions } from "./driver.js";
import { connectOnce, currentLink, errors, isClass, makeActorClass, makeRemoteFunction, onFirstUse, rememberSerializer, runtime } from "./state.js";
import { checkSerializer } from "@tray/serialization";
import type { ActorClass, ActorHandle, AnyClass, DefaultReturns, RemoteFunction } from "./types.js";
import { installWorkerMain } from "./worker-main.js";

onFirstUse(connectSync);
installWorkerMain();

// ── connecting ───────────────────────────────────────────────────────────────────────────────────────────────────────────────
/**
 * Connects this process to a cluster, or starts one for it.
 * @throws ConnectionError, AuthenticationError, VersionMismatchError; CONFLICT when connected already.
 */
export async function init(options: InitOptions = {}): Promise<RuntimeContext> {
  try {
    checkInitOptions(options);
    await connectOnce(() => connect(options));
    return getRuntimeContext();
  } catch (error) {
    throw fromCaller(error, init);
  }
}

/** Disconnects; ends the cluster if `init` started it. Idempotent. */
export async function shutdown(): Promise<void> {
  await disconnect();
}

export function isInitialized(): boolean {
  return currentLink() !== undefined;
}

// ── tasks and actors ─────────────────────────────────────────────────────────────────────────────────────────────────────────
/** Makes a class's instances actors. */
export function remote<C extends AnyClass>(cls: C, options?: ActorOptions): ActorClass<C>;
/** Makes a function run as tasks. Its closure travels with it: captured values are snapshotted at the first `.remote()`. */
export function remote<A extends unknown[], R, const O extends TaskOptions = object>(
  fn: (...args: A) => R,
  options?: O,
): RemoteFunction<A, R, O extends { numReturns: infer N } ? N : DefaultReturns<R>>;
export function remote(target: Function, options: object = {}): unknown {
  try {
    if (typeof target !== "function") throw new TrayError("INVALID_ARGUMENT", `remote takes a function or a class, not ${typeof target}`);
    return isClass(target)
      ? makeActorClass(target as unknown as new (...args: never[]) => object, options)
      : makeRemoteFunction(target as (...args: never[]) => unknown, options);
  } catch (error) {
    throw fromCaller(error, remote);
  }
}

export async function kill(actor: ActorHandle<unknown>, options: { noRestart?: boolean } = {}): Promise<void> {
  try {
    await runtime().call("killActor", { actorId: stateOf(actor, "kill").description.actorId, noRestart: options.noRestart ?? true });
  } catch (error) {
    throw fromCaller(error, kill);
  }
}

/** Resolves when the actor is created and alive; rejects with the reason why it is not (its constructor's error, a taken name, …). */
export async function ready(actor: ActorHandle<unknown>, options: GetOptions = {}): Promise<void> {
  try {
    const { actorId } = stateOf(actor, "ready").description;
    const timeoutMs = options.timeout === undefined ? undefined : parseDuration(options.timeout, "timeout");
    if (timeoutMs === undefined) {
      await runtime().call("actorReady", { actorId }, options.signal);
      return;
    }
    const { clock } = runtime();
    const aborter = new AbortController();
    const timer = clock.after(timeoutMs, () => aborter.abort(new errors.GetTimeoutError(`actor ${actorId} was not ready after ${timeoutMs} ms`)));
    try {
      await runtime().call(
        "actorReady",
        { actorId },
        options.signal === undefined ? aborter.signal : AbortSignal.any([options.signal, aborter.signal]),
      );
    } finally {
      timer.cancel();
    }
  } catch (error) {
    throw fromCaller(error, ready);
  }
}

/** The handle of a named actor. It does not keep the actor alive. @throws ActorNotFoundError */
export async function getActor<T = unknown>(name: string, namespace?: string): Promise<ActorHandle<T>> {
  try {
    const r = runtime();
    const found = await r.call<{ actorId: string; className: string; methods: string[]; streams: string[]; maxTaskRetries: number; owner: never }>(
      "getActor",
      {
        name,
        namespace: namespace ?? r.currentNamespace,
      },
    );
    return makeHandle(r, 0, { ...found, maxPendingCalls: -1 }) as ActorHandle<T>;
  } catch (error) {
    throw fromCaller(error, getActor);
  }
}

export async function listNamedActors(options: { allNamespaces?: boolean } = {}): Promise<{ name: string; namespace: string }[]> {
  const r = runtime();
  return await r.call("listNamedActors", { namespace: options.allNamespaces === true ? "" : r.currentNamespace });
}

/** Inside an actor's method: this call ends with undefined, then the actor exits on purpose and is not restarted. */
export function exitActor(): never {
  if (currentLink()?.context()?.actorId === undefined) throw new TrayError("INVALID_ARGUMENT", "exitActor() was called outside of an actor's method");
  throw new ExitActorSignal();
}

// ── objects ──────────────────────────────────────────────────────────────────────────────────────────────────────────────────
export interface GetOptions {
  /** GetTimeoutError after this; the task goes on. */
  timeout?: Duration;
  /** Aborting rejects with the signal's reason; the task goes on. */
  signal?: AbortSignal;
}

/** Stores a value. Resolves when it is stored; waits while the store is full. */
export async function put<T>(value: T): Promise<ObjectRef<T>> {
  try {
    return (await runtime().put(value)) as ObjectRef<T>;
  } catch (error) {
    throw fromCaller(refusalOf(error, "the value given to put"), put);
  }
}

/** The value of a reference, or of each in an array, in order. @throws what the task threw (TaskError, cause attached), or why there is no value. */
export async function get<T>(ref: ObjectRef<T>, options?: GetOptions): Promise<T>;
export async function get<T extends readonly unknown[]>(refs: { [K in keyof T]: ObjectRef<T[K]> }, options?: GetOptions): Promise<T>;
export async function get(refs: ObjectRef<unknown> | readonly ObjectRef<unknown>[], options: GetOptions = {}): Promise<unknown> {
  try {
    const many = Array.isArray(refs);
    const list = (many ? refs : [refs]) as readonly ObjectRef<unknown>[];
    checkRefs(list, "get");
    const timeoutMs = options.timeout === undefined ? undefined : parseDuration(options.timeout, "timeout");
    const values = await runtime().get(list, timeoutMs, options.signal);
    return many ? values : values[0];
  } catch (error) {
    throw fromCaller(error, get);
  }
}

/** As `get`, blocking this thread (not the cluster) instead of returning a promise. */
export function getSync<T>(ref: ObjectRef<T>, options: { timeout?: Duration } = {}): T {
  try {
    checkRefs([ref], "getSync");
    return runtime().getSync(ref, options.timeout === undefined ? undefined : parseDuration(options.timeout, "timeout")) as T;
  } catch (error) {
    throw fromCaller(error, getSync);
  }
}

let lastWait = 0;

/** Waits until `numReturns` [1] of the references are ready (done or failed) or the time is over. At most numReturns are answered as ready; order is kept. */
export async function wait<T>(
  refs: readonly ObjectRef<T>[],
  options: { numReturns?: number; timeout?: Duration; fetchLocal?: boolean } = {},
): Promise<[ready: ObjectRef<T>[], notReady: ObjectRef<T>[]]> {
  try {
    // One pass over what is often a thousand references that are all there.
    lastWait++;
    let there = 0;
    for (const ref of refs) {
      if (!isObjectRef(ref)) checkRefs(refs, "wait");
      if (ref.waitedIn === lastWait) throw new TrayError("INVALID_ARGUMENT", "wait: the same reference twice; pass each once");
      ref.waitedIn = lastWait;
      if (ref.known && !ref.isReleased) there++;
    }
    const numReturns = options.numReturns ?? 1;
    if (!Number.isInteger(numReturns) || numReturns < 1 || numReturns > refs.length) {
      throw new TrayError(
        "INVALID_ARGUMENT",
        `wait: numReturns is ${numReturns}, with ${refs.length} references it must be from 1 to ${refs.length}`,
      );
    }
    const timeoutMs = options.timeout === undefined ? undefined : parseDuration(options.timeout, "timeout");
    if (there === refs.length) {
      runtime(); // throws after shutdown()
      return [refs.slice(0, numReturns), refs.slice(numReturns)];
    }
    const flags = await runtime().wait(refs as readonly ObjectRef<unknown>[], numReturns, timeoutMs, options.fetchLocal ?? true);
    const done: ObjectRef<T>[] = [];
    const rest: ObjectRef<T>[] = [];
    for (let i = 0; i < refs.length; i++) (flags[i] === true && done.length < numReturns ? done : rest).push(refs[i] as ObjectRef<T>);
    return [done, rest];
  } catch (error) {
    throw fromCaller(error, wait);
  }
}

/** The references in the order in which they become ready. */
export async function* asCompleted<T>(refs: readonly ObjectRef<T>[]): AsyncGenerator<ObjectRef<T>, void, undefined> {
  try {
    checkRefs(refs, "asCompleted");
    const arrived: ObjectRef<T>[] = [];
    let wake: (() => void) | undefined;
    let failed: unknown;
    for (const ref of refs) {
      runtime()
        .wait([ref as ObjectRef<unknown>], 1, undefined, true)
        .then(
          () => arrived.push(ref),
          (error: unknown) => {
            failed ??= error;
          },
        )
        .finally(() => wake?.());
    }
    for (let left = refs.length; left > 0; left--) {
      while (arrived.length === 0) {
        if (failed !== undefined) throw failed as Error;
        await new Promise<void>((resolve) => {
          wake = resolve;
        });
      }
      yield arrived.shift() as ObjectRef<T>;
    }
  } catch (error) {
    throw fromCaller(error, asCompleted);
  }
}

/**
 * Cancels the task that makes `ref`, or the items of a generator: queued, it never runs; running, its signal fires and its result is abandoned.
 * `force` [false] kills its worker; `recursive` [true] cancels what it submitted. `get` then throws TaskCancelledError, if it had not ended before.
 */
export async function cancel(
  ref: ObjectRef<unknown> | ObjectRefGenerator<unknown>,
  options: { force?: boolean; recursive?: boolean } = {},
): Promise<void> {
  try {
    if (!isObjectRefGenerator(ref)) checkRefs([ref], "cancel");
    const r = runtime();
    r.core.cancel(slotOf(ref), options.force ?? false, options.recursive ?? true);
  } catch (error) {
    throw fromCaller(error, cancel);
  }
}

/**
 * How instances of `cls` itself (not of subclasses) travel, here and in the job's workers. May be called before init(), and holds for all connections.
 * A class with private members registers itself, in a static block, where they can be reached.
 * @throws INVALID_ARGUMENT no class, or no functions.
 */
export function registerSerializer<T extends object, S>(
  cls: abstract new (...args: never[]) => T,
  codec: { serialize(value: T): S; deserialize(data: S): T },
): void {
  checkSerializer(cls, codec);
  rememberSerializer(cls, codec as never);
}

// ── the cluster, the context ─────────────────────────────────────────────────────────────────────────────────────────────────
export type Resources = Record<string, number>;

export interface NodeInfo {
  nodeId: string;
  nodeName: string;
  address: string;
  alive: boolean;
  isHead: boolean;
  pid: number;
  labels: Record<string, string>;
  resources: { total: Resources; available: Resources };
  deathReason?: string;
  startTime: string;
  endTime?: string;
}

export const nodes = (): Promise<NodeInfo[]> => runtime().call("nodes");
export const clusterResources = (): Promise<Resources> => runtime().call("clusterResources");
export const availableResources = (): Promise<Resources> => runtime().call("availableResources");

export interface RuntimeContext {
  readonly jobId: string;
  readonly nodeId: string;
  readonly workerId: string;
  /** Undefined in a driver's own code. */
  readonly taskId: string | undefined;
  readonly taskName: string | undefined;
  /** First attempt = 0. */
  readonly attemptNumber: number;
  readonly actorId: string | undefined;
  /** This actor was made again after a failure. */
  readonly wasCurrentActorReconstructed: boolean;
  readonly namespace: string;
  readonly assignedResources: Resources;
  readonly gcsAddress: string;
  /** Fires when the task is cancelled. Never fires in a driver. */
  readonly signal: AbortSignal;
  readonly dashboardUrl: string | undefined;
}

const neverAborted = new AbortController().signal;

/** Where this code runs and what it is part of. */
export function getRuntimeContext(): RuntimeContext {
  const r = runtime();
  const link = currentLink();
  const task = link?.context();
  const assigned: Resources = {};
  for (const [name, amount] of Object.entries(task?.resources ?? {})) assigned[name] = amount / 10_000;
  return {
    jobId: r.currentJobId,
    nodeId: r.connection.nodeId,
    workerId: r.connection.workerId,
    taskId: task?.taskId,
    taskName: task?.taskName,
    attemptNumber: task?.attemptNumber ?? 0,
    actorId: task?.actorId,
    wasCurrentActorReconstructed: task?.actorId !== undefined && ((link?.extra["incarnation"] as number | undefined) ?? 0) > 0,
    namespace: r.currentNamespace,
    assignedResources: assigned,
    gcsAddress: r.connection.gcsAddress,
    signal: task?.signal ?? neverAborted,
    dashboardUrl: link?.extra["dashboardUrl"] as string | undefined,
  };
}

// ── errors ───────────────────────────────────────────────────────────────────────────────────────────────────────────────────
/** True for errors of tray, whichever copy of the package made them; with `code`, only for that code. */
export const isTrayError = (error: unknown, code?: ErrorCode): error is TrayError => isTrayErrorOf(error, code);

export const {
  TaskError,
  WorkerCrashedError,
  ActorDiedError,
  ActorUnavailableError,
  ObjectLostError,
  OwnerDiedError,
  ObjectReconstructionFailedError,
  ObjectFreedError,
  GetTimeoutError,
  TaskTimeoutError,
  TaskCancelledError,
  PendingCallsLimitExceededError,
  ActorNotFoundError,
  NameTakenError,
  OutOfMemoryError,
  ObjectStoreFullError,
  OutOfDiskError,
  RuntimeEnvSetupError,
  TaskUnschedulableError,
  ActorUnschedulableError,
  NodeDiedError,
  SystemError,
  SerializationError,
  ConnectionError,
  AuthenticationError,
  VersionMismatchError,
} = errors;

export { ObjectRef, ObjectRefGenerator, TrayError };
export type { ErrorCode, InitOptions };
export type { ActorOptions, MethodOptions, NodeAffinity, TaskOptions } from "@tray/core-worker";
export type { ActorClass, ActorHandle, ActorMethod, DefaultReturns, RefArgs, RemoteFunction, ReturnRef } from "./types.js";
export type { Duration, Size } from "@tray/common";

function checkRefs(refs: readonly unknown[], what: string): void {
  for (const ref of refs) {
    if (isObjectRef(ref)) continue;
    const got = isObjectRefGenerator(ref)
      ? "an ObjectRefGenerator (take its items: for await)"
      : ref instanceof Promise
        ? "a promise (await it first)"
        : ref === null
          ? "null"
          : typeof ref;
    throw new TrayError("INVALID_ARGUMENT", `${what} takes ObjectRefs, not ${got}`, { hint: "pass what .remote() or await tray.put() gave" });
  }
}

function stateOf(actor: unknown, what: string): NonNullable<ReturnType<typeof handleStateOf>> {
  const state = handleStateOf(actor);
  if (state === undefined)
    throw new TrayError("INVALID_ARGUMENT", `${what} takes an actor handle`, { hint: "pass what SomeActor.remote() or tray.getActor() gave" });
  return state;
}

const initKeys = [
  "address",
  "namespace",
  "jobName",
  "metadata",
  "logToDriver",
  "numCpus",
  "numGpus",
  "memory",
  "objectStoreMemory",
  "resources",
  "labels",
  "dashboard",
  "systemConfig",
];

function checkInitOptions(options: InitOptions): void {
  for (const name of Object.keys(options)) {
    if (initKeys.includes(name)) continue;
    const meant = closest(name, initKeys);
    throw new TrayError("INVALID_ARGUMENT", `init: unknown option ${name}${meant === undefined ? "" : `; did you mean ${meant}?`}`, {
      hint: `known options: ${initKeys.join(", ")}`,
    });
  }
}
