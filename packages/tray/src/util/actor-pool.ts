// ActorPool: work spread over a set of actors, each with one call of the pool at a time.
//
// Owns:     which actor is idle, the jobs that wait for one, the results of `submit` that were not taken.
// Not mine: the actors' lives (theirs who hold the handles), the window of `map` (bounded-map.ts).
//
// Invariants
//   A1. an actor is idle, or has one job of this pool, or has left the pool.
//   A2. jobs begin in order; none waits while an actor is idle.
//   A3. of what was submitted, at most twice as many as there are actors have begun and were not taken: the others wait for `getNext…`.
//   A4. an actor that is dead leaves the pool; one that is being made again stays away until it is there. With no actor left, what waits fails.
import { type Duration, Deque, isTrayError, parseDuration, systemClock } from "@tray/common";
import { type ActorHandle, get, GetTimeoutError, type ObjectRef, ready, TrayError } from "../index.js";
import { boundedMap, type Started } from "./bounded-map.js";

export interface GetNextOptions {
  /** GetTimeoutError after this. The result stays, and may be asked for again. */
  timeout?: Duration;
}

export interface PoolMapOptions {
  /** Aborting starts nothing more and rejects with the signal's reason. */
  signal?: AbortSignal;
}

type Outcome = { readonly ok: true; readonly value: unknown } | { readonly ok: false; readonly error: unknown };

interface Job<H> {
  /** Makes the call. */
  readonly begin: (actor: H) => ObjectRef<unknown>;
  readonly settle: (outcome: Outcome) => void;
}

/** A result of `submit`. */
interface Entry {
  outcome: Outcome | undefined;
  /** A `getNext` waits for it. */
  claimed: boolean;
}

/** Begun and not taken, for each actor: the next call is there when one ends, although the consumer is a little behind. */
const windowPerActor = 2;

/**
 * Shares work among actors. `H` is the type of their handles; `fn` makes the call:
 *
 *   const pool = new ActorPool([Parser.remote(), Parser.remote()]);
 *   for await (const tree of pool.map((parser, file: string) => parser.parse.remote(file), files)) …
 */
export class ActorPool<H extends ActorHandle<unknown>> {
  readonly #actors = new Set<H>();
  readonly #idle = new Deque<H>();
  readonly #jobs = new Deque<Job<H>>();
  /** Submitted, in order; those not yet begun as jobs are in `#held`. */
  readonly #entries = new Set<Entry>();
  readonly #held = new Deque<{ entry: Entry; begin: Job<H>["begin"] }>();
  /** Entries with an outcome. */
  readonly #settled = new Set<Entry>();
  /** What the last actor died of; another one may be pushed. */
  #lost: Outcome | undefined;
  #watchers: (() => void)[] = [];

  constructor(actors: Iterable<H>) {
    for (const actor of actors) this.push(actor);
  }

  /**
   * Calls `fn` for each value on the next idle actor, and gives the results in the order of the values. `values` may be endless and asynchronous: it is
   * read as actors and the consumer go on. A call that fails throws its error here. Independent of `submit`.
   */
  map<V, R>(
    fn: (actor: H, value: V) => ObjectRef<R>,
    values: Iterable<V> | AsyncIterable<V>,
    options: PoolMapOptions = {},
  ): AsyncGenerator<R, void, undefined> {
    return this.#map(fn, values, true, options);
  }

  /** As `map`, results as they come. */
  mapUnordered<V, R>(
    fn: (actor: H, value: V) => ObjectRef<R>,
    values: Iterable<V> | AsyncIterable<V>,
    options: PoolMapOptions = {},
  ): AsyncGenerator<R, void, undefined> {
    return this.#map(fn, values, false, options);
  }

  /** Calls `fn(actor, value)` when an actor is idle; the result is for `getNext` or `getNextUnordered`. */
  submit<V>(fn: (actor: H, value: V) => ObjectRef<unknown>, value: V): void {
    const entry: Entry = { outcome: undefined, claimed: false };
    this.#entries.add(entry);
    this.#held.push({ entry, begin: (actor) => fn(actor, value) });
    this.#admit();
  }

