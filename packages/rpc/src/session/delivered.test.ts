// Session.delivered: resolves when, and only when, the peer has all that was sent before.
import type { SimClock, TrayError } from "@tray/common";
import * as fc from "fast-check";
import { testEndpoint } from "../../test/endpoints.js";
import { note, PingService, peer } from "../../test/ping-service.js";
import { memoryWorld } from "../../test/worlds.js";
import type { ConnectOptions, Session } from "./session.js";

const forever: ConnectOptions = { reconnect: "forever" };

async function setup(connect: ConnectOptions = forever, seed = 1) {
  const world = memoryWorld(seed);
  const server = testEndpoint(world, peer("gcs", "server"));
  const client = testEndpoint(world, peer("raylet", "client"));
  const session = client.endpoint.connect(await server.endpoint.listen("server:1"), connect);
  const ping = session.client(PingService);
  return { world, server, client, session, ping, clock: world.clock as SimClock, network: world.network };
}
type Setup = Awaited<ReturnType<typeof setup>>;

/** What has become of `delivered()`, asked for now. */
function delivery(session: Session): { state: "open" | "delivered" | string } {
  const seen: { state: "open" | "delivered" | string } = { state: "open" };
  session.delivered().then(
    () => (seen.state = "delivered"),
    (error: unknown) => (seen.state = (error as TrayError).code),
  );
  return seen;
}

async function opened(s: Setup): Promise<Setup> {
  await s.clock.complete(s.session.opened());
  await s.clock.advance(100);
  return s;
}

describe("Session.delivered", () => {
  it("resolves at once when nothing is under way", async () => {
    const s = await opened(await setup());
    const nothing = delivery(s.session);
    await s.clock.settle();
    expect(nothing.state).toBe("delivered");
  });

  it("sends what this turn has put together, also before the session is open, and waits until the peer has it", async () => {
    const s = await setup();
    s.ping.tell(note(1));
    const first = delivery(s.session);
    await s.clock.settle();
    expect(first.state).toBe("open");
    await s.clock.runUntil(() => first.state !== "open");
    expect([first.state, s.server.told]).toEqual(["delivered", [1]]);
  });

  it("is about what was sent before, and not about what comes after", async () => {
    const s = await opened(await setup());
    s.ping.tell(note(1));
    const first = delivery(s.session);
    await s.clock.runUntil(() => s.server.told.length === 1); // the confirmation is on its way, or will be
    s.network.partition("client", "server", "one-way");
    s.ping.tell(note(2));
    const second = delivery(s.session);
    await s.clock.advance(1_000);
    expect([first.state, second.state, s.server.told]).toEqual(["delivered", "open", [1]]);
    s.network.heal();
    await s.clock.runUntil(() => second.state === "delivered");
    expect(s.server.told).toEqual([1, 2]);
  });

  it("does not take arrival for confirmation", async () => {
    const s = await opened(await setup());
    s.network.partition("server", "client", "one-way");
    s.ping.tell(note(1));
    const first = delivery(s.session);
    await s.clock.runUntil(() => s.server.told.length === 1);
    await s.clock.advance(1_000);
    expect(first.state).toBe("open"); // here one cannot know
    s.network.heal();
    await s.clock.runUntil(() => first.state === "delivered");
    expect(s.server.told).toEqual([1]);
  });

  it("holds over broken connections: what was in flight is sent again, once", async () => {
    const s = await opened(await setup());
    s.ping.tell(note(1));
    const first = delivery(s.session);
    s.network.breakLinks("client", "server");
    await s.clock.advance(0.05);
    expect([first.state, s.server.told]).toEqual(["open", []]);
    await s.clock.runUntil(() => first.state === "delivered");
    expect(s.server.told).toEqual([1]);
  });

  it("a confirmation that was lost with the connection comes with the next one's handshake", async () => {
    const s = await opened(await setup());
    s.network.partition("server", "client", "one-way");
    s.ping.tell(note(1));
    const first = delivery(s.session);
    await s.clock.runUntil(() => s.server.told.length === 1);
    await s.clock.advance(100);
    s.network.breakLinks("client", "server"); // what was held on the way back is gone
    s.network.heal();
    await s.clock.runUntil(() => first.state === "delivered", 500); // and not with the next sign of life
    expect(s.server.told).toEqual([1]);
  });

  it("rejects when the session is lost, closed or reset first, and afterwards", async () => {
    const gone: ConnectOptions = { reconnect: { giveUpMs: 5_000, refusedMeansGone: true } };
    const lost = await opened(await setup(gone));
    lost.network.crash("server");
    lost.ping.tell(note(1));
    const first = delivery(lost.session);
    await lost.clock.runUntil(() => lost.session.state === "lost");
    const late = delivery(lost.session);
    await lost.clock.settle();
    expect([first.state, late.state]).toEqual(["UNAVAILABLE", "UNAVAILABLE"]);

    const closed = await opened(await setup());
    closed.ping.tell(note(1));
    const second = delivery(closed.session);
    closed.session.close();
    await closed.clock.settle();
    expect(second.state).toBe("UNAVAILABLE");

    const reset = await opened(await setup());
    reset.network.crash("server");
    reset.ping.tell(note(1));
    const third = delivery(reset.session);
    const again = testEndpoint(reset.world, peer("gcs", "server", { incarnation: "server-2" }));
    await again.endpoint.listen("server:1");
    await reset.clock.runUntil(() => third.state !== "open");
    expect([third.state, again.told]).toEqual(["UNAVAILABLE", []]);
    reset.ping.tell(note(2));
    const fourth = delivery(reset.session); // the new stream's numbers begin anew
    await reset.clock.runUntil(() => fourth.state !== "open");
    expect([fourth.state, again.told]).toEqual(["delivered", [2]]);
  });

  it("whatever breaks: once it resolves, the peer has everything that was sent before, and all resolve in the order in which they were asked", async () => {
    await fc.assert(
      fc.asyncProperty(
        fc.array(fc.tuple(fc.integer({ min: 1, max: 4 }), fc.constantFrom(0, 0.2, 3, 40)), { minLength: 1, maxLength: 25 }),
        fc.integer(),
        async (turns, seed) => {
          const s = await setup(forever, seed);
          s.network.breakChance = 0.1;
          s.network.duplicateChance = 0.1;
          let n = 0;
          const resolved: number[] = [];
          for (const [count, ms] of turns) {
            for (let i = 0; i < count; i++) s.ping.tell(note(++n));
            const sent = n;
            void s.session.delivered().then(() => {
              expect(s.server.told.length).toBeGreaterThanOrEqual(sent);
              resolved.push(sent);
            });
            await s.clock.advance(ms);
          }
          await s.clock.runUntil(() => resolved.length === turns.length);
          expect(resolved).toEqual([...resolved].sort((a, b) => a - b));
          expect(s.server.told).toEqual(Array.from({ length: n }, (_none, i) => i + 1));
        },
      ),
      { numRuns: 60 },
    );
  });
});
