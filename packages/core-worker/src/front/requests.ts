// OpenRequests: what this thread has asked the core thread and waits for.
//
// Owns:     open gets and requests by id, and whether anything can be asked at all: not when closed, not when the cluster is lost.
// Not mine: what is asked (runtime.ts), how an answer becomes a value (value-reader.ts).
// Crosses:  in: ready, reply, lost of ToUser.  out: ToCore.get and forget; what else is asked, its caller sends.
//
// Invariants
//   R1. a request ends once: by its answer, by giving up, or with the cluster.
//   R2. the process stays alive while something is awaited, and not because tray is connected.
//   R3. a pinned place that comes for a get which was given up is unpinned.
//   R4. what a get reads is held until it has been read, also when its reference is released meanwhile.
import { type Deferred, deferred, type TrayError } from "@tray/common";
import type { ThreadChannel } from "../thread/channel.js";
import type { ToCore } from "../thread/to-core.js";
import type { Failure, Located } from "../thread/to-user.js";
import { publicError } from "./errors.js";
import { slotOf } from "./holdings.js";
import type { ObjectRef } from "./object-ref.js";
import type { ValueReader } from "./value-reader.js";

interface GetRequest {
  /** Values not yet read. */
  left: number;
  /** Its caller awaits: modules may be loaded before a value is read. */
  readonly mayPrepare: boolean;
  readonly refs: readonly ObjectRef<unknown>[];
  readonly results: unknown[];
  done(error: unknown): void;
  settled: boolean;
}

interface ReplyRequest {
  resolve(json: string): void;
  reject(error: unknown): void;
}

export class OpenRequests {
  private readonly gets = new Map<number, GetRequest>();
  private readonly replies = new Map<number, ReplyRequest>();
  private lastId = 0;
  private waiting = 0;
  private closed = false;
  private lostWith: Failure | undefined;

  constructor(
    private readonly core: Pick<ToCore, "get" | "forget">,
    private readonly channel: Pick<ThreadChannel, "ref" | "unref">,
    private readonly values: ValueReader,
  ) {}

  /** @throws when nothing can be asked any more. */
  checkOpen(): void {
    if (this.closed)
      throw publicError("CONNECTION", "tray is shut down in this process", {
        hint: "call tray.init() to connect again; handles of the earlier connection stay invalid",
      });
    if (this.lostWith !== undefined) throw this.values.errorOf(this.lostWith);
  }
  /** What is open still gets its answer. */
  close(): void {
    this.closed = true;
  }

  /**
   * Starts a get; `done` is called once, perhaps before this returns, with the first error or undefined. Answers how to give up.
   * `inTask`: on behalf of a task, which may lend its processors meanwhile.
   */
  get(refs: readonly ObjectRef<unknown>[], results: unknown[], inTask: boolean, mayPrepare: boolean, done: (error: unknown) => void): () => void {
    this.checkOpen();
    const slots: number[] = [];
    const asked: ObjectRef<unknown>[] = [];
    const at: number[] = [];
    for (let i = 0; i < refs.length; i++) {
      const ref = refs[i] as ObjectRef<unknown>;
      const slot = slotOf(ref);
      if (ref.cached !== undefined) {
        results[i] = this.values.readCached(ref.cached);
        continue;
      }
      slots.push(slot);
      asked.push(ref);
      at.push(i);
    }
    if (slots.length === 0) {
      done(undefined);
      return () => undefined;
    }
    const id = this.takeId();
    const ordered = new Array<unknown>(slots.length);
    const request: GetRequest = {
      left: slots.length,
      mayPrepare,
      refs: asked,
      results: ordered,
      settled: false,
      done: (error) => {
        if (request.settled) return;
        this.endGet(id, request, error !== undefined && request.left > 0);
        if (error === undefined) for (let i = 0; i < at.length; i++) results[at[i] as number] = ordered[i];
        done(error);
      },
    };
    this.gets.set(id, request);
    for (const ref of asked) ref.beginRead(); // R4
    this.nowWaiting();
    this.core.get(id, inTask, slots);
    return () => {
      if (!request.settled) this.endGet(id, request, true);
    };
  }

  /** Asks for something else, under an id of which `send` makes the message; resolves with its JSON answer. */
  request(send: (id: number) => void, signal?: AbortSignal): Promise<string> {
    this.checkOpen();
    const id = this.takeId();
    const reply: Deferred<string> = deferred<string>();
    const finish = (): void => {
      if (this.replies.delete(id)) this.noLongerWaiting();
      signal?.removeEventListener("abort", onAbort);
    };
    const onAbort = (): void => {
      finish();
      this.core.forget(id);
      reply.reject(signal?.reason);
    };
    this.replies.set(id, {
      resolve: (json) => {
        finish();
        reply.resolve(json);
      },
      reject: (error) => {
        finish();
        reply.reject(error);
      },
    });
    signal?.addEventListener("abort", onAbort, { once: true });
    this.nowWaiting();
    send(id);
    return reply.promise;
  }
  /** The requester has lost interest. Forgetting a wait makes the core answer with what is ready. */
  forget(id: number): void {
    this.core.forget(id);
  }

  // ── what the core thread says ──────────────────────────────────────────────────────────────────────────────────────────
  ready(requestId: number, index: number, located: Located): void {
    const request = this.gets.get(requestId);
    if (request === undefined) {
      if (located.kind === "stored") this.values.unpin(located.pinId); // R3
      return;
    }
    (request.refs[index] as ObjectRef<unknown>).known = true;
    const preparing = request.mayPrepare ? this.values.preparationsOf([located]) : undefined;
    if (preparing === undefined) this.arrived(request, index, located);
    else
      preparing.then(
        () => this.arrived(request, index, located),
        (error: unknown) => request.done(error),
      );
  }

  reply(requestId: number, ok: boolean, json: string): void {
    const request = this.replies.get(requestId);
    if (request === undefined) return;
    if (ok) request.resolve(json);
    else request.reject(this.errorFromJson(json));
  }

  lost(failure: Failure): void {
    this.lostWith = failure;
    const error = this.values.errorOf(failure);
    for (const request of [...this.gets.values()]) request.done(error);
    for (const request of [...this.replies.values()]) request.reject(error);
  }

  private arrived(request: GetRequest, index: number, located: Located): void {
    try {
      request.results[index] = this.values.readFor(request.refs[index] as ObjectRef<unknown>, located);
    } catch (error) {
      request.done(error);
      return;
    }
    request.left--;
    if (request.left === 0) request.done(undefined);
  }

  private endGet(id: number, request: GetRequest, forget: boolean): void {
    request.settled = true;
    if (this.gets.delete(id)) this.noLongerWaiting();
    if (forget && !this.closed) this.core.forget(id);
    for (const ref of request.refs) ref.endRead(); // R4
  }

  private errorFromJson(json: string): TrayError {
    const failure = JSON.parse(json) as Failure;
    const details = failure.detailsJson === "" ? undefined : (JSON.parse(failure.detailsJson) as { causeBase64?: string });
    return this.values.errorOf({ ...failure, cause: Buffer.from(details?.causeBase64 ?? "", "base64") });
  }

  private takeId(): number {
    this.lastId = (this.lastId + 1) >>> 0 || 1;
    return this.lastId;
  }
  private nowWaiting(): void {
    if (this.waiting++ === 0) this.channel.ref(); // R2
  }
  private noLongerWaiting(): void {
    if (--this.waiting === 0) this.channel.unref();
  }
}
