// Requests: what the user's thread asked for and has not been answered: gets, waits, calls.
//
// Owns:     open requests by id.
// Invariants
//   Q1. every request is answered, or forgotten by the asker; a forgotten one says nothing more and gives back what it pinned.
//   Q2. a request of a running task that cannot be answered at once counts as blocking until it is.
import { formatSize, messageOf } from "@tray/common";
import { type ErrorInfo, ObjectPurpose } from "@tray/protocol";
import type { Located, ToUser } from "../thread/to-user.js";
import type { BlockedLease } from "./blocked-lease.js";
import { errorInfo, errorInfoOf, failureOf } from "./failures.js";
import type { ObjectEntry } from "./object-entry.js";
import type { ObjectFetcher } from "./object-fetcher.js";
import type { ReferenceTable } from "./reference-table.js";

interface Open {
  forgotten: boolean;
  left: number;
  blocking: boolean;
  onForget: (() => void) | undefined;
  /** Objects of a get that are in object stores, and their size together. */
  stored?: { readonly ids: Set<string>; bytes: number };
}

export class Requests {
  private readonly open = new Map<number, Open>();
  /** Objects that waits have asked for to be brought here, and which of them is to be told. */
  private readonly bringing = new Map<ObjectEntry, Set<() => void>>();

  constructor(
    private readonly user: ToUser,
    private readonly references: ReferenceTable,
    private readonly fetcher: ObjectFetcher,
    private readonly lease: BlockedLease,
    /** Of this node's object store. */
    private readonly storeBytes: () => number,
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
    if (entry.state.kind === "stored" && !this.fits(request, entry.id, entry.state.size)) {
      this.answer(requestId, request, index, { kind: "failed", failure: failureOf(this.tooMuch(request)) });
      return;
    }
    this.fetcher.locate(entry, ObjectPurpose.GET).then(
      (located) => this.answer(requestId, request, index, located),
      (error: unknown) => this.answer(requestId, request, index, { kind: "failed", failure: failureOf(errorInfoOf(error)) }),
    );
  }

  /** The values of one get are all in the node's store at one time. Those that were counted are remembered by their ids. */
  private fits(request: Open, objectId: string, size: number): boolean {
    request.stored ??= { ids: new Set(), bytes: 0 };
    const { stored } = request;
    if (!stored.ids.has(objectId)) stored.bytes += size;
    stored.ids.add(objectId);
    return stored.bytes <= this.storeBytes();
  }
  private tooMuch({ stored }: Open): ErrorInfo {
    return errorInfo(
      "OBJECT_STORE_FULL",
      `the values of one get take ${formatSize(stored?.bytes ?? 0)} or more together, and the node's object store has ${formatSize(this.storeBytes())}`,
      { hint: "get fewer at a time and let go of those that are done with, or start the node with a larger --object-store-memory" },
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
    const isReady = (entry: ObjectEntry): boolean => entry.ready && (!fetchLocal || this.fetcher.isHere(entry));
    const ready = new Array<boolean>(entries.length).fill(false);
    let count = 0;
    for (let i = 0; i < entries.length; i++) {
      const entry = entries[i] as ObjectEntry;
      if (!isReady(entry)) continue;
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
      const known = (): void => {
        if (isReady(entry)) listener();
        else if (!request.forgotten) cleanups.push(this.bring(entry, listener));
      };
      this.references.use(entry);
      cleanups.push(() => {
        this.references.stopListening(entry, known);
        this.references.unuse(entry);
      });
      this.references.whenReady(entry, known);
      if (entry.owner !== undefined) this.fetcher.ask(entry);
    }
  }

  /** To this node, once for all who wait, and those who ask again after a timeout; its bytes may leave again when room is needed. Answers how not to be told. */
  private bring(entry: ObjectEntry, arrived: () => void): () => void {
    let told = this.bringing.get(entry);
    if (told === undefined) {
      told = new Set();
      this.bringing.set(entry, told);
      const all = told;
      void this.fetcher.locate(entry, ObjectPurpose.WAIT).then((located) => {
        this.bringing.delete(entry);
        if (located.kind === "stored") this.fetcher.unpin([located.pinId]);
        for (const tell of [...all]) tell(); // a failure is an answer, too
      });
    }
    told.add(arrived);
    return () => told.delete(arrived);
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
    if (blocking) this.lease.blockedBegin(); // Q2
    return request;
  }
  private end(requestId: number, request: Open): void {
    if (this.open.get(requestId) !== request) return;
    this.open.delete(requestId);
    if (request.blocking) this.lease.blockedEnd();
  }
}

function indicesOf(flags: readonly boolean[]): number[] {
  const indices: number[] = [];
  for (let i = 0; i < flags.length; i++) if (flags[i] === true) indices.push(i);
  return indices;
}
