import { setTimeout as pause } from "node:timers/promises";
import { type Duration, isTrayError, parseDuration, systemClock, systemRandom } from "@tray/common";
import { type ActorHandle, type ActorOptions, get, kill, type ObjectRef, remote, TrayError } from "../index.js";
import { type Boxed, QueueActor, type Refusal } from "./queue-actor.js";

export interface QueueOptions {
  /** Items that it holds at most; 0 = as many as its actor's memory holds. Default 0. */
  maxSize?: number;
  /** Of the actor behind it, e.g. `{ name: "jobs", getIfExists: true }` for one that several programs find. Default numCpus: 0. */
  actorOptions?: Omit<ActorOptions, "maxConcurrency" | "concurrencyGroups" | "maxPendingCalls">;
}

export interface QueueWaitOptions {
  /** How long to wait. Default: without end. */
  timeout?: Duration;
  /** Aborting ends the wait with the signal's reason. */
  signal?: AbortSignal;
}

/** `instanceof` goes by code, so that errors that came out of a task count, too. */
function queueError(name: string, code: "QUEUE_FULL" | "QUEUE_EMPTY"): new (message: string) => TrayError {
  const cls = class extends TrayError {
    constructor(message: string) {
      super(code, message);
      this.name = name;
    }
    static override [Symbol.hasInstance](value: unknown): boolean {
      return isTrayError(value, code);
    }
  };
  Object.defineProperty(cls, "name", { value: name });
  return cls;
}

/** There was no room in time. Code QUEUE_FULL. */
export const QueueFullError = queueError("QueueFullError", "QUEUE_FULL");
/** There was no item in time. Code QUEUE_EMPTY. */
export const QueueEmptyError = queueError("QueueEmptyError", "QUEUE_EMPTY");

/** Calls of each kind that wait in the actor; see Q3 of queue-actor.ts. Well below half of what a worker holds at once (1024). */
const waitingMax = 400;
/** More calls than ever come: the actor itself bounds them, and an abandoned call must not stand behind one that waits. */
const groupLimit = 1_000_000;
const ticketBytes = 8;
const firstPauseMs = 10;
const longestPauseMs = 500;

/**
 * A first-in-first-out queue that any driver, task and actor may use at the same time: pass it, nest it, capture it.
 *
 *   const queue = new Queue<string>({ maxSize: 100 });
 *   await queue.put("work");
 *   const work = await queue.get({ timeout: "5s" });
 *
 * Its items live in an actor, as values; references inside stay references. It ends with its last handle, with `shutdown`, or with its actor, and its
 * items with it: calls then throw ActorDiedError. An item that was handed to a process which dies before it sees it is gone.
 */
export class Queue<T> {
  /** Not a #private field: queues travel. */
  private readonly actor: ActorHandle<QueueActor>;

  /** Creates the actor. @throws INVALID_ARGUMENT for a bad option. */
  constructor(options: QueueOptions = {}) {
    const { maxSize = 0, actorOptions = {} } = options;
    if (!Number.isInteger(maxSize) || maxSize < 0)
      throw new TrayError("INVALID_ARGUMENT", `Queue: maxSize is ${maxSize}, it must be a whole number, 0 for no bound`);
    this.actor = remote(QueueActor, {
      numCpus: 0, // a queue must come to life while all CPUs are taken by those who wait for it
      ...actorOptions,
      concurrencyGroups: { put: groupLimit, get: groupLimit },
    }).remote(maxSize, waitingMax);
  }

  /** Adds an item at the end, when there is room. @throws QueueFullError when the time is over. */
  async put(item: T, options: QueueWaitOptions = {}): Promise<void> {
    const box: Boxed = [item];
    const group = { concurrencyGroup: "put" };
    const served = await this.wait<true>(
      (ticket) => this.actor.put.options(group).remote(ticket, box),
      (ticket) => this.actor.abandon.options(group).remote(ticket),
      options,
    );
    if (served === undefined) throw new QueueFullError(`the queue was full for ${parseDuration(options.timeout ?? 0, "timeout")} ms`);
  }

