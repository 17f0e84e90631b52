// SessionHost: one session, from whichever side it was opened. Life of a message:
//   1. client method → encoded into this turn's frame (FrameWriter)
//   2. end of turn, or the frame is full → numbered and kept (StreamCore), sent as far as the window and the link allow
//   3. peer: number checked, envelopes dispatched in order, acknowledgement with its next frame or shortly after
//   4. acknowledgement → no longer kept; senders waiting in drained() go on
//
// Owns:     session state, the link in use, this turn's frame, the acknowledgement timer, the application's callbacks.
// Not mine: finding links (Dialer, Acceptor), frame numbers (StreamCore), pending calls (CallTable, InboundCalls).
// Crosses:  in: establish, linkEnded, receive, sweep.  out: SessionOwner (linkBroken, ended), Link.
//
// Invariants
//   E1. A link other than the present one is not listened to: its frames and its end mean nothing.
//   E2. Data leaves only while `up`; a data frame never precedes the handshake on its link.
//   E3. 'lost' and 'closed' are final; they settle every call and waiter and let go of the link.
import { type Deferred, deferred, StateMachine, TrayError } from "@tray/common";
import type { CallDef, CallOptions, Client, MessageCodec, OneWayDef, PeerInfo, ServiceDef, WireMethod } from "@tray/protocol";
import { ackFrame, ackOf, EnvelopeKind, FrameReader, FrameType, type FrameWriter, hasHeader, jsonFrame, numberOf, wantsAnswer } from "../frame.js";
import { byeReason } from "../handshake.js";
import type { ServedMethod } from "../methods.js";
import type { Link } from "../transport.js";
import { encodeError } from "../wire-error.js";
import { CallTable } from "./calls.js";
import { makeClient } from "./client.js";
import type { SessionEnvironment } from "./environment.js";
import { InboundCalls } from "./inbound.js";
import { type Session, type SessionState, sessionEdges } from "./session.js";
import { StreamCore } from "./stream-core.js";

/** Who found the session's link, and finds the next one or gives up. */
export interface SessionOwner {
  linkBroken(reason: string): void;
  ended(): void;
}

/** What the handshake on a new link agreed. `reset`: the peer knows nothing of the stream before. */
export interface Agreement {
  readonly peer: PeerInfo;
  readonly continues: "first" | "resumed" | "reset";
  readonly peerReceived: number;
  readonly peerWindowBytes: number;
}

export class SessionHost implements Session {
  readonly local = new Map<symbol, unknown>();
  private readonly machine: StateMachine<SessionState>;
  private readonly core: StreamCore;
  private readonly calls: CallTable;
  private readonly inbound: InboundCalls;
  private readonly clients = new Map<ServiceDef, unknown>();
  private readonly openedOnce = deferred();
  private readonly drainWaiters: Deferred<void>[] = [];
  private readonly deliveryWaiters: { readonly upTo: number; readonly waiter: Deferred<void> }[] = [];
  private readonly freshFns: (() => void)[] = [];
  private readonly brokenFns: (() => void)[] = [];
  private readonly lostFns: ((error: TrayError) => void)[] = [];
  private link: Link | undefined;
  private writer: FrameWriter | undefined;
  private flushing = false;
  private ackTimerArmed = false;
  private heard = true;
  private silentSweeps = 0;
  private peerInfo: PeerInfo | undefined;
  private end: TrayError | undefined;
  /** Resolves when the last link has let go of what was sent; for the endpoint's close. */
  released: Promise<void> = Promise.resolve();

  constructor(
    private readonly env: SessionEnvironment,
    readonly remote: string,
    private readonly owner: SessionOwner,
  ) {
    this.machine = new StateMachine<SessionState>("session", sessionEdges, "connecting", (from, to) =>
      env.logger.debug("session", { remote, peer: this.peerInfo?.id, from, to }),
    );
    this.core = new StreamCore(env.limits.windowBytes);
    this.calls = new CallTable(env, this);
    this.inbound = new InboundCalls(env, this);
    this.openedOnce.promise.catch(() => undefined); // whoever wants to know awaits opened(); nobody has to
  }

  get peer(): PeerInfo | undefined {
    return this.peerInfo;
  }
  get state(): SessionState {
    return this.machine.state;
  }
  get ended(): TrayError | undefined {
    return this.end;
  }
  get keptBytes(): number {
    return this.core.keptBytes;
  }
  /** Last data frame received; the handshake tells the peer. */
  get received(): number {
    return this.core.received;
  }
  describe(): string {
    return this.peerInfo === undefined ? this.remote : `${this.peerInfo.kind} ${this.peerInfo.id} at ${this.peerInfo.address ?? this.remote}`;
  }