  /** The result of the earliest submission that was not taken. @throws its error; GetTimeoutError; INVALID_ARGUMENT when there is none. */
  async getNext<R = unknown>(options: GetNextOptions = {}): Promise<R> {
    const entry = firstFree(this.#entries);
    if (entry === undefined) throw noMore();
    entry.claimed = true; // two that wait at the same time get different ones
    if (!(await this.#until(() => entry.outcome !== undefined, options.timeout))) {
      entry.claimed = false;
      throw timedOut(options.timeout);
    }
    return this.#take(entry) as R;
  }

  /** The result of any submission, the first to be there. @throws as getNext. */
  async getNextUnordered<R = unknown>(options: GetNextOptions = {}): Promise<R> {
    let found: Entry | undefined;
    const isThere = (): boolean => {
      if (!this.hasNext()) throw noMore(); // others took them
      found = firstFree(this.#settled);
      return found !== undefined;
    };
    if (!(await this.#until(isThere, options.timeout))) throw timedOut(options.timeout);
    return this.#take(found as Entry) as R;
  }

  /** Results of `submit` are there or to come. */
  hasNext(): boolean {
    return firstFree(this.#entries) !== undefined;
  }

  /** A submission would begin at once. */
  hasFree(): boolean {
    return this.#idle.length > 0 && this.#held.length === 0;
  }

  /** Adds an actor. @throws INVALID_ARGUMENT if it is in the pool. */
  push(actor: H): void {
    if (this.#actors.has(actor)) throw new TrayError("INVALID_ARGUMENT", "ActorPool: the actor is in the pool already");
    this.#actors.add(actor);
    this.#idle.push(actor);
    this.#lost = undefined;
    this.#dispatch();
    this.#admit();
  }

  /** Takes an idle actor out of the pool; undefined when none is, or work waits. */
  popIdle(): H | undefined {
    const actor = this.hasFree() ? this.#idle.shift() : undefined;
    if (actor !== undefined) this.#actors.delete(actor);
    return actor;
  }

  #map<V, R>(
    fn: (actor: H, value: V) => ObjectRef<R>,
    values: Iterable<V> | AsyncIterable<V>,
    ordered: boolean,
    { signal }: PoolMapOptions,
  ): AsyncGenerator<R, void, undefined> {
    const start = (value: V): Started<R> => {
      let wanted = true;
      const result = new Promise<R>((resolve, reject) => {
        this.#enqueue({
          begin: (actor) => {
            if (!wanted) throw new TrayError("TASK_CANCELLED", "nobody waits for the result any more");
            return fn(actor, value);
          },
          settle: (outcome) => (outcome.ok ? resolve(outcome.value as R) : reject(outcome.error as Error)),
        });
      });
      // A call under way is left to end: its actor is not free before.
      return { result, abandon: () => (wanted = false) };
    };
    return boundedMap(values, start, { limit: Math.max(1, this.#actors.size * windowPerActor), ordered, signal });
  }

  #take(entry: Entry): unknown {
    this.#entries.delete(entry);
    this.#settled.delete(entry);
    this.#admit();
    const outcome = entry.outcome as Outcome;
    if (!outcome.ok) throw outcome.error;
    return outcome.value;
  }

  /** A3 */
  #admit(): void {
    while (this.#held.length > 0 && this.#entries.size - this.#held.length < Math.max(1, this.#actors.size * windowPerActor)) {
      const { entry, begin } = this.#held.shift() as { entry: Entry; begin: Job<H>["begin"] };
      const settle = (outcome: Outcome): void => {
        entry.outcome = outcome;
        this.#settled.add(entry);
        const watchers = this.#watchers;
        this.#watchers = [];
        for (const look of watchers) look();
      };
      this.#enqueue({ begin, settle });
    }
  }

  #enqueue(job: Job<H>): void {
    this.#jobs.push(job);
    this.#dispatch();
  }

  /** A2, A4 */
  #dispatch(): void {
    while (this.#lost !== undefined && this.#jobs.length > 0) this.#jobs.shift()?.settle(this.#lost);
    while (this.#idle.length > 0 && this.#jobs.length > 0) void this.#run(this.#jobs.shift() as Job<H>, this.#idle.shift() as H);
  }

  async #run(job: Job<H>, actor: H): Promise<void> {
    let failure: unknown;
    try {
      job.settle({ ok: true, value: await get(job.begin(actor)) });
    } catch (error) {
      failure = error;
      job.settle({ ok: false, error });
    }
    // The error may tell of another actor, whose result was an argument: ask this one.
    const isSuspect = isTrayError(failure, "ACTOR_DIED") || isTrayError(failure, "ACTOR_UNAVAILABLE");
    if (isSuspect && !(await isAlive(actor))) {
      this.#actors.delete(actor); // A4
      if (this.#actors.size === 0) this.#lost = { ok: false, error: failure };
    } else this.#idle.push(actor);
    this.#dispatch();
    this.#admit();
  }

  /** Resolves with true once `isDone`, which is asked whenever a submission has its result; with false when the time is over. */
  #until(isDone: () => boolean, timeout: Duration | undefined): Promise<boolean> {
    return new Promise((resolve, reject) => {
      const timer = timeout === undefined ? undefined : systemClock.after(parseDuration(timeout, "timeout"), () => finish(false));
      const finish = (done: boolean): void => {
        timer?.cancel();
        this.#watchers = this.#watchers.filter((watcher) => watcher !== look);
        resolve(done);
      };
      const look = (): void => {
        try {
          if (isDone()) finish(true);
          else this.#watchers.push(look);
        } catch (error) {
          timer?.cancel();
          reject(error as Error);
        }
      };
      look();
    });
  }
}

function firstFree(entries: Iterable<Entry>): Entry | undefined {
  for (const entry of entries) if (!entry.claimed) return entry;
  return undefined;
}

async function isAlive(actor: ActorHandle<unknown>): Promise<boolean> {
  try {
    await ready(actor);
    return true;
  } catch {
    return false; // why it is dead was told by the call that failed
  }
}

function noMore(): TrayError {
  return new TrayError("INVALID_ARGUMENT", "ActorPool: there is no result to get", { hint: "ask hasNext() first" });
}

function timedOut(timeout: Duration | undefined): Error {
  return new GetTimeoutError(`no result after ${parseDuration(timeout ?? 0, "timeout")} ms`);
}
