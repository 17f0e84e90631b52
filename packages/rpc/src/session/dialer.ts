// Dialer: keeps one outgoing session supplied with links.
//
//   idle → dialling (hello sent) → welcomed ⇄ (link breaks) waiting (back-off) → dialling …
//
// Owns:     the attempt under way, back-off, the give-up timer, the stream id.
// Not mine: what happens on an established link (SessionHost).
// Crosses:  in: start, linkBroken, ended.  out: SessionHost.establish, lose.
//
// Invariants
//   D1. At most one attempt is under way, and none while the session is up or has ended.
//   D2. A refusal by the peer (token, version, another incarnation) is final, as are certificates that never were accepted; a failure to reach it is not.
import { invariant, messageOf, type Timer, TrayError } from "@tray/common";
import { FrameType, jsonFrame, jsonOf } from "../frame.js";
import { type Hello, parseRefusal, parseWelcome, protocolVersion, type Welcome } from "../handshake.js";
import type { Link, LinkFailure, Transport } from "../transport.js";
import type { SessionEnvironment } from "./environment.js";
import { SessionHost, type SessionOwner } from "./host.js";
import type { ConnectOptions } from "./session.js";

const tokenHint = "use the head's token: copy its ~/.tray/auth_token here, or set TRAY_AUTH_TOKEN or TRAY_AUTH_TOKEN_PATH";
const reachHint = "is tray running there? check the address (--address, TRAY_ADDRESS) and firewalls; `tray start --head` starts a head";

export class Dialer implements SessionOwner {
  readonly session: SessionHost;
  private readonly name: string;
  private attempt: Link | undefined;
  private stream: string | undefined;
  private incarnation: string | undefined;
  private failures = 0;
  private lastFailure = "no attempt was made";
  private handshakeTimer: Timer | undefined;
  private backoffTimer: Timer | undefined;
  private giveUpTimer: Timer | undefined;

  constructor(
    private readonly env: SessionEnvironment,
    private readonly transport: Transport,
    private readonly address: string,
    private readonly token: string | undefined,
    private readonly options: ConnectOptions,
    private readonly onEnded: (dialer: Dialer) => void,
  ) {
    this.session = new SessionHost(env, address, this);
    this.name = env.random.hex(8);
    this.incarnation = options.expectIncarnation;
  }

  start(): void {
    this.armGiveUp();
    this.dial();
  }

  // ---- SessionOwner

  linkBroken(reason: string): void {
    this.lastFailure = reason;
    this.armGiveUp();
    this.backOff();
  }

  ended(): void {
    this.stopAttempt();
    this.backoffTimer?.cancel();
    this.giveUpTimer?.cancel();
    this.onEnded(this);
  }

  // ---- attempts

  private dial(): void {
    invariant(this.attempt === undefined, "one attempt at a time (D1)");
    const { env } = this;
    // A link belongs to this attempt until welcomed, then to the session; each ignores the frames of a link that is not its own.
    const link: Link = this.transport.connect(this.address, this.token, {
      onFrame: (frame) => (this.attempt === link ? this.onAnswer(link, frame) : this.session.receive(link, frame)),
      onEnd: (failure) => (this.attempt === link ? this.onFailure(failure) : this.session.linkEnded(link, failure.message)),
    });
    this.attempt = link;
    const hello: Hello = {
      protocol: protocolVersion,
      peer: env.self,
      session: this.name,
      stream: this.stream,
      received: this.session.received,
      windowBytes: env.limits.windowBytes,
      expectIncarnation: this.expected(),
    };
    link.send(jsonFrame(FrameType.hello, hello));
    this.handshakeTimer = env.clock.after(env.limits.handshakeMs, () => {
      this.onFailure({ kind: "broken", message: `no answer within ${env.limits.handshakeMs} ms` });
    });
  }

  /** A session that may not be reset is with one incarnation only: the first that answered. */
  private expected(): string | undefined {
    return this.options.reconnect === "forever" ? this.options.expectIncarnation : this.incarnation;
  }

