// Every tunable of a cluster, in one table: default, unit, meaning. SystemConfig, its validation, its JSON schema and `tray config schema` come from here.
// Users write durations and sizes as numbers or strings; resolved values are milliseconds and bytes. 0 and -1 mean something special only where the text says so.
import { type Duration, parseDuration, parseSize, type Size, TrayError } from "@tray/common";

interface Limits {
  /** In resolved units, inclusive. Default 0. */
  min?: number;
  max?: number;
}

/** One tunable: `In` is what users may write, `Out` what programs read. */
export interface Setting<In, Out> extends Limits {
  readonly kind: "duration" | "size" | "integer" | "number" | "boolean" | "choice" | "strings";
  readonly initial: In;
  readonly description: string;
  readonly choices?: readonly Out[];
}

const duration = (initial: Duration, description: string, limits: Limits = {}): Setting<Duration, number> => ({
  kind: "duration",
  initial,
  description,
  ...limits,
});
const size = (initial: Size, description: string, limits: Limits = {}): Setting<Size, number> => ({ kind: "size", initial, description, ...limits });
const integer = (initial: number, description: string, limits: Limits = {}): Setting<number, number> => ({
  kind: "integer",
  initial,
  description,
  ...limits,
});
const ratio = (initial: number, description: string): Setting<number, number> => ({ kind: "number", initial, description, min: 0.01, max: 1 });
const flag = (initial: boolean, description: string): Setting<boolean, boolean> => ({ kind: "boolean", initial, description });
const choice = <C extends string>(initial: C, choices: readonly C[], description: string): Setting<C, C> => ({
  kind: "choice",
  initial,
  description,
  choices,
});
const strings = (initial: readonly string[], description: string): Setting<string | readonly string[], readonly string[]> => ({
  kind: "strings",
  initial,
  description,
});

export const settings = {
  // Objects
  maxDirectCallObjectSize: size(
    "100KiB",
    "Values up to this size travel inside messages and live in their owner's process; larger ones go to shared memory.",
    { max: 16 * 2 ** 20 },
  ),
  objectSpillingThreshold: ratio(0.8, "Part of the object store that primary copies may fill before cold ones are spilled to disk."),
  minSpillingSize: size("100MiB", "Objects are spilled in batches of at least this size, as far as there are so many."),
  objectSpillingDirectory: strings(
    [],
    "Where objects are spilled: one directory or several (used in turn), or an s3:// URI. Empty: the session's directory.",
  ),
  localFsCapacityThreshold: ratio(0.95, "Nothing is spilled to a disk that is fuller than this; OutOfDiskError instead."),
  maxLineageBytes: size(
    "1GiB",
    "What one process (driver or worker) keeps to run tasks again for lost results: their arguments, and small values that nothing else needs any more. Beyond it the oldest go, and what they made can no longer be rebuilt.",
  ),
  enableObjectReconstruction: flag(true, "Rebuild lost objects by running their tasks again."),
  objectBroadcastFanout: integer(
    2,
    "Nodes to which one node sends an object at the same time; whoever else asks for it is sent on to one of those, which passes it on as it comes. 0: sends to all who ask.",
  ),
  objectPullTimeout: duration("10s", "A transfer from another node that makes no progress for this long is tried from another copy.", { min: 100 }),

  // Liveness
  heartbeatInterval: duration("250ms", "How often a raylet reports its load to the GCS when nothing changed in between.", { min: 10 }),
  healthCheckPeriod: duration("500ms", "How often the GCS looks for silent nodes.", { min: 10 }),
  healthCheckTimeout: duration("5s", "A node that was silent for this long is dead, for good."),
  gcsReconnectTimeout: duration("60s", "A raylet whose GCS stays away for longer than this gives up and ends, with its workers.", { min: 1000 }),

  // Workers
  workersPrestart: integer(-1, "Idle workers that a node keeps ready. -1: one for each CPU.", { min: -1, max: 10_000 }),
  workersMax: integer(-1, "Worker processes of a node at most, actors included. -1: no limit but its resources.", { min: -1 }),
  workersStartingMax: integer(-1, "Worker processes that a node starts at the same time. -1: one for each CPU, at least two.", { min: -1 }),
  workerStartTimeout: duration("60s", "A worker process that has not registered after this long is killed and another one started.", { min: 1000 }),
  workerIdleTimeout: duration("60s", "An idle worker beyond `workersPrestart` ends after this long."),
  workerKillGracePeriod: duration("2s", "From asking a worker to end to killing it."),

  // Tasks
  maxTasksInFlightPerWorker: integer(1024, "Tasks that an owner pushes to one worker ahead of their turn, when they are short.", {
    min: 1,
    max: 100_000,
  }),
  shortTaskThreshold: duration(1, "Tasks that take this long or longer are never queued behind another one while other workers are idle."),
  leaseIdleTimeout: duration("40ms", "How long an owner keeps a worker that it has nothing for, in case it soon has."),
  taskOomRetries: integer(-1, "How often a task that the memory guard killed is tried again, beyond its maxRetries. -1: for ever.", { min: -1 }),

  // Memory guard
  memoryMonitorRefresh: duration("250ms", "How often a node's memory is looked at. 0: never; the kernel decides whom it kills."),
  memoryUsageThreshold: ratio(0.95, "Part of the node's memory (or of its control group's limit) above which the guard kills a worker."),

  // Runtime environments and jobs
  runtimeEnvCacheSize: size("10GiB", "Unused runtime environments are kept on a node up to this size."),
  runtimeEnvSetupTimeout: duration("10m", "A runtime environment that is not set up after this long has failed.", { min: 1000 }),
  packageMaxSize: size("512MiB", "Largest working directory, packed, that can be uploaded.", { max: 2 ** 30 }),
  jobStartTimeout: duration("15m", "A submitted job whose driver has not started after this long has failed.", { min: 1000 }),
  jobStopGracePeriod: duration("3s", "From SIGTERM to SIGKILL when a job is stopped."),

  // What dead sessions leave
  sessionHistoryMax: integer(10, "Sessions that have ended and are kept on disk, logs included; older ones are removed at the next start.", {
    min: 0,
    max: 10_000,
  }),
  sessionHistoryAge: duration("7d", "Sessions that ended longer ago than this are removed at the next start."),

  // GCS
  gcsStorageDurability: choice(
    "process",
    ["process", "machine"],
    "What the GCS's acknowledged changes survive: the death of its process (fast), or of the machine too (one disk flush a group of changes).",
  ),
  gcsHistoryMax: integer(10_000, "Dead actors, finished jobs, removed groups and dead nodes that the GCS remembers, of each.", {
    min: 10,
    max: 10_000_000,
  }),
} as const;