  // ---- the application's side

  client<S extends ServiceDef>(service: S): Client<S> {
    let client = this.clients.get(service) as Client<S> | undefined;
    if (client === undefined) this.clients.set(service, (client = makeClient(service, this)));
    return client;
  }
  opened(): Promise<void> {
    return this.openedOnce.promise;
  }
  onFresh(fn: () => void): void {
    this.freshFns.push(fn);
    if (this.state === "up") fn();
  }
  onBroken(fn: () => void): void {
    this.brokenFns.push(fn);
  }
  onLost(fn: (error: TrayError) => void): void {
    if (this.state === "lost") fn(this.end as TrayError);
    else this.lostFns.push(fn);
  }
  get writable(): boolean {
    return this.core.keptBytes + (this.writer?.length ?? 0) < this.core.windowBytes;
  }
  drained(): Promise<void> {
    if (this.end !== undefined) return Promise.reject(this.end);
    if (this.writable) return Promise.resolve();
    const waiter = deferred();
    this.drainWaiters.push(waiter);
    return waiter.promise;
  }
  delivered(): Promise<void> {
    if (this.end !== undefined) return Promise.reject(this.end);
    this.seal();
    this.pump();
    if (this.core.keptBytes === 0) return Promise.resolve();
    const waiter = deferred();
    this.deliveryWaiters.push({ upTo: this.core.lastNumbered, waiter });
    return waiter.promise;
  }
  close(reason = "closed"): void {
    if (this.end !== undefined) return;
    this.finish("closed", new TrayError("UNAVAILABLE", `the session was closed here (${reason})`), reason);
  }

  // ---- sending

  call(method: WireMethod, def: CallDef<unknown, unknown>, request: unknown, options: CallOptions | undefined): Promise<unknown> {
    return this.calls.start(method, def, request, options);
  }
  /** Throws RESOURCE_EXHAUSTED when too much waits already. After the end of the session, messages go nowhere: onLost has told. */
  tell(method: WireMethod, def: OneWayDef<unknown>, message: unknown): void {
    if (this.end !== undefined) return;
    this.admit(method.wireName);
    const writer = this.open();
    const start = writer.length;
    this.added(writer, start, writer.oneWay(method.wireId, def.message, message), method.wireName);
  }
  sendRequest(id: number, method: WireMethod, def: CallDef<unknown, unknown>, request: unknown): void {
    this.admit(method.wireName);
    const writer = this.open();
    const start = writer.length;
    this.added(writer, start, writer.request(id, method.wireId, def.request, request), method.wireName);
  }
  sendCancel(id: number): void {
    if (this.end !== undefined) return;
    this.open().cancel(id);
  }
  reply(id: number, served: ServedMethod, codec: MessageCodec<unknown>, message: unknown): void {
    if (this.end !== undefined) return;
    try {
      this.admit(served.wireName);
      const writer = this.open();
      const start = writer.length;
      this.added(writer, start, writer.reply(id, codec, message), served.wireName);
    } catch (error) {
      served.failed++;
      this.env.logger.error(`reply of ${served.wireName} cannot be sent`, { peer: this.peerInfo?.id, error });
      this.fail(id, error);
    }
  }
  fail(id: number, error: unknown): void {
    if (this.end !== undefined) return;
    this.open().error(id, encodeError(error)); // not admitted: small, and the caller must not wait in vain
    this.env.traffic.messagesSent++;
  }

  private admit(what: string): void {
    if (this.core.keptBytes < this.env.limits.queuedBytesMax) return;
    this.env.traffic.refusedForQueue++;
    throw new TrayError(
      "RESOURCE_EXHAUSTED",
      `${what}: ${this.core.keptBytes} bytes wait for ${this.describe()} already; await session.drained() before sending more`,
    );
  }

  private open(): FrameWriter {
    if (this.writer === undefined) {
      this.writer = this.env.takeWriter();
      this.writer.begin();
      this.wantFlush();
    }
    return this.writer;
  }

  private added(writer: FrameWriter, start: number, payloadBytes: number, what: string): void {
    const { limits, traffic } = this.env;
    if (payloadBytes > limits.messageBytesMax) {
      writer.truncate(start);
      throw new TrayError("INVALID_ARGUMENT", `${what}: a message of ${payloadBytes} bytes exceeds the limit of ${limits.messageBytesMax}`);
    }
    traffic.messagesSent++;
    if (writer.length < limits.frameBytesSoft) return;
    this.seal();
    this.pump();
  }

