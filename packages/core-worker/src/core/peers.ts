// Peers: this process's sessions, one per address.
//
// Owns:     dialled sessions by address.
// Not mine: what is said on them; incoming sessions (the endpoint's).
import type { Endpoint } from "@tray/rpc";
import { type Session } from "@tray/rpc";

export class Peers {
  private readonly sessions = new Map<string, Session>();

  constructor(
    private readonly endpoint: Endpoint,
    private readonly giveUpMs: number,
  ) {}

  /** A session that was dialled elsewhere serves from now on for its address. */
  adopt(address: string, session: Session): void {
    this.sessions.set(address, session);
    session.onLost(() => {
      if (this.sessions.get(address) === session) this.sessions.delete(address);
    });
  }

  /** A worker or driver; nothing listening at its address means that it is gone. `onNew` runs once per session made. */
  worker(address: string): Session {
    return this.dial(address, true);
  }

  /** A raylet; it listens as long as it lives. */
  raylet(address: string, onNew?: (session: Session) => void): Session {
    return this.dial(address, true, onNew);
  }

  known(address: string): Session | undefined {
    return this.sessions.get(address);
  }

  /** The peer is known to be dead: stop trying. */
  forget(address: string, reason: string): void {
    const session = this.sessions.get(address);
    this.sessions.delete(address);
    session?.close(reason);
  }

  private dial(address: string, refusedMeansGone: boolean, onNew?: (session: Session) => void): Session {
    const known = this.sessions.get(address);
    if (known !== undefined) return known;
    const session = this.endpoint.connect(address, { reconnect: { giveUpMs: this.giveUpMs, refusedMeansGone } });
    this.sessions.set(address, session);
    session.opened().catch(() => undefined); // told by onLost too
    session.onLost(() => {
      if (this.sessions.get(address) === session) this.sessions.delete(address);
    });
    onNew?.(session);
    return session;
  }
}
