// Requests: what the user's thread asked for and has not been answered: gets, waits, calls.
//
// Owns:     open requests by id.
// Invariants
//   Q1. every request is answered, or forgotten by the asker; a forgotten one says nothing more and gives back what it pinned.
//   Q2. a request of a running task that cannot be answered at once counts as blocking until it is.
import { messageOf } from "@tray/common";
import type { Located, ToUser } from "../thread/to-user.js";
import type { Executor } from "./executor.js";
import { errorInfoOf, failureOf } from "./failures.js";
import type { ObjectEntry } from "./object-entry.js";
import type { ObjectFetcher } from "./object-fetcher.js";
import type { ReferenceTable } from "./reference-table.js";

interface Open {
  forgotten: boolean;
  left: number;
  blocking: boolean;
  onForget: (() => void) | undefined;
}

export class Requests {
  private readonly open = new Map<number, Open>();

  constructor(
    private readonly user: ToUser,
    private readonly references: ReferenceTable,
    private readonly fetcher: ObjectFetcher,
    private readonly executor: Executor,
  ) {}

  get(requestId: number, inTask: boolean, entries: readonly ObjectEntry[]): void {
    let request: Open | undefined;
    for (let i = 0; i < entries.length; i++) {
      const entry = entries[i] as ObjectEntry;
      const now = this.fetcher.locateNow(entry);
      if (now !== undefined) {
        this.user.ready(requestId, i, now);
        continue;
      }
      request ??= this.begin(requestId, inTask);
      request.left++;
      this.whenLocated(requestId, request, i, entry);
    }
  }

  /** Owned pending objects whose value comes inline are answered without a promise: the hot path. */
  private whenLocated(requestId: number, request: Open, index: number, entry: ObjectEntry): void {
    if (entry.owner === undefined && entry.state.kind === "pending") {
      this.references.use(entry);
      this.references.whenReady(entry, () => {
        const now = this.fetcher.locateNow(entry);
        if (now !== undefined) this.answer(requestId, request, index, now);
        else this.fetch(requestId, request, index, entry);
        this.references.unuse(entry);
      });
    } else this.fetch(requestId, request, index, entry);
  }

  private fetch(requestId: number, request: Open, index: number, entry: ObjectEntry): void {
    this.fetcher.locate(entry).then(
      (located) => this.answer(requestId, request, index, located),
      (error: unknown) => this.answer(requestId, request, index, { kind: "failed", failure: failureOf(errorInfoOf(error)) }),
    );
  }

  private answer(requestId: number, request: Open, index: number, located: Located): void {
    if (request.forgotten) {
      if (located.kind === "stored") this.fetcher.unpin([located.pinId]); // Q1
      return;
    }
    this.user.ready(requestId, index, located);
    if (--request.left === 0) this.end(requestId, request);
  }

  wait(requestId: number, inTask: boolean, numReturns: number, fetchLocal: boolean, entries: readonly ObjectEntry[]): void {
    const ready = new Array<boolean>(entries.length).fill(false);
    let count = 0;
    for (let i = 0; i < entries.length; i++) {
      const entry = entries[i] as ObjectEntry;
      if (!entry.ready) continue;
      ready[i] = true;
      count++;
    }
    const answer = (): void => this.user.reply(requestId, true, JSON.stringify(indicesOf(ready)));
    if (count >= numReturns) {
      answer();
      return;
    }
    const request = this.begin(requestId, inTask);
    const cleanups: (() => void)[] = [];
    request.onForget = () => {
      for (const cleanup of cleanups) cleanup();
      answer(); // a wait that timed out tells what is ready
    };
    for (let i = 0; i < entries.length; i++) {
      const entry = entries[i] as ObjectEntry;
      if (ready[i] === true) continue;
      const index = i;
      const listener = (): void => {
        if (request.forgotten) return;
        ready[index] = true;
        if (++count < numReturns) return;
        for (const cleanup of cleanups) cleanup();
        this.end(requestId, request);
        request.forgotten = true;
        answer();
      };
      this.references.use(entry);
      cleanups.push(() => {
        this.references.stopListening(entry, listener);
        this.references.unuse(entry);
      });
      this.references.whenReady(entry, listener);
      if (entry.owner !== undefined) this.fetcher.ask(entry);
      void fetchLocal;
    }
  }

  /** Replies with what `take` takes, which answers how to stop waiting. */
  nextItem(requestId: number, inTask: boolean, take: (taken: (index: number | undefined) => void) => () => void): void {
    let answered = false;
    const leave = take((index) => {
      answered = true;
      this.user.reply(requestId, true, index === undefined ? "null" : `{"index":${index}}`);
      const request = this.open.get(requestId);
      if (request !== undefined) this.end(requestId, request);
    });
    if (!answered) this.begin(requestId, inTask).onForget = leave;
  }

  /** Runs `work` and replies with its result as JSON. */
  track(requestId: number, work: (signal: AbortSignal) => Promise<unknown>): void {
    const aborter = new AbortController();
    const request = this.begin(requestId, false);
    request.onForget = () => aborter.abort(new Error("no longer wanted"));
    work(aborter.signal).then(
      (result) => {
        if (!request.forgotten) this.user.reply(requestId, true, JSON.stringify(result ?? null));
        this.end(requestId, request);
      },
      (error: unknown) => {
        if (!request.forgotten)
          this.user.reply(requestId, false, JSON.stringify({ ...failureOf(errorInfoOf(error)), cause: undefined, text: messageOf(error) }));
        this.end(requestId, request);
      },
    );
  }

  forget(requestId: number): void {
    const request = this.open.get(requestId);
    if (request === undefined) return;
    request.forgotten = true;
    request.onForget?.();
    this.end(requestId, request);
  }

  private begin(requestId: number, blocking: boolean): Open {
    const request: Open = { forgotten: false, left: 0, blocking, onForget: undefined };
    this.open.set(requestId, request);
    if (blocking) this.executor.blockedBegin(); // Q2
    return request;
  }
  private end(requestId: number, request: Open): void {
    if (this.open.get(requestId) !== request) return;
    this.open.delete(requestId);
    if (request.blocking) this.executor.blockedEnd();
  }
}

function indicesOf(flags: readonly boolean[]): number[] {
  const indices: number[] = [];
  for (let i = 0; i < flags.length; i++) if (flags[i] === true) indices.push(i);
  return indices;
}