  private wantFlush(): void {
    if (this.flushing) return;
    this.flushing = true;
    this.env.flushLater(this);
  }

  /** End of the turn. */
  flush(): void {
    this.flushing = false;
    this.seal();
    this.pump();
    if (this.ackIsDue()) this.sendAck(false);
  }

  private seal(): void {
    const { writer } = this;
    if (writer === undefined) return;
    this.writer = undefined;
    this.core.push(writer.finish());
    this.env.giveWriter(writer);
  }

  private pump(): void {
    if (this.link === undefined || this.state !== "up") return; // E2
    for (let frame = this.core.take(); frame !== undefined; frame = this.core.take()) this.put(this.link, frame);
  }

  private put(link: Link, frame: Uint8Array): void {
    this.env.traffic.framesSent++;
    this.env.traffic.bytesSent += frame.length;
    link.send(frame);
  }

  // ---- receiving

  /** A frame that came on `link`. */
  receive(link: Link, frame: Uint8Array): void {
    if (link !== this.link) return; // E1
    this.heard = true;
    this.env.traffic.bytesReceived += frame.length;
    if (!hasHeader(frame)) return this.lose(new TrayError("SYSTEM", `${this.describe()} sent a frame cut short`), "malformed frame");
    switch (frame[0]) {
      case FrameType.data:
        return this.onData(frame);
      case FrameType.ack:
        this.onAck(ackOf(frame));
        if (wantsAnswer(frame) && this.state === "up") this.sendAck(false);
        return;
      case FrameType.bye: {
        const reason = byeReason(frame);
        return this.lose(new TrayError("UNAVAILABLE", `${this.describe()} ended the session: ${reason}`, { details: { goodbye: true } }));
      }
      case FrameType.hello:
      case FrameType.welcome:
        return; // a second copy of the handshake, from a network that duplicates
      default:
        return this.lose(new TrayError("SYSTEM", `${this.describe()} sent a frame of unknown type ${frame[0]}`), "unknown frame type");
    }
  }

  private onData(frame: Uint8Array): void {
    const { traffic, limits } = this.env;
    traffic.framesReceived++;
    this.onAck(ackOf(frame));
    if (this.end !== undefined) return;
    const verdict = this.core.onFrame(numberOf(frame), frame.length);
    if (verdict === "gap") return this.breakLink(`frame ${numberOf(frame)} came after ${this.core.received}`);
    if (verdict === "duplicate") traffic.duplicatesDropped++;
    else {
      try {
        this.dispatch(new FrameReader(frame));
      } catch (error) {
        if (!(error instanceof RangeError)) throw error;
        // Resuming would bring the same frame again: the stream cannot go on.
        return this.lose(new TrayError("SYSTEM", `${this.describe()} sent a malformed frame`, { cause: error }), "malformed frame");
      }
    }
    if (this.ackIsDue()) this.wantFlush();
    else if (!this.ackTimerArmed && this.core.ackOwedFrames > 0) {
      this.ackTimerArmed = true;
      this.env.clock.after(limits.ackDelayMs, this.onAckTimer);
    }
  }

  private dispatch(frame: FrameReader): void {
    // A handler may end the session: what follows is no longer anybody's.
    while (this.end === undefined && frame.next()) {
      this.env.traffic.messagesReceived++;
      switch (frame.kind) {
        case EnvelopeKind.oneWay:
          this.inbound.onOneWay(frame);
          break;
        case EnvelopeKind.request:
          this.inbound.onRequest(frame);
          break;
        case EnvelopeKind.reply:
          this.calls.onReply(frame);
          break;
        case EnvelopeKind.error:
          this.calls.onError(frame);
          break;
        default:
          this.inbound.onCancel(frame.id);
      }
    }
  }

  private onAck(ack: number): void {
    if (!this.core.onAck(ack))
      return this.lose(new TrayError("SYSTEM", `${this.describe()} acknowledged frame ${ack}, which was not sent`), "bad acknowledgement");
    this.pump();
    while (this.deliveryWaiters.length > 0 && (this.deliveryWaiters[0] as { upTo: number }).upTo <= this.core.acknowledged)
      this.deliveryWaiters.shift()?.waiter.resolve();
    if (this.drainWaiters.length > 0 && this.writable) for (const waiter of this.drainWaiters.splice(0)) waiter.resolve();
  }