  private onAnswer(link: Link, frame: Uint8Array): void {
    try {
      if (frame[0] === FrameType.welcome) this.onWelcome(link, parseWelcome(jsonOf(frame)));
      else if (frame[0] === FrameType.refuse) this.onRefusal(jsonOf(frame));
      else throw new TrayError("SYSTEM", `frame type ${frame[0]} in place of a welcome`);
    } catch (error) {
      if (this.attempt !== link) throw error; // past the handshake: not ours to judge
      this.onFailure({ kind: "broken", message: `no tray process answers there: ${messageOf(error)}` });
    }
  }

  private onWelcome(link: Link, welcome: Welcome): void {
    this.handshakeTimer?.cancel();
    this.attempt = undefined;
    const first = this.stream === undefined;
    if (!first && !welcome.resumed && this.options.reconnect !== "forever") {
      void link.close();
      return this.session.lose(this.gone("it no longer knows the session"));
    }
    this.giveUpTimer?.cancel();
    this.giveUpTimer = undefined;
    this.failures = 0;
    this.stream = welcome.stream;
    this.incarnation = welcome.peer.incarnation;
    const agreed = this.session.establish(link, {
      peer: welcome.peer,
      continues: welcome.resumed ? "resumed" : first ? "first" : "reset",
      peerReceived: welcome.received,
      peerWindowBytes: welcome.windowBytes,
    });
    if (agreed) return;
    link.abort();
    this.session.lose(new TrayError("SYSTEM", `${this.session.describe()} resumed a stream that differs from ours`));
  }

  // D2
  private onRefusal(value: unknown): void {
    const refusal = parseRefusal(value);
    this.stopAttempt();
    if (refusal.gone === true) return this.session.lose(this.gone(refusal.message));
    this.session.lose(new TrayError(refusal.code, refusal.message, refusal.hint === undefined ? {} : { hint: refusal.hint }));
  }

  private onFailure(failure: LinkFailure): void {
    this.stopAttempt();
    this.lastFailure = failure.message;
    if (failure.kind === "unauthenticated") {
      const shown = this.token === undefined ? "no token was given" : "the token given is not its own";
      return this.session.lose(new TrayError("AUTHENTICATION", `${this.address} refused us: ${failure.message}; ${shown}`, { hint: tokenHint }));
    }
    // Once it was trusted: certificates are being renewed there, or it is not the peer that answers just now.
    if (failure.kind === "untrusted" && this.stream === undefined) {
      return this.session.lose(new TrayError("AUTHENTICATION", failure.message, failure.hint === undefined ? {} : { hint: failure.hint }));
    }
    const { reconnect } = this.options;
    if (failure.kind === "refused" && reconnect !== "forever" && reconnect.refusedMeansGone === true) return this.giveUp();
    this.backOff();
  }

  private backOff(): void {
    const { backoffMinMs, backoffMaxMs } = this.env.limits;
    const fullMs = Math.min(backoffMaxMs, backoffMinMs * 2 ** Math.min(this.failures++, 20));
    this.backoffTimer = this.env.clock.after(fullMs * (0.5 + 0.5 * this.env.random.next()), () => {
      this.backoffTimer = undefined;
      this.dial();
    });
  }

  private armGiveUp(): void {
    const { reconnect } = this.options;
    if (reconnect === "forever" || this.giveUpTimer !== undefined) return;
    this.giveUpTimer = this.env.clock.after(reconnect.giveUpMs, () => this.giveUp());
  }

  private giveUp(): void {
    const { peer } = this.session;
    if (peer !== undefined) return this.session.lose(this.gone(this.lastFailure));
    this.session.lose(
      new TrayError("CONNECTION", `cannot reach ${this.address}: ${this.lastFailure}`, { hint: reachHint, details: { address: this.address } }),
    );
  }

  private gone(why: string): TrayError {
    return new TrayError("UNAVAILABLE", `${this.session.describe()} is gone: ${why}`, { details: { address: this.address } });
  }

  private stopAttempt(): void {
    this.handshakeTimer?.cancel();
    const { attempt } = this;
    this.attempt = undefined;
    attempt?.abort();
  }
}
