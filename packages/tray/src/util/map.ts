import { cancel, clusterResources, get, type ObjectRef, remote, type RemoteFunction, type TaskOptions, TrayError } from "../index.js";
import { boundedMap, type Started } from "./bounded-map.js";

export interface MapOptions {
  /** Tasks submitted whose results were not taken yet. Default: twice the CPUs of the cluster. */
  maxInFlight?: number;
  /** Results in the order of the items (true, the default), or as they come. */
  ordered?: boolean;
  /** Aborting cancels what runs and rejects with the signal's reason. */
  signal?: AbortSignal;
  /** For a plain function: the options of its tasks. A remote function has its own. */
  taskOptions?: Omit<TaskOptions, "numReturns">;
}

const tasksPerCpu = 2;

/**
 * Runs `fn` on every item as tasks, with a bounded number in flight, and gives the results one after the other:
 *
 *   for await (const size of map(sizeOf, urls, { maxInFlight: 100 })) total += size;
 *
 * `items` may be endless and may be asynchronous; it is read as room becomes free. Nothing starts before the first result is asked for. A task that
 * fails throws its error here; then, and when the loop is left early, nothing more is submitted and the tasks that run are cancelled.
 * @throws INVALID_ARGUMENT for a bad option, at the first step; else what `get` throws.
 */
export function map<T, R>(
  fn: RemoteFunction<[item: T], R> | ((item: T) => R),
  items: Iterable<T | ObjectRef<T>> | AsyncIterable<T | ObjectRef<T>>,
  options: MapOptions = {},
): AsyncGenerator<Awaited<R>, void, undefined> {
  const task = typeof fn === "function" ? remote(fn, options.taskOptions ?? {}) : fn;
  const start = (item: T | ObjectRef<T>): Started<Awaited<R>> => {
    const ref = task.remote(item) as ObjectRef<Awaited<R>>;
    let done = false;
    const result = get(ref).finally(() => {
      done = true;
      ref.release(); // now, and not when this handle is collected: the window bounds what is stored
    });
    return {
      result,
      abandon: () => {
        if (!done) cancel(ref).catch(() => undefined); // an effort: whoever cares for the outcome is gone
      },
    };
  };
  return run(start, items, options);
}

async function* run<T, R>(
  start: (item: T) => Started<R>,
  items: Iterable<T> | AsyncIterable<T>,
  { maxInFlight, ordered, signal }: MapOptions,
): AsyncGenerator<R, void, undefined> {
  if (maxInFlight !== undefined && (!Number.isInteger(maxInFlight) || maxInFlight < 1))
    throw new TrayError("INVALID_ARGUMENT", `map: maxInFlight is ${maxInFlight}, it must be a positive integer`);
  const limit = maxInFlight ?? Math.max(1, Math.ceil(tasksPerCpu * ((await clusterResources())["CPU"] ?? 1)));
  yield* boundedMap(items, start, { limit, ordered: ordered ?? true, signal });
}
