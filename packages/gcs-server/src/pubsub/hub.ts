// PubSubHub: channels, and the sessions that listen.
//
// Owns:     channels with their bounded histories, subscriptions, how far each subscriber was told.
// Not mine: what is said (handlers publish, after it is on disk), the present state of things (asked of `stateOf`).
// Crosses:  in: publish, subscribe, drop.  out: SubscriberService.published, one batch a turn and subscriber.
//
// Invariants
//   H1. A subscriber sees each channel's messages in order and none twice; a message with `gap` tells it that some are missing, and carries the state.
//   H2. Versions of a channel grow over restarts of this server too (the epoch is their upper half), and over the channel's own eviction.
//   H3. A subscriber that does not keep up holds no queue here: it has a position, and goes on from there, with a gap if need be, when it has drained.
import type { Clock, Metrics } from "@tray/common";
import { type Publication, type Subscription, SubscriberService } from "@tray/protocol";
import type { Session } from "@tray/rpc";
import { type Body, Channel } from "./channel.js";

interface Subscriber {
  readonly session: Session;
  /** Version up to which it was told, by channel. */
  readonly told: Map<string, number>;
  readonly behind: Set<string>;
  draining: boolean;
}

const epochSize = 2 ** 32;

export interface PubSubHubOptions {
  clock: Clock;
  metrics: Metrics;
  epoch: number;
  limits: { channelHistoryMax: number; channelsMax: number };
  /** What a channel's subject is now; empty when there is none, or nothing that could be told. */
  stateOf: (channel: string) => Body[];
}

export class PubSubHub {
  private readonly channels = new Map<string, Channel>();
  private readonly listeners = new Map<string, Set<Subscriber>>();
  private readonly subscribers = new Map<Session, Subscriber>();
  private readonly dirty = new Set<Subscriber>();
  private armed = false;
  /** Where channels that are made anew begin. H2 */
  private base: number;

  constructor(private readonly o: PubSubHubOptions) {
    this.base = o.epoch * epochSize;
  }

  publish(channelName: string, body: Body): void {
    this.channel(channelName).publish(body);
    this.o.metrics.count("tray_gcs_publications_total", { kind: body.$case });
    for (const subscriber of this.listeners.get(channelName) ?? []) this.markBehind(subscriber, channelName);
  }

  /** Replaces the session's subscriptions. Those that it keeps go on where they are. */
  subscribe(session: Session, subscriptions: readonly Subscription[]): void {
    const subscriber = this.subscriberOf(session);
    const wanted = new Set(subscriptions.map((s) => s.channel));
    for (const name of [...subscriber.told.keys()]) if (!wanted.has(name)) this.unlisten(subscriber, name);
    const publications: Publication[] = [];
    for (const { channel: name, afterVersion } of subscriptions) {
      if (subscriber.told.has(name)) continue;
      this.listen(subscriber, name);
      const channel = this.channel(name);
      subscriber.told.set(name, channel.last);
      if (afterVersion === 0) publications.push(...this.stateAs(channel, false));
      else publications.push(...this.since(channel, afterVersion));
    }
    if (publications.length > 0) session.client(SubscriberService).published({ publications });
  }

  /** Forgets a channel whose subject is gone for good. */
  drop(channelName: string): void {
    const channel = this.channels.get(channelName);
    if (channel === undefined || this.listeners.has(channelName)) return;
    this.channels.delete(channelName);
    this.base = Math.max(this.base, channel.last);
  }

  private since(channel: Channel, version: number): Publication[] {
    const { messages, gap } = channel.since(version);
    if (!gap) return messages.map(({ version: v, body }) => ({ channel: channel.name, version: v, gap: false, body }));
    this.o.metrics.count("tray_gcs_publication_gaps_total");
    return this.stateAs(channel, true);
  }
  /** The present state under the last version; with a gap and nothing to tell, the gap alone. */
  private stateAs(channel: Channel, gap: boolean): Publication[] {
    const bodies = this.o.stateOf(channel.name);
    if (bodies.length === 0) return gap ? [{ channel: channel.name, version: channel.last, gap, body: undefined }] : [];
    return bodies.map((body) => ({ channel: channel.name, version: channel.last, gap, body }));
  }

  private markBehind(subscriber: Subscriber, channelName: string): void {
    subscriber.behind.add(channelName);
    if (subscriber.draining) return;
    this.dirty.add(subscriber);
    if (this.armed) return;
    this.armed = true;
    this.o.clock.endOfTurn(this.flush);
  }

  private readonly flush = (): void => {
    this.armed = false;
    for (const subscriber of this.dirty) this.tell(subscriber);
    this.dirty.clear();
  };

  private tell(subscriber: Subscriber): void {
    const { session } = subscriber;
    if (!session.writable) return this.waitForDrain(subscriber);
    const publications: Publication[] = [];
    for (const name of subscriber.behind) {
      const channel = this.channels.get(name);
      const told = subscriber.told.get(name);
      if (channel === undefined || told === undefined) continue;
      publications.push(...this.since(channel, told));
      subscriber.told.set(name, channel.last);
    }
    subscriber.behind.clear();
    if (publications.length > 0) session.client(SubscriberService).published({ publications });
  }

  // H3
  private waitForDrain(subscriber: Subscriber): void {
    subscriber.draining = true;
    subscriber.session.drained().then(
      () => {
        subscriber.draining = false;
        this.tell(subscriber);
      },
      () => undefined, // the session ended: onLost has taken it out
    );
  }

  private subscriberOf(session: Session): Subscriber {
    let subscriber = this.subscribers.get(session);
    if (subscriber === undefined) {
      const made: Subscriber = { session, told: new Map(), behind: new Set(), draining: false };
      this.subscribers.set(session, (subscriber = made));
      session.onLost(() => {
        for (const name of [...made.told.keys()]) this.unlisten(made, name);
        this.subscribers.delete(session);
        this.dirty.delete(made);
      });
    }
    return subscriber;
  }
  private listen(subscriber: Subscriber, name: string): void {
    const set = this.listeners.get(name);
    if (set === undefined) this.listeners.set(name, new Set([subscriber]));
    else set.add(subscriber);
  }
  private unlisten(subscriber: Subscriber, name: string): void {
    subscriber.told.delete(name);
    subscriber.behind.delete(name);
    const set = this.listeners.get(name);
    if (set?.delete(subscriber) === true && set.size === 0) this.listeners.delete(name);
  }

  private channel(name: string): Channel {
    let channel = this.channels.get(name);
    if (channel === undefined) {
      this.evict();
      channel = new Channel(name, this.base, this.o.limits.channelHistoryMax);
    } else {
      this.channels.delete(name); // most recently used last
    }
    this.channels.set(name, channel);
    return channel;
  }
  /** Makes room, among channels that nobody listens to. */
  private evict(): void {
    if (this.channels.size < this.o.limits.channelsMax) return;
    for (const name of this.channels.keys()) {
      if (this.listeners.has(name)) continue;
      this.drop(name);
      return;
    }
  }
}