  /** Takes the first item, when there is one. @throws QueueEmptyError when the time is over. */
  async get(options: QueueWaitOptions = {}): Promise<T> {
    const group = { concurrencyGroup: "get" };
    const box = await this.wait<Boxed>(
      (ticket) => this.actor.get.options(group).remote(ticket),
      (ticket) => this.actor.abandon.options(group).remote(ticket),
      options,
    );
    if (box === undefined) throw new QueueEmptyError(`the queue was empty for ${parseDuration(options.timeout ?? 0, "timeout")} ms`);
    return box[0] as T;
  }

  /** @throws QueueFullError when there is no room now. */
  putNowait(item: T): Promise<void> {
    return this.putNowaitBatch([item]);
  }

  /** Adds all of them, or none. @throws QueueFullError when there is no room for all. */
  async putNowaitBatch(items: Iterable<T>): Promise<void> {
    const batch = Array.from(items, (item): Boxed => [item]);
    const answer = await get(this.actor.putNow.remote(batch));
    if (answer !== true) throw new QueueFullError(`the queue has no room for ${batch.length} more, only for ${answer.room}`);
  }

  /** @throws QueueEmptyError when there is no item now. */
  async getNowait(): Promise<T> {
    return (await this.getNowaitBatch(1))[0] as T;
  }

  /** Takes so many items, or none. @throws QueueEmptyError when there are fewer. */
  async getNowaitBatch(count: number): Promise<T[]> {
    if (!Number.isInteger(count) || count < 0) throw new TrayError("INVALID_ARGUMENT", `getNowaitBatch: ${count} is not a number of items`);
    const answer = await get(this.actor.getNow.remote(count));
    if ("size" in answer) throw new QueueEmptyError(count === 1 ? "the queue is empty" : `the queue has ${answer.size} items, not ${count}`);
    return answer.map(([item]) => item as T);
  }

  /** Items that are in it now; others may come and go before the answer does. */
  size(): Promise<number> {
    return get(this.actor.size.remote());
  }
  async empty(): Promise<boolean> {
    return (await this.size()) === 0;
  }
  /** False for a queue without a bound. */
  full(): Promise<boolean> {
    return get(this.actor.full.remote());
  }

  /** Ends the queue and drops its items. Whoever waits for it, and every later call, gets ActorDiedError. */
  shutdown(): Promise<void> {
    return kill(this.actor);
  }

  /** What the actor answered; undefined when the time is over. Only the actor decides whether a call was served: no item is lost or doubled by a timeout. */
  private async wait<A extends true | Boxed>(
    call: (ticket: string) => ObjectRef<A | Refusal>,
    abandon: (ticket: string) => ObjectRef<void>,
    { timeout, signal }: QueueWaitOptions,
  ): Promise<A | undefined> {
    signal?.throwIfAborted();
    const deadline = timeout === undefined ? undefined : systemClock.now() + parseDuration(timeout, "timeout");
    for (let pauseMs = firstPauseMs; ; pauseMs = Math.min(pauseMs * 2, longestPauseMs)) {
      const left = deadline === undefined ? undefined : Math.max(0, deadline - systemClock.now());
      const ticket = systemRandom.hex(ticketBytes);
      const ref = call(ticket);
      const answer = await get(ref, { ...(left === undefined ? {} : { timeout: left }), ...(signal === undefined ? {} : { signal }) }).catch(
        async (error: unknown) => {
          if (!isTrayError(error, "GET_TIMEOUT") && signal?.aborted !== true) throw error;
          await get(abandon(ticket));
          return await get(ref);
        },
      );
      if (answer !== "abandoned" && answer !== "crowded") return answer;
      signal?.throwIfAborted();
      if (answer === "abandoned" || (deadline !== undefined && systemClock.now() >= deadline)) return undefined;
      await pause(pauseMs, undefined, signal === undefined ? {} : { signal }); // unlike the clock's timers, this keeps the process alive
    }
  }
}
