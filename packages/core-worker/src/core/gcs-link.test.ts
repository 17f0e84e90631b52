// GcsLink against a GCS that keeps sets of channels, over a network that loses them.
import { type SimClock, silentLogger } from "@tray/common";
import { GcsService, type Handlers, SubscriberService } from "@tray/protocol";
import { type CallContext, type Endpoint, FaultPlan, type Session } from "@tray/rpc";
import { TestNetwork } from "../../test/network.js";
import { GcsLink } from "./gcs-link.js";

class Gcs {
  /** Each set as it arrived: channel → version. */
  readonly sets: Map<string, number>[] = [];
  private session: Session | undefined;
  private readonly endpoint: Endpoint;

  constructor(private readonly net: TestNetwork) {
    const none = (): never => {
      throw new Error("not asked in these tests");
    };
    const handlers = Object.fromEntries(Object.keys(GcsService.methods).map((name) => [name, none]));
    this.endpoint = net.endpoint("gcs", "gcs");
    this.endpoint.serve(GcsService, {
      ...(handlers as unknown as Handlers<typeof GcsService, CallContext>),
      subscribe: ({ subscriptions }, { session }) => {
        this.session = session;
        this.sets.push(new Map(subscriptions.map(({ channel, afterVersion }) => [channel, afterVersion])));
        return {};
      },
    });
  }
  async start(): Promise<this> {
    await this.net.clock.complete(this.endpoint.listen("gcs:1"));
    return this;
  }
  publish(channel: string, version: number): void {
    this.session?.client(SubscriberService).published({ publications: [{ channel, version, gap: false, body: undefined }] });
  }
  get channels(): string[] {
    return [...(this.sets.at(-1)?.keys() ?? [])];
  }
}

/** Loses what the test lists, in this order, and nothing else. */
class Losses {
  readonly next: ("request" | "reply")[] = [];
  readonly delayMs = [0, 0] as const;
  get requestLost(): number {
    return this.take("request");
  }
  get replyLost(): number {
    return this.take("reply");
  }
  private take(what: "request" | "reply"): number {
    if (this.next[0] !== what) return 0;
    this.next.shift();
    return 1;
  }
}

function setup(): { net: TestNetwork; clock: SimClock; link: GcsLink; losses: Losses["next"] } {
  const net = new TestNetwork();
  const losses = new Losses();
  const endpoint = net.endpoint("driver", "driver", { faults: new FaultPlan(new Map([["gcs/subscribe", losses]])) });
  const link = new GcsLink(endpoint, "gcs:1", (fn) => net.clock.soon(fn), silentLogger);
  endpoint.serve(SubscriberService, { published: (batch) => link.published(batch) });
  return { net, clock: net.clock, link, losses: losses.next };
}
const ignore = (): void => undefined;

describe("GcsLink", () => {
  it("sends the whole set once for what changes in one turn", async () => {
    const { net, clock, link } = setup();
    const gcs = await new Gcs(net).start();
    link.subscribe("a", ignore);
    await clock.advance(100);
    link.subscribe("b", ignore);
    link.subscribe("c", ignore);
    link.unsubscribe("a");
    await clock.advance(100);
    const sets = gcs.sets.map((set) => [...set.keys()].join());
    expect(sets.slice(sets.lastIndexOf("a"))).toEqual(["a", "b,c"]);
  });

  it("repeats a set that was lost, also one that was lost while the session was broken and then resumed", async () => {
    for (const broken of [false, true]) {
      const { net, clock, link, losses } = setup();
      const gcs = await new Gcs(net).start();
      link.subscribe("a", ignore);
      await clock.advance(100);
      if (broken) {
        net.network.breakLinks("driver", "gcs");
        await clock.advance(1);
        net.network.partition("driver", "gcs");
      }
      expect(link.connected.state).toBe(broken ? "broken" : "up");
      let fresh = 0;
      link.connected.onFresh(() => fresh++);
      losses.push("request", "request", "reply");
      link.subscribe("b", ignore);
      await clock.advance(5);
      net.network.heal();
      await clock.advance(10_000);
      expect([link.connected.state, fresh, losses, gcs.channels]).toEqual(["up", broken ? 0 : 1, [], ["a", "b"]]); // resumed: nothing else repeats it
    }
  });

  it("G2: a channel that is let go and taken up again leaves the set for one message, even when that is lost", async () => {
    for (const lost of [undefined, "request", "reply"] as const) {
      const { net, clock, link, losses } = setup();
      const gcs = await new Gcs(net).start();
      link.subscribe("a", ignore);
      link.subscribe("b", ignore);
      await clock.advance(100);
      if (lost !== undefined) losses.push(lost);
      const before = gcs.sets.length;
      link.unsubscribe("a");
      link.subscribe("a", ignore);
      await clock.advance(1_000);
      expect(gcs.sets.slice(before).some((set) => !set.has("a") && set.has("b"))).toBe(true);
      expect(gcs.channels.sort()).toEqual(["a", "b"]);
      expect(gcs.sets.at(-1)?.get("a")).toBe(0);
    }
  });

  it("G1: after a restart of the GCS all channels are subscribed from the version last seen, and the reset is told", async () => {
    const { net, clock, link } = setup();
    const gcs = await new Gcs(net).start();
    const versions: number[] = [];
    let resets = 0;
    link.onReset(() => resets++);
    link.subscribe("a", ({ version }) => versions.push(version));
    link.subscribe("b", ignore);
    await clock.advance(100);
    gcs.publish("a", 7);
    gcs.publish("unknown", 9);
    await clock.advance(100);
    net.network.crash("gcs");
    await clock.advance(1_000);
    const again = await new Gcs(net).start();
    await clock.runUntil(() => again.sets.length > 0);
    expect([versions, resets]).toEqual([[7], 1]);
    expect(again.sets.at(-1)).toEqual(
      new Map([
        ["a", 7],
        ["b", 0],
      ]),
    ); // prettier-ignore
  });
});
