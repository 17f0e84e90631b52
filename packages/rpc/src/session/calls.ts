// CallTable: our requests that wait for an answer.
//
// Owns:     pending calls with their deadlines, abort listeners, retries and injected faults.
// Not mine: encoding and sending (CallHost), resets and losses (told by the host).
// Crosses:  in: start, onReply, onError, takeUnanswered, failAll.  out: sendRequest, sendCancel.
//
// Invariants
//   C1. A call settles once; from then on it is in no map, list or timer.
//   C2. A call whose request has left (`sent`) is in `pending` under the id it left with; each sending has an id of its own, so that an answer to
//       an earlier one cannot settle a later one.
//   C3. Only calls with `retry` are sent more than once.
import { isTrayError, messageOf, type Timer, TrayError } from "@tray/common";
import type { CallDef, CallOptions, WireMethod } from "@tray/protocol";
import type { DeadlineEntry, Deadlines } from "../deadlines.js";
import type { FaultDraw } from "../faults.js";
import type { FrameReader } from "../frame.js";
import { decodeError } from "../wire-error.js";
import type { SessionEnvironment } from "./environment.js";

export interface CallHost {
  /** Why nothing can be sent any more, if so. */
  readonly ended: TrayError | undefined;
  /** "raylet 3f… at host:port", for messages. */
  describe(): string;
  sendRequest(id: number, method: WireMethod, def: CallDef<unknown, unknown>, request: unknown): void;
  sendCancel(id: number): void;
}

class PendingCall implements DeadlineEntry {
  expiresAt = 0;
  deadlineList: DeadlineEntry["deadlineList"] = undefined;
  previous: DeadlineEntry | undefined = undefined;
  next: DeadlineEntry | undefined = undefined;
  id = 0;
  sent = false;
  settled = false;
  loseReply = false;
  attempts = 0;
  signal: AbortSignal | undefined = undefined;
  onAbort: (() => void) | undefined = undefined;
  timer: Timer | undefined = undefined;

  constructor(
    private readonly table: CallTable,
    readonly method: WireMethod,
    readonly def: CallDef<unknown, unknown>,
    readonly request: unknown,
    readonly retry: boolean,
    readonly timeoutMs: number,
    readonly resolve: (reply: unknown) => void,
    readonly reject: (error: unknown) => void,
  ) {}

  onDeadline(): void {
    this.table.onDeadline(this);
  }
}

export class CallTable {
  private readonly pending = new Map<number, PendingCall>();
  /** Calls between two sendings: delayed or backing off. Not in `pending` (C2). */
  private readonly resting = new Set<PendingCall>();
  private lastId = 0;
  private readonly deadlines: Deadlines;

  constructor(
    private readonly env: SessionEnvironment,
    private readonly host: CallHost,
  ) {
    this.deadlines = env.deadlines;
  }

  get size(): number {
    return this.pending.size + this.resting.size;
  }

  start(method: WireMethod, def: CallDef<unknown, unknown>, request: unknown, options: CallOptions | undefined): Promise<unknown> {
    return new Promise((resolve, reject) => {
      const retry = options?.retry === true;
      const timeoutMs = options?.timeoutMs ?? this.env.limits.callTimeoutMs;
      if (this.host.ended !== undefined) return reject(this.unavailable(method, this.host.ended));
      if (options?.signal?.aborted === true) return reject(options.signal.reason as Error);
      if (retry && !def.idempotent)
        return reject(new TrayError("INVALID_ARGUMENT", `${method.wireName} is not idempotent: it cannot be called with retry`));
      if (this.size >= this.env.limits.pendingCallsMax) {
        return reject(
          new TrayError("RESOURCE_EXHAUSTED", `${method.wireName}: ${this.size} calls to ${this.host.describe()} wait for an answer, the limit`),
        );
      }
      const call = new PendingCall(this, method, def, request, retry, timeoutMs, resolve, reject);
      if (timeoutMs > 0) this.deadlines.add(call, timeoutMs);
      if (options?.signal !== undefined) this.listen(call, options.signal);
      this.launch(call);
    });
  }

  onReply(frame: FrameReader): void {
    const call = this.pending.get(frame.id);
    if (call === undefined) return; // its deadline passed, or it was cancelled
    if (call.loseReply) return this.onLoss(call, "reply lost (injected)");
    let reply: unknown;
    try {
      reply = call.def.reply.decode(frame.payload, frame.length);
    } catch (error) {
      this.fail(call, new TrayError("SERIALIZATION", `reply of ${call.method.wireName} cannot be decoded: ${messageOf(error)}`));
      return;
    }
    this.settle(call);
    call.resolve(reply);
  }

