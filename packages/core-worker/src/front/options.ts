// User options compiled once into resolved ones: validated, in fixed point, with defaults. Unknown keys and bad values throw at once, naming the key.
import { type Duration, parseDuration, parseSize, type Size, TrayError } from "@tray/common";
import { closest } from "@tray/config";
import { type Resources, toFixedPoint } from "@tray/protocol";
import type { TemplateOptions } from "../thread/to-core.js";

export interface NodeAffinity {
  nodeId: string;
  soft: boolean;
}

export interface ResourceOptions {
  numCpus?: number;
  numGpus?: number;
  memory?: Size;
  resources?: Record<string, number>;
}

export interface TaskOptions extends ResourceOptions {
  /** "streaming": the function is a generator whose items become objects as they are yielded. The default for generator functions; else 1. */
  numReturns?: number | "streaming";
  maxRetries?: number;
  retryExceptions?: boolean | (new (...a: never[]) => Error)[];
  schedulingStrategy?: "DEFAULT" | "SPREAD" | NodeAffinity;
  labelSelector?: Record<string, string>;
  name?: string;
  maxCalls?: number;
  timeout?: Duration;
  /** Streaming: the generator pauses at so many items that nobody has taken. Default 100; -1 = never. */
  generatorBackpressureNumObjects?: number;
}

export interface ActorOptions extends ResourceOptions {
  name?: string;
  namespace?: string;
  getIfExists?: boolean;
  lifetime?: "detached";
  schedulingStrategy?: "DEFAULT" | "SPREAD" | NodeAffinity;
  labelSelector?: Record<string, string>;
  maxRestarts?: number;
  maxTaskRetries?: number;
  maxConcurrency?: number;
  concurrencyGroups?: Record<string, number>;
  maxPendingCalls?: number;
}

export interface MethodOptions {
  /** As of tasks. */
  numReturns?: number | "streaming";
  generatorBackpressureNumObjects?: number;
  name?: string;
  concurrencyGroup?: string;
  maxTaskRetries?: number;
  retryExceptions?: boolean | (new (...a: never[]) => Error)[];
}

const taskKeys = [
  "numCpus",
  "numGpus",
  "memory",
  "resources",
  "numReturns",
  "maxRetries",
  "retryExceptions",
  "schedulingStrategy",
  "labelSelector",
  "name",
  "maxCalls",
  "timeout",
  "generatorBackpressureNumObjects",
];
const actorKeys = [
  "numCpus",
  "numGpus",
  "memory",
  "resources",
  "name",
  "namespace",
  "getIfExists",
  "lifetime",
  "schedulingStrategy",
  "labelSelector",
  "maxRestarts",
  "maxTaskRetries",
  "maxConcurrency",
  "concurrencyGroups",
  "maxPendingCalls",
];
const methodKeys = ["numReturns", "generatorBackpressureNumObjects", "name", "concurrencyGroup", "maxTaskRetries", "retryExceptions"];

function bad(what: string, message: string, hint?: string): TrayError {
  return new TrayError("INVALID_ARGUMENT", `option ${what}: ${message}`, hint === undefined ? {} : { hint });
}

function checkKeys(options: object, keys: readonly string[], of: string): void {
  for (const key of Object.keys(options)) {
    if (keys.includes(key)) continue;
    const meant = closest(key, keys);
    throw bad(key, `unknown option of ${of}${meant === undefined ? "" : `; did you mean ${meant}?`}`, `known options: ${keys.join(", ")}`);
  }
}

function integer(options: Record<string, unknown>, key: string, fallback: number, min: number): number {
  const value = options[key];
  if (value === undefined) return fallback;
  if (typeof value !== "number" || !Number.isInteger(value) || value < min)
    throw bad(key, `${JSON.stringify(value)} is not an integer of at least ${min}`);
  return value;
}

/** Fixed-point amounts; `defaultCpus` when numCpus is not given. */
export function resourcesOf(options: ResourceOptions, defaultCpus: number): Resources {
  const amounts: Record<string, number> = {};
  const quantity = (key: "numCpus" | "numGpus", fallback: number): number => {
    const value = options[key] ?? fallback;
    if (typeof value !== "number" || !Number.isFinite(value) || value < 0)
      throw bad(key, `${JSON.stringify(value)} is not a quantity`, "a number that is not negative; fractions are allowed");
    return value;
  };
  amounts["CPU"] = quantity("numCpus", defaultCpus);
  const gpus = quantity("numGpus", 0);
  if (gpus > 1 && !Number.isInteger(gpus)) throw bad("numGpus", `${gpus}: above 1, GPUs are whole`);
  if (gpus > 0) amounts["GPU"] = gpus;
  if (options.memory !== undefined) amounts["memory"] = parseSize(options.memory, "option memory");
  for (const [name, amount] of Object.entries(options.resources ?? {})) {
    if (name === "CPU" || name === "GPU") throw bad("resources", `${name} has an option of its own`, name === "CPU" ? "use numCpus" : "use numGpus");
    amounts[name] = amount;
  }
  return toFixedPoint(amounts);
}

function strategyOf(strategy: TaskOptions["schedulingStrategy"]): TemplateOptions["strategy"] {
  if (strategy === undefined || strategy === "DEFAULT") return undefined;
  if (strategy === "SPREAD") return { kind: "spread" };
  if (typeof strategy === "object" && typeof strategy.nodeId === "string")
    return { kind: "nodeAffinity", nodeId: strategy.nodeId, soft: strategy.soft === true };
  throw bad("schedulingStrategy", `${JSON.stringify(strategy)} is none`, 'use "DEFAULT", "SPREAD" or { nodeId, soft }');
}

