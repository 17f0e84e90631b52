// GcsLink: this process's session with the GCS and its subscriptions.
//
// Owns:     the session (dialled on first use), the set of channels, the version last seen of each.
// Not mine: what publications mean: listeners by channel.
//
// Invariants
//   G2. a channel that is let go and taken up again begins anew: the GCS hears of the first before the second, else it would keep the old position
//       and not tell the present state.
//   G1. after every fresh session all channels are subscribed again, each from the version last seen: nothing published meanwhile is missed, or a gap is told.
import { isTrayError, type Logger, TrayError } from "@tray/common";
import { type Client, GcsService, type Publication, type PublishBatch } from "@tray/protocol";
import type { Endpoint, Session } from "@tray/rpc";

export type PublicationListener = (publication: Publication) => void;

export class GcsLink {
  private session: Session | undefined;
  private readonly channels = new Map<string, { listener: PublicationListener; version: number }>();
  private dirty = false;
  /** Let go since the last set was sent. */
  private readonly letGo = new Set<string>();
  private readonly resetFns: (() => void)[] = [];
  private fresh = 0;
  private attempts = 0;
  private underWay = false;
  private sending: AbortController | undefined;

  constructor(
    private readonly endpoint: Endpoint,
    private readonly address: string,
    private readonly soon: (fn: () => void) => void,
    private readonly logger: Logger,
  ) {}

  get connected(): Session {
    if (this.session === undefined) {
      this.session = this.endpoint.connect(this.address, { reconnect: "forever" });
      this.session.opened().catch((error: unknown) => this.logger.warn("the GCS cannot be reached", { error }));
      this.session.onFresh(() => {
        this.letGo.clear();
        this.resubscribe(); // G1
        if (++this.fresh > 1) for (const fn of this.resetFns) fn();
      });
    }
    return this.session;
  }

  get client(): Client<typeof GcsService> {
    return this.connected.client(GcsService);
  }

  /** `fn` runs when the GCS was restarted or has forgotten us: what was published meanwhile on channels without a present state may be missed. */
  onReset(fn: () => void): void {
    this.resetFns.push(fn);
  }
  subscribe(channel: string, listener: PublicationListener): void {
    if (this.channels.has(channel)) return;
    this.channels.set(channel, { listener, version: 0 });
    this.changed();
  }
  unsubscribe(channel: string): void {
    if (!this.channels.delete(channel)) return;
    this.letGo.add(channel);
    this.changed();
  }

  published(batch: PublishBatch): void {
    for (const publication of batch.publications) {
      const channel = this.channels.get(publication.channel);
      if (channel === undefined) continue;
      channel.version = Math.max(channel.version, publication.version);
      channel.listener(publication);
    }
  }

  private get hasEnded(): boolean {
    return this.session?.state === "lost" || this.session?.state === "closed";
  }

  private changed(): void {
    if (this.dirty) return;
    this.dirty = true;
    this.soon(() => {
      if (this.underWay) return; // two sets under way might arrive the other way round: the answer sends the next one
      this.dirty = false;
      this.resubscribe();
    });
  }

  private resubscribe(): void {
    if (this.channels.size === 0) return;
    const subscriptions: { channel: string; afterVersion: number }[] = [];
    for (const [channel, { version }] of this.channels) {
      if (this.letGo.has(channel))
        this.dirty = true; // G2: in the next set
      else subscriptions.push({ channel, afterVersion: version });
    }
    const released = [...this.letGo];
    this.letGo.clear();
    const attempt = ++this.attempts;
    this.underWay = true;
    // Of the session before: late, an older set would take the place of a newer one.
    this.sending?.abort(new TrayError("UNAVAILABLE", "a newer set of channels is sent"));
    this.sending = new AbortController();
    this.client
      .subscribe({ subscriptions }, { timeoutMs: 0, signal: this.sending.signal })
      .then(
        () => false,
        (error: unknown) => {
          this.logger.debug("subscription interrupted", { error });
          return isTrayError(error) && error.code === "UNAVAILABLE"; // a refusal would come again
        },
      )
      .then((lost) => {
        if (attempt !== this.attempts) return; // a fresh session has repeated it
        this.underWay = false;
        if (lost) for (const channel of released) this.letGo.add(channel); // G2: perhaps the GCS has not heard of it
        // A broken session may be resumed, which is not fresh: what was lost while it was broken nobody else would repeat.
        const again = lost && !this.hasEnded;
        if (!again && !this.dirty) return;
        this.dirty = false;
        this.changed();
      })
      .catch((error: unknown) => this.logger.error("subscribing failed", { error }));
  }
}