export type SettingKey = keyof typeof settings;
type OutOf<S> = S extends Setting<infer _In, infer Out> ? Out : never;
type InOf<S> = S extends Setting<infer In, infer _Out> ? In : never;

/** Every tunable, resolved: durations in milliseconds, sizes in bytes. */
export type SystemConfig = { readonly [K in SettingKey]: OutOf<(typeof settings)[K]> };
/** What users write: any subset, durations and sizes as numbers or strings. */
export type SystemConfigInput = { readonly [K in SettingKey]?: InOf<(typeof settings)[K]> };

/** The resolved value of one setting. @throws Error (or INVALID_ARGUMENT) whose message says what is wrong, without the key. */
export function resolveSetting(setting: Setting<unknown, unknown>, input: unknown): unknown {
  switch (setting.kind) {
    case "duration":
    case "size":
      return inLimits(setting, numberWithUnit(setting.kind, input));
    case "integer":
      if (!Number.isSafeInteger(input)) throw new Error(`${show(input)} is not a whole number`);
      return inLimits(setting, input as number);
    case "number":
      if (typeof input !== "number" || !Number.isFinite(input)) throw new Error(`${show(input)} is not a number`);
      return inLimits(setting, input);
    case "boolean":
      if (typeof input !== "boolean") throw new Error(`${show(input)} is neither true nor false`);
      return input;
    case "choice":
      if (!setting.choices?.includes(input)) throw new Error(`${show(input)} is none of ${setting.choices?.map(show).join(", ")}`);
      return input;
    case "strings": {
      const list: unknown[] = Array.isArray(input) ? input : [input];
      if (!list.every((item) => typeof item === "string" && item !== "")) throw new Error(`${show(input)} is neither a text nor a list of texts`);
      return list;
    }
  }
}

function numberWithUnit(kind: "duration" | "size", input: unknown): number {
  if (typeof input !== "number" && typeof input !== "string") throw new Error(`${show(input)} is not a ${kind}`);
  try {
    return kind === "duration" ? parseDuration(input) : parseSize(input);
  } catch (error) {
    throw new Error(`${show(input)} is not a ${kind}${error instanceof TrayError && error.hint !== undefined ? `: ${error.hint}` : ""}`);
  }
}

function inLimits({ kind, min = 0, max }: Setting<unknown, unknown>, value: number): number {
  const unit = kind === "duration" ? " ms" : kind === "size" ? " bytes" : "";
  if (value < min) throw new Error(`${value}${unit} is below the least allowed, ${min}${unit}`);
  if (max !== undefined && value > max) throw new Error(`${value}${unit} is above the most allowed, ${max}${unit}`);
  return value;
}

function show(value: unknown): string {
  return JSON.stringify(value) ?? String(value);
}
