// Acceptor: incoming links become sessions, or resume one.
//
// Owns:     incoming sessions by peer and name, the handshakes under way, linger timers.
// Not mine: what happens on an established link (SessionHost), the listener (Endpoint).
// Crosses:  in: accept (a link), SessionOwner.  out: onSession, SessionHost.establish, lose.
//
// Invariants
//   A1. No frame of a link is looked at before its token was checked, and no data frame before its hello.
//   A2. One session per (peer kind, peer id, session name); a hello that names it takes it over from whatever link it had.
//   A3. Another incarnation of a peer ends the sessions of the one before.
import { createHash, timingSafeEqual } from "node:crypto";
import { messageOf, type Timer, TrayError } from "@tray/common";
import type { PeerInfo } from "@tray/protocol";
import { FrameType, jsonFrame, jsonOf } from "../frame.js";
import { type Hello, incompatibility, parseHello, type Refusal, type Welcome } from "../handshake.js";
import type { Link, LinkHandlers } from "../transport.js";
import type { SessionEnvironment } from "./environment.js";
import { SessionHost, type SessionOwner } from "./host.js";
import type { Session } from "./session.js";

class Incoming implements SessionOwner {
  readonly session: SessionHost;
  lingerTimer: Timer | undefined;

  constructor(
    private readonly env: SessionEnvironment,
    readonly peer: PeerInfo,
    readonly key: string,
    /** Names this life of the session to the dialler. */
    readonly stream: string,
    remote: string,
    private readonly onEnded: (incoming: Incoming) => void,
  ) {
    this.session = new SessionHost(env, remote, this);
  }

  linkBroken(reason: string): void {
    const { lingerMs } = this.env.limits;
    this.lingerTimer = this.env.clock.after(lingerMs, () => {
      this.session.lose(new TrayError("UNAVAILABLE", `${this.session.describe()} did not come back within ${lingerMs} ms (${reason})`));
    });
  }
  ended(): void {
    this.lingerTimer?.cancel();
    this.onEnded(this);
  }
}

export class Acceptor {
  private readonly sessions = new Map<string, Incoming>();
  /** Sessions of a peer, by kind and id: for A3. */
  private readonly byPeer = new Map<string, Set<Incoming>>();
  private readonly handshakes = new Set<Link>();
  private closed = false;

  constructor(
    private readonly env: SessionEnvironment,
    private readonly token: string | undefined,
    private readonly onSession: (session: Session) => void,
    private readonly onEnded: (session: SessionHost) => void,
  ) {}

  /** The transport's question about a new link. */
  readonly accept = (link: Link, token: string | undefined): LinkHandlers | { refuse: string } => {
    if (this.closed) return { refuse: "shutting down" };
    if (this.token !== undefined && (token === undefined || !sameToken(token, this.token))) {
      const message = token === undefined ? "a token is required" : "the token is wrong"; // A1
      this.env.logger.warn("refused a connection", {
        remote: link.remote,
        reason: message,
        hint: "peers must carry this cluster's token (~/.tray/auth_token of the head)",
      });
      return { refuse: message };
    }
    if (this.handshakes.size >= this.env.limits.sessionsMax) return { refuse: "too many connections are being opened" };
    this.handshakes.add(link);
    const timer = this.env.clock.after(this.env.limits.handshakeMs, () => {
      this.handshakes.delete(link);
      link.abort();
    });
    let session: SessionHost | undefined;
    return {
      onFrame: (frame) => {
        if (session !== undefined) return session.receive(link, frame);
        timer.cancel();
        if (!this.handshakes.delete(link)) return; // refused, or too late
        session = this.shakeHands(link, frame)?.session;
      },
      onEnd: (failure) => {
        timer.cancel();
        this.handshakes.delete(link);
        session?.linkEnded(link, failure.message);
      },
    };
  };

  close(): void {
    this.closed = true;
    for (const link of this.handshakes) link.abort();
    this.handshakes.clear();
  }

  all(): SessionHost[] {
    return [...this.sessions.values()].map((incoming) => incoming.session);
  }

