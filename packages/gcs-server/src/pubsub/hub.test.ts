import { deferred, Metrics, SimClock } from "@tray/common";
import type { Publication } from "@tray/protocol";
import type { Session } from "@tray/rpc";
import fc from "fast-check";
import { type Body, Channel } from "./channel.js";
import { PubSubHub } from "./hub.js";

const notice = (message: string): Body => ({ $case: "error", value: { jobId: "", kind: "", message } });
const textOf = (p: Publication): string => (p.gap ? "gap" : p.body?.$case === "error" ? p.body.value.message : "?");

/** What the hub uses of a session: a window that can be shut. */
function session() {
  const got: Publication[] = [];
  let drained = deferred();
  let lost: () => void = () => undefined;
  const state = {
    got,
    writable: true,
    open: () => {
      state.writable = true;
      drained.resolve();
      drained = deferred();
    },
    lose: () => lost(),
    session: {
      get writable() {
        return state.writable;
      },
      drained: () => drained.promise,
      onLost: (fn: () => void) => {
        lost = fn;
      },
      client: () => ({ published: ({ publications }: { publications: Publication[] }) => void got.push(...publications) }),
    } as unknown as Session,
  };
  return state;
}

function setup(limits = { channelHistoryMax: 4, channelsMax: 3 }) {
  const clock = new SimClock();
  const hub = new PubSubHub({ clock, metrics: new Metrics(), epoch: 1, limits, stateOf: () => [] });
  return { clock, hub };
}

describe("Channel", () => {
  it("hands out exactly what came after a version, or says that it cannot", () => {
    fc.assert(
      fc.property(fc.nat(30), fc.nat(40), fc.integer({ min: 1, max: 10 }), (count, after, max) => {
        const channel = new Channel("c", 0, max);
        for (let i = 1; i <= count; i++) channel.publish(notice(String(i)));
        const { messages, gap } = channel.since(after);
        expect(gap).toBe(after > count || count - after > max);
        if (!gap) expect(messages.map((m) => m.version)).toEqual(Array.from({ length: count - after }, (_, i) => after + 1 + i));
      }),
    );
  });
});

describe("PubSubHub", () => {
  it("batches a turn", async () => {
    const { clock, hub } = setup();
    const s = session();
    hub.subscribe(s.session, [{ channel: "a", afterVersion: 0 }]);
    hub.publish("a", notice("1"));
    hub.publish("a", notice("2"));
    expect(s.got).toEqual([]);
    await clock.settle();
    expect(s.got.map(textOf)).toEqual(["1", "2"]);
  });

  it("holds nothing for a subscriber that does not keep up; it goes on when it has drained", async () => {
    const { clock, hub } = setup();
    const [slow, fast] = [session(), session()];
    for (const s of [slow, fast])
      hub.subscribe(s.session, [
        { channel: "a", afterVersion: 0 },
        { channel: "b", afterVersion: 0 },
      ]);
    slow.writable = false;
    for (let i = 1; i <= 9; i++) {
      hub.publish("a", notice(String(i)));
      await clock.settle();
    }
    hub.publish("b", notice("b"));
    await clock.settle();
    expect(slow.got).toEqual([]);
    expect(fast.got.length).toBe(10);
    slow.open();
    await clock.settle();
    expect(slow.got.map(textOf)).toEqual(["gap", "b"]);
    hub.publish("a", notice("10"));
    await clock.settle();
    expect(slow.got.map(textOf)).toEqual(["gap", "b", "10"]);
  });

  it("never lets a version go back, also when a channel was evicted in between", async () => {
    const { clock, hub } = setup();
    const first = session();
    hub.subscribe(first.session, [{ channel: "a", afterVersion: 0 }]);
    for (let i = 0; i < 5; i++) hub.publish("a", notice("x"));
    await clock.settle();
    const last = first.got.at(-1)?.version ?? 0;
    first.lose();
    for (let i = 0; i < 5; i++) hub.publish(`other${i}`, notice("x"));
    const second = session();
    hub.subscribe(second.session, [{ channel: "a", afterVersion: 0 }]);
    hub.publish("a", notice("y"));
    await clock.settle();
    expect(second.got.map(textOf)).toEqual(["y"]);
    expect(second.got[0]?.version).toBeGreaterThan(last);
  });
});