/** What of retryExceptions decides here. Classes are compared where the error is (the submitter's process revives it). */
export interface Retries {
  readonly always: boolean;
  readonly classes: readonly (new (...a: never[]) => Error)[];
}

function retriesOf(value: TaskOptions["retryExceptions"]): Retries {
  if (value === undefined || value === false) return { always: false, classes: [] };
  if (value === true) return { always: true, classes: [] };
  if (Array.isArray(value) && value.every((c) => typeof c === "function")) return { always: false, classes: value };
  throw bad("retryExceptions", "neither a boolean nor a list of error classes");
}

export interface ResolvedTask {
  readonly template: Omit<TemplateOptions, "functionId" | "name" | keyof ReturnType<Returns>>;
  readonly returns: Returns;
  readonly name: string | undefined;
  readonly retries: Retries;
}

export function resolveTaskOptions(options: TaskOptions): ResolvedTask {
  checkKeys(options, taskKeys, "a task");
  const fields = options as Record<string, unknown>;
  const retries = retriesOf(options.retryExceptions);
  return {
    name: options.name,
    retries,
    returns: returnsOf(fields),
    template: {
      resources: resourcesOf(options, 1),
      strategy: strategyOf(options.schedulingStrategy),
      labelSelector: options.labelSelector,
      maxRetries: integer(fields, "maxRetries", 3, -1),
      retryExceptions: retries.always,
      maxCalls: integer(fields, "maxCalls", 0, 0),
      timeoutMs: options.timeout === undefined ? undefined : parseDuration(options.timeout, "option timeout"),
    },
  };
}

/** Generators pause at so many items that nobody has taken, if not told otherwise. */
const backpressureDefault = 100;

/** How many references a call gives, once it is known whether the function is a generator. */
export type Returns = (isGenerator: boolean) => Pick<TemplateOptions, "numReturns" | "streaming" | "backpressure">;

function returnsOf(fields: Record<string, unknown>): Returns {
  const { numReturns } = fields;
  const limit = integer(fields, "generatorBackpressureNumObjects", backpressureDefault, -1);
  if (limit === 0) throw bad("generatorBackpressureNumObjects", "0 would let nothing through", "a positive integer, or -1 for no limit");
  const streaming = { numReturns: 1, streaming: true, backpressure: Math.max(0, limit) };
  if (numReturns === "streaming") return () => streaming;
  if (typeof numReturns === "string") throw bad("numReturns", `${JSON.stringify(numReturns)} is none`, 'a number, or "streaming"');
  const fixed = { numReturns: integer(fields, "numReturns", 1, 0) };
  return (isGenerator) => (isGenerator && numReturns === undefined ? streaming : fixed);
}

/** True for the functions that `function*`, `async function*` and methods with a star make. */
export function isGeneratorFunction(fn: unknown): boolean {
  const tag = Object.prototype.toString.call(fn);
  return tag === "[object GeneratorFunction]" || tag === "[object AsyncGeneratorFunction]";
}

export interface ResolvedActor {
  readonly name: string;
  readonly namespace: string | undefined;
  readonly getIfExists: boolean;
  readonly detached: boolean;
  readonly placement: Resources;
  readonly lifetime: Resources;
  readonly strategy: TemplateOptions["strategy"];
  readonly labelSelector: Readonly<Record<string, string>> | undefined;
  readonly maxRestarts: number;
  readonly maxTaskRetries: number;
  readonly maxConcurrency: number;
  readonly concurrencyGroups: Readonly<Record<string, number>>;
  readonly maxPendingCalls: number;
}

export function resolveActorOptions(options: ActorOptions): ResolvedActor {
  checkKeys(options, actorKeys, "an actor");
  const fields = options as Record<string, unknown>;
  if (options.lifetime !== undefined && options.lifetime !== "detached")
    throw bad("lifetime", `${JSON.stringify(options.lifetime)} is none`, 'the only lifetime is "detached"');
  if (options.lifetime === "detached" && !options.name)
    throw bad("lifetime", "a detached actor needs a name", "give it one, or nobody could find it again");
  if (options.getIfExists === true && !options.name) throw bad("getIfExists", "needs a name");
  for (const [group, count] of Object.entries(options.concurrencyGroups ?? {})) {
    if (!Number.isInteger(count) || count < 1) throw bad("concurrencyGroups", `${group}: ${count} is not a positive integer`);
  }
  return {
    name: options.name ?? "",
    namespace: options.namespace,
    getIfExists: options.getIfExists === true,
    detached: options.lifetime === "detached",
    placement: resourcesOf(options, 1),
    lifetime: resourcesOf(options, 0), // Ray's rule: 1 CPU to place it, 0 while it runs, unless given
    strategy: strategyOf(options.schedulingStrategy),
    labelSelector: options.labelSelector,
    maxRestarts: integer(fields, "maxRestarts", 0, -1),
    maxTaskRetries: integer(fields, "maxTaskRetries", 0, -1),
    maxConcurrency: integer(fields, "maxConcurrency", 1, 1),
    concurrencyGroups: options.concurrencyGroups ?? {},
    maxPendingCalls: integer(fields, "maxPendingCalls", -1, -1),
  };
}

export function checkMethodOptions(options: MethodOptions): { returns: Returns; retries: Retries; maxTaskRetries: number | undefined } {
  checkKeys(options, methodKeys, "a method call");
  const fields = options as Record<string, unknown>;
  return {
    returns: returnsOf(fields),
    retries: retriesOf(options.retryExceptions),
    maxTaskRetries: options.maxTaskRetries === undefined ? undefined : integer(fields, "maxTaskRetries", 0, -1),
  };
}