  private shakeHands(link: Link, frame: Uint8Array): Incoming | undefined {
    let hello: Hello;
    try {
      if (frame[0] !== FrameType.hello) throw new TrayError("INVALID_ARGUMENT", `frame type ${frame[0]} in place of a hello`);
      hello = parseHello(jsonOf(frame));
    } catch (error) {
      return this.refuse(link, { code: "INVALID_ARGUMENT", message: messageOf(error) });
    }
    const refusal = incompatibility(this.env.self, hello);
    if (refusal !== undefined) return this.refuse(link, refusal);
    this.endOtherIncarnations(hello.peer);
    const key = `${peerKey(hello.peer)}/${hello.session}`;
    const known = this.sessions.get(key);
    if (known === undefined && this.sessions.size >= this.env.limits.sessionsMax) {
      return this.refuse(link, { code: "RESOURCE_EXHAUSTED", message: `this ${this.env.self.kind} has ${this.sessions.size} sessions, its limit` });
    }
    return known === undefined ? this.open(link, hello, key) : this.resume(link, hello, known);
  }

  private refuse(link: Link, refusal: Refusal): undefined {
    this.env.logger.warn("refused a peer", { remote: link.remote, code: refusal.code, reason: refusal.message });
    link.send(jsonFrame(FrameType.refuse, refusal));
    void link.close();
    return undefined;
  }

  private open(link: Link, hello: Hello, key: string): Incoming {
    const incoming = new Incoming(this.env, hello.peer, key, this.env.random.hex(8), link.remote, this.forget);
    this.sessions.set(key, incoming);
    const peer = peerKey(hello.peer);
    let siblings = this.byPeer.get(peer);
    if (siblings === undefined) this.byPeer.set(peer, (siblings = new Set()));
    siblings.add(incoming);
    this.welcome(link, incoming, false);
    incoming.session.establish(link, { peer: hello.peer, continues: "first", peerReceived: 0, peerWindowBytes: hello.windowBytes });
    this.onSession(incoming.session);
    return incoming;
  }

  /** A2. A dialler that names no stream, or another, never saw our welcome: for it the session is fresh, and nothing of ours reached it. */
  private resume(link: Link, hello: Hello, incoming: Incoming): Incoming | undefined {
    const { session } = incoming;
    const resumed = hello.stream === incoming.stream;
    incoming.lingerTimer?.cancel();
    incoming.lingerTimer = undefined;
    this.welcome(link, incoming, resumed);
    const agreed = session.establish(link, {
      peer: hello.peer,
      continues: "resumed",
      peerReceived: resumed ? hello.received : 0,
      peerWindowBytes: hello.windowBytes,
    });
    if (agreed) return incoming;
    link.abort();
    session.lose(new TrayError("SYSTEM", `${session.describe()} resumed a stream that differs from ours`));
    return undefined;
  }

  private welcome(link: Link, incoming: Incoming, resumed: boolean): void {
    const welcome: Welcome = {
      peer: this.env.self,
      stream: incoming.stream,
      resumed,
      received: incoming.session.received,
      windowBytes: this.env.limits.windowBytes,
    };
    link.send(jsonFrame(FrameType.welcome, welcome));
  }

  // A3
  private endOtherIncarnations(peer: PeerInfo): void {
    const others = [...(this.byPeer.get(peerKey(peer)) ?? [])].filter((incoming) => incoming.peer.incarnation !== peer.incarnation);
    for (const { session } of others) session.lose(new TrayError("UNAVAILABLE", `${session.describe()} was restarted`));
  }

  private readonly forget = (incoming: Incoming): void => {
    this.sessions.delete(incoming.key);
    const peer = peerKey(incoming.peer);
    const siblings = this.byPeer.get(peer);
    siblings?.delete(incoming);
    if (siblings?.size === 0) this.byPeer.delete(peer);
    this.onEnded(incoming.session);
  };
}

const peerKey = (peer: PeerInfo): string => `${peer.kind}/${peer.id}`;

/** In constant time: digests, because the lengths may differ. */
function sameToken(a: string, b: string): boolean {
  const digest = (token: string): Buffer => createHash("sha256").update(token).digest();
  return timingSafeEqual(digest(a), digest(b));
}