  private ackIsDue(): boolean {
    return this.core.ackOwedFrames >= this.env.limits.ackFrames || this.core.ackOwedBytes >= this.env.limits.ackBytes;
  }
  private readonly onAckTimer = (): void => {
    this.ackTimerArmed = false;
    if (this.core.ackOwedFrames > 0) this.sendAck(false);
  };
  private sendAck(answerWanted: boolean): void {
    if (this.link !== undefined && this.state === "up") this.link.send(ackFrame(this.core.takeAck(), answerWanted));
  }

  /** Called every third of `silenceMs`: asks a silent peer for a sign of life, then breaks the link. */
  sweep(): void {
    if (this.link === undefined) return;
    this.silentSweeps = this.heard ? 0 : this.silentSweeps + 1;
    this.heard = false;
    if (this.silentSweeps >= 3) this.breakLink(`nothing heard for ${this.env.limits.silenceMs} ms`);
    else if (this.silentSweeps > 0) this.sendAck(true);
  }

  // ---- life cycle

  /** A link has shaken hands. The dialler's and the acceptor's part of the handshake have left already (E2). False: the streams disagree. */
  establish(link: Link, agreement: Agreement): boolean {
    if (this.link !== undefined && this.link !== link) this.dropLink("another link of the same session took over");
    const { continues } = agreement;
    const again = continues === "reset" ? this.reset() : [];
    const kept = this.core.keptBytes;
    if (!this.core.rewind(agreement.peerReceived, agreement.peerWindowBytes)) return false;
    if (continues === "resumed" && kept > 0) this.env.traffic.framesResent++;
    this.peerInfo = agreement.peer;
    this.link = link;
    this.heard = true;
    this.silentSweeps = 0;
    this.machine.become("up");
    this.openedOnce.resolve();
    if (continues !== "resumed") for (const fn of this.freshFns) fn();
    this.calls.resend(again);
    this.onAck(0); // sends what waits, and wakes those whose window is open again
    return true;
  }

  /** The link ended by itself. */
  linkEnded(link: Link, reason: string): void {
    if (link !== this.link) return; // E1
    this.dropLink(reason);
    this.owner.linkBroken(reason);
  }

  private breakLink(reason: string): void {
    this.dropLink(reason);
    this.owner.linkBroken(reason);
  }

  private dropLink(reason: string): void {
    const { link } = this;
    this.link = undefined;
    link?.abort();
    this.env.traffic.linksBroken++;
    this.env.logger.info("link broken", { remote: this.remote, peer: this.peerInfo?.id, reason });
    this.machine.become("broken");
    for (const fn of this.brokenFns) fn();
  }

  /** The peer has forgotten the stream, or is another incarnation. Returns the calls to send again. */
  private reset(): ReturnType<CallTable["takeUnanswered"]> {
    const why = new TrayError("UNAVAILABLE", "the peer was restarted or has given the session up; the request may or may not have run");
    this.env.traffic.resets++;
    this.seal();
    this.core.reset();
    for (const { waiter } of this.deliveryWaiters.splice(0)) waiter.reject(why);
    this.inbound.abortAll(why);
    return this.calls.takeUnanswered(why);
  }

  /** Ends the session for a reason that is not ours; with `goodbye`, tells the peer why. */
  lose(error: TrayError, goodbye?: string): void {
    if (this.end !== undefined) return;
    this.finish("lost", error, goodbye);
  }

  /** Lets what was sent leave; a peer that does not take it is not waited for. */
  private async release(link: Link): Promise<void> {
    const timer = this.env.clock.after(this.env.limits.goodbyeMs, () => link.abort());
    await link.close();
    timer.cancel();
  }

  // E3
  private finish(to: "lost" | "closed", error: TrayError, goodbye: string | undefined): void {
    const { link } = this;
    if (link !== undefined && goodbye !== undefined) {
      this.seal();
      // The window no longer matters: nothing follows, and the transport delivers what it can.
      for (let frame = this.core.takeAnyway(); frame !== undefined; frame = this.core.takeAnyway()) this.put(link, frame);
      link.send(jsonFrame(FrameType.bye, { reason: goodbye }));
    }
    this.end = error;
    this.link = undefined;
    if (link !== undefined) this.released = this.release(link);
    this.seal();
    this.core.reset();
    this.machine.become(to);
    this.owner.ended();
    this.openedOnce.reject(error);
    for (const waiter of this.drainWaiters.splice(0)) waiter.reject(error);
    for (const { waiter } of this.deliveryWaiters.splice(0)) waiter.reject(error);
    this.inbound.abortAll(error);
    this.calls.failAll(error);
    if (to === "lost") for (const fn of this.lostFns) fn(error);
    this.lostFns.length = this.freshFns.length = this.brokenFns.length = 0;
  }
}