  onError(frame: FrameReader): void {
    const call = this.pending.get(frame.id);
    if (call === undefined) return;
    if (call.loseReply) return this.onLoss(call, "reply lost (injected)");
    const error = decodeError(frame.bytes());
    const unknownThere = error.code === "NOT_FOUND" && error.message.endsWith("does not serve that method");
    this.fail(call, unknownThere ? new TrayError("NOT_FOUND", `${call.method.wireName} is not served by ${this.host.describe()}`) : error);
  }

  onDeadline(call: PendingCall): void {
    const text = `${call.method.wireName} to ${this.host.describe()} had no answer within ${call.timeoutMs} ms`;
    this.abandon(call, new TrayError("DEADLINE_EXCEEDED", text, { details: { method: call.method.wireName, timeoutMs: call.timeoutMs } }));
  }

  /** The stream was reset: fails the calls that must not be repeated, and returns those to `resend` once the application has resynced. */
  takeUnanswered(why: TrayError): PendingCall[] {
    const calls = [...this.pending.values()];
    this.pending.clear();
    for (const call of calls) {
      call.sent = false;
      if (call.retry) this.resting.add(call);
      else this.fail(call, this.unavailable(call.method, why));
    }
    return calls.filter((call) => call.retry);
  }

  resend(calls: readonly PendingCall[]): void {
    for (const call of calls) if (!call.settled) this.launch(call);
  }

  failAll(why: TrayError): void {
    for (const call of [...this.pending.values(), ...this.resting]) this.fail(call, this.unavailable(call.method, why));
  }

  private launch(call: PendingCall): void {
    const fate = this.env.faults?.draw(call.method.wireName, this.env.random);
    if (fate === undefined) return this.send(call);
    if (fate.lose !== undefined) this.env.traffic.injectedFaults++;
    this.rest(call, fate.delayMs, () => this.sendFaulty(call, fate));
  }

  private sendFaulty(call: PendingCall, fate: FaultDraw): void {
    if (fate.lose === "request") return this.onLoss(call, "request lost (injected)");
    call.loseReply = fate.lose === "reply";
    this.send(call);
  }

  private send(call: PendingCall): void {
    this.resting.delete(call);
    do this.lastId = (this.lastId + 1) >>> 0;
    while (this.pending.has(this.lastId)); // the ids wrap; a call may be older than that
    call.id = this.lastId;
    call.attempts++;
    try {
      this.host.sendRequest(call.id, call.method, call.def, call.request);
    } catch (error) {
      this.fail(call, error);
      return;
    }
    call.sent = true;
    this.pending.set(call.id, call); // C2
  }

  /** The call's outcome is unknown, or it never ran: again (C3), or UNAVAILABLE. */
  private onLoss(call: PendingCall, how: string): void {
    if (call.sent) this.pending.delete(call.id);
    call.sent = call.loseReply = false;
    if (!call.retry) return this.fail(call, this.unavailable(call.method, new TrayError("UNAVAILABLE", how)));
    const { backoffMinMs, backoffMaxMs } = this.env.limits;
    const backoffMs = Math.min(backoffMaxMs, backoffMinMs * 2 ** Math.min(call.attempts, 10)) * (0.5 + 0.5 * this.env.random.next());
    this.rest(call, backoffMs, () => this.launch(call));
  }

  private rest(call: PendingCall, delayMs: number, then: () => void): void {
    this.resting.add(call);
    call.timer = this.env.clock.after(delayMs, () => {
      call.timer = undefined;
      then();
    });
  }

  private listen(call: PendingCall, signal: AbortSignal): void {
    call.signal = signal;
    call.onAbort = () => this.abandon(call, signal.reason);
    signal.addEventListener("abort", call.onAbort, { once: true });
  }

  /** We no longer wait; the handler may stop. */
  private abandon(call: PendingCall, error: unknown): void {
    if (call.sent) this.host.sendCancel(call.id);
    this.fail(call, error);
  }

  private fail(call: PendingCall, error: unknown): void {
    if (call.settled) return;
    this.settle(call);
    call.reject(error);
  }

  // C1
  private settle(call: PendingCall): void {
    call.settled = true;
    if (call.sent) this.pending.delete(call.id);
    else this.resting.delete(call);
    this.deadlines.remove(call);
    call.timer?.cancel();
    if (call.onAbort !== undefined) call.signal?.removeEventListener("abort", call.onAbort);
  }

  private unavailable(method: WireMethod, why: TrayError): TrayError {
    return new TrayError("UNAVAILABLE", `${method.wireName} to ${this.host.describe()}: ${why.message}`, {
      cause: why,
      ...(why.hint === undefined ? {} : { hint: why.hint }),
      details: { method: method.wireName, ...(isTrayError(why) ? { because: why.code } : {}) },
    });
  }
}
