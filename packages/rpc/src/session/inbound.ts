// InboundCalls: requests of the peer that are being handled here.
//
// Owns:     the contexts of handlers that have not answered yet.
// Not mine: the way of replies (InboundHost), which handlers there are (MethodTable).
// Crosses:  in: onRequest, onOneWay, onCancel, abortAll.  out: reply, fail.
//
// Invariants
//   H1. A request gets at most one answer, and none after a cancel or a reset: the ids of another stream mean nothing to this one.
//   H2. What a handler throws never ends the session; a broken invariant ends the process.
import { InvariantError, isTrayError, messageOf, TrayError } from "@tray/common";
import type { MessageCodec, PeerInfo } from "@tray/protocol";
import type { FrameReader } from "../frame.js";
import type { ServedMethod } from "../methods.js";
import type { SessionEnvironment } from "./environment.js";
import type { CallContext, Session } from "./session.js";

export interface InboundHost extends Session {
  reply(id: number, served: ServedMethod, codec: MessageCodec<unknown>, message: unknown): void;
  fail(id: number, error: unknown): void;
}

/** An AbortController is dear, and few handlers look at their signal: made when first asked for. */
class Context implements CallContext {
  private aborter: AbortController | undefined;
  private aborted: Error | undefined;
  constructor(readonly session: Session) {}

  get peer(): PeerInfo {
    return this.session.peer as PeerInfo; // known before anything is received
  }
  get signal(): AbortSignal {
    if (this.aborter === undefined) {
      this.aborter = new AbortController();
      if (this.aborted !== undefined) this.aborter.abort(this.aborted);
    }
    return this.aborter.signal;
  }
  abort(reason: Error): void {
    this.aborted ??= reason;
    this.aborter?.abort(reason);
  }
}

export class InboundCalls {
  private readonly running = new Map<number, Context>();
  private shared: Context;

  constructor(
    private readonly env: SessionEnvironment,
    private readonly host: InboundHost,
  ) {
    this.shared = new Context(host);
  }

  get size(): number {
    return this.running.size;
  }

  onOneWay(frame: FrameReader): void {
    const served = this.env.methods.get(frame.methodId);
    if (served === undefined || served.def.kind !== "oneWay") {
      this.env.logger.error("one-way message of an unknown method", { peer: this.host.peer?.id, methodId: frame.methodId });
      return;
    }
    served.handled++;
    try {
      const outcome = served.handler(served.def.message.decode(frame.payload, frame.length), this.shared);
      // An async function is assignable to a handler of `void`; its failure must not become an unhandled rejection.
      if (isThenable(outcome)) outcome.then(undefined, (error: unknown) => this.report(served, error));
    } catch (error) {
      this.report(served, error);
    }
  }

  onRequest(frame: FrameReader): void {
    const { id } = frame;
    const served = this.env.methods.get(frame.methodId);
    if (served === undefined || served.def.kind !== "call") {
      this.host.fail(id, new TrayError("NOT_FOUND", `this ${this.env.self.kind} does not serve that method`));
      return;
    }
    if (this.running.size >= this.env.limits.pendingCallsMax) {
      this.host.fail(
        id,
        new TrayError("RESOURCE_EXHAUSTED", `this ${this.env.self.kind} has ${this.running.size} calls of this peer in work, its limit`),
      );
      return;
    }
    served.handled++;
    const { request: codec, reply } = served.def;
    let request: unknown;
    try {
      request = codec.decode(frame.payload, frame.length);
    } catch (error) {
      this.host.fail(id, new TrayError("INVALID_ARGUMENT", `request of ${served.wireName} cannot be decoded: ${messageOf(error)}`));
      return;
    }
    const context = new Context(this.host);
    let outcome: unknown;
    try {
      outcome = served.handler(request, context);
    } catch (error) {
      this.answerFailure(id, served, error);
      return;
    }
    if (!isThenable(outcome)) {
      this.host.reply(id, served, reply, outcome);
      return;
    }
    this.running.set(id, context);
    outcome.then(
      (value) => {
        if (this.finish(id, context)) this.host.reply(id, served, reply, value);
      },
      (error: unknown) => {
        if (this.finish(id, context)) this.answerFailure(id, served, error);
      },
    );
  }

  onCancel(id: number): void {
    const context = this.running.get(id);
    if (context === undefined) return; // answered meanwhile
    this.running.delete(id); // H1
    context.abort(new TrayError("TASK_CANCELLED", "the caller no longer waits"));
  }

  /** The session was reset or has ended: nobody waits for these answers. */
  abortAll(reason: Error): void {
    const contexts = [...this.running.values(), this.shared];
    this.running.clear(); // H1
    this.shared = new Context(this.host);
    for (const context of contexts) context.abort(reason);
  }

  private finish(id: number, context: Context): boolean {
    if (this.running.get(id) !== context) return false; // H1
    this.running.delete(id);
    return true;
  }

  private answerFailure(id: number, served: ServedMethod, error: unknown): void {
    this.report(served, error);
    this.host.fail(id, error);
  }

  private report(served: ServedMethod, error: unknown): void {
    served.failed++;
    if (error instanceof InvariantError)
      this.env.onBug(error); // H2
    else if (!isTrayError(error)) this.env.logger.error(`handler of ${served.wireName} failed`, { peer: this.host.peer?.id, error });
    else if (served.def.kind === "oneWay")
      this.env.logger.warn(`handler of ${served.wireName} failed`, { peer: this.host.peer?.id, code: error.code, error });
  }
}

function isThenable(value: unknown): value is PromiseLike<unknown> {
  return typeof value === "object" && value !== null && typeof (value as { then?: unknown }).then === "function";
}
