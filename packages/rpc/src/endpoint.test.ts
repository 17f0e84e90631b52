// What sessions promise, on a simulated network: every promise with its failure.
import { InvariantError, isTrayError, SeededRandom, type SimClock, type TrayError } from "@tray/common";
import * as fc from "fast-check";
import { testEndpoint } from "../test/endpoints.js";
import { type Note, note, PingService, peer } from "../test/ping-service.js";
import { memoryWorld } from "../test/worlds.js";
import { FaultPlan } from "./faults.js";
import type { MemoryNetwork } from "./memory/network.js";
import type { CallContext, ConnectOptions, Session } from "./session/session.js";

type Options = Parameters<typeof testEndpoint>[2];
const forever: ConnectOptions = { reconnect: "forever" };

function setup(serverOptions: Options = {}, clientOptions: Options = {}, connect: ConnectOptions = forever, seed = 1) {
  const world = memoryWorld(seed);
  const server = testEndpoint(world, peer("gcs", "server"), serverOptions);
  const client = testEndpoint(world, peer("raylet", "client"), clientOptions);
  const incoming: Session[] = [];
  server.endpoint.onSession((session) => incoming.push(session));
  const ready = (async () => {
    const address = await server.endpoint.listen("server:7379");
    const session = client.endpoint.connect(address, connect);
    return { address, session, ping: session.client(PingService) };
  })();
  return { world, server, client, incoming, ready, clock: world.clock as SimClock, network: world.network as MemoryNetwork };
}

/** The settled outcome of a call, without waiting for it. */
function watch(work: Promise<unknown>): { value?: unknown; error?: TrayError } {
  const seen: { value?: unknown; error?: TrayError } = {};
  work.then(
    (value) => (seen.value = value),
    (error: unknown) => (seen.error = error as TrayError),
  );
  return seen;
}

const never = (): Promise<Note> => new Promise(() => undefined);

describe("handshake", () => {
  it("refuses another tray version, with both in the message", async () => {
    const { world, ready } = setup();
    const { address } = await ready;
    const old = testEndpoint(world, peer("raylet", "old", { version: "0.0.9" }));
    const session = old.endpoint.connect(address, forever);
    const seen = watch(session.opened());
    await world.clock.advance(100);
    expect(seen.error?.code).toBe("VERSION_MISMATCH");
    expect(seen.error?.message).toMatch(/tray 0\.1\.0.*tray 0\.0\.9/);
  });

  it("refuses another Node major between processes that exchange values, and only there", async () => {
    const world = memoryWorld();
    const worker = testEndpoint(world, peer("worker", "worker", { nodeVersion: "22.4.0" }));
    const address = await worker.endpoint.listen("worker:1");
    const outcomes = (["driver", "raylet"] as const).map((kind) =>
      watch(testEndpoint(world, peer(kind, kind)).endpoint.connect(address, forever).opened()),
    );
    await world.clock.advance(100);
    expect(outcomes[0]?.error?.code).toBe("VERSION_MISMATCH");
    expect(outcomes[0]?.error?.message).toMatch(/Node 22\.4\.0.*Node 20\.20\.2/);
    expect("value" in (outcomes[1] ?? {})).toBe(true);
  });

  it("refuses a peer of another cluster", async () => {
    const world = memoryWorld();
    const gcs = testEndpoint(world, peer("gcs", "g", { clusterId: "aa" }));
    const address = await gcs.endpoint.listen("g:1");
    const seen = watch(
      testEndpoint(world, peer("raylet", "r", { clusterId: "bb" }))
        .endpoint.connect(address, forever)
        .opened(),
    );
    await world.clock.advance(100);
    expect(seen.error).toMatchObject({ code: "CONNECTION", message: expect.stringMatching(/aa.*bb/) });
  });

  it("says gone when another incarnation lives at the address", async () => {
    const { world, ready } = setup();
    const { address } = await ready;
    const seeker = testEndpoint(world, peer("worker", "seeker"));
    const session = seeker.endpoint.connect(address, { reconnect: { giveUpMs: 5000 }, expectIncarnation: "server-0" });
    const seen = watch(session.opened());
    await world.clock.advance(100);
    expect(seen.error).toMatchObject({ code: "UNAVAILABLE" });
    expect(session.state).toBe("lost");
  });

  it("hangs up on a link that talks before its hello, or not at all", async () => {
    const { world, network, ready } = setup();
    const { address } = await ready;
    const ends: string[] = [];
    const frames: number[] = [];
    for (const first of [Uint8Array.of(1, 2, 3), undefined]) {
      const link = network
        .transport("stranger")
        .connect(address, undefined, { onFrame: (f) => frames.push(f[0] as number), onEnd: (e) => ends.push(e.kind) });
      if (first !== undefined) link.send(first);
    }
    await world.clock.advance(10_000);
    expect(frames).toEqual([5]); // one refusal
    expect(ends.sort()).toEqual(["broken", "closed"]);
  });
});

describe("calls", () => {
  it("fail with DEADLINE_EXCEEDED in time, and abort the handler", async () => {
    let context: CallContext | undefined;
    const { clock, ready } = setup({ handlers: { echo: (_request, c) => ((context = c), never()) } });
    const { ping } = await ready;
    const short = watch(ping.echo(note(1), { timeoutMs: 200 }));
    const standard = watch(ping.echo(note(2)));
    const unbounded = watch(ping.echo(note(3), { timeoutMs: 0 }));
    await clock.advance(199);
    expect(short.error).toBeUndefined();
    const signal = context?.signal; // of the last request
    await clock.advance(20);
    expect(short.error).toMatchObject({ code: "DEADLINE_EXCEEDED", message: expect.stringContaining("ping/echo to gcs server") });
    await clock.advance(30_000);
    expect(standard.error?.code).toBe("DEADLINE_EXCEEDED");
    await clock.advance(300_000);
    expect([unbounded, signal?.aborted]).toEqual([{}, false]);
  });

  it("abort the handler's signal when the caller cancels, whether or not it looked before", async () => {
    const contexts: CallContext[] = [];
    const { clock, ready } = setup({ handlers: { echo: (_request, c) => (contexts.push(c), never()) } });
    const { ping } = await ready;
    const aborter = new AbortController();
    const seen = [ping.echo(note(1), { signal: aborter.signal }), ping.echo(note(2), { signal: aborter.signal })].map(watch);
    await clock.advance(10);
    const early = contexts[0]?.signal;
    aborter.abort(new Error("changed my mind"));
    await clock.advance(10);
    expect(seen.map((s) => s.error?.message)).toEqual(["changed my mind", "changed my mind"]);
    expect([early?.aborted, contexts[1]?.signal.aborted]).toEqual([true, true]);
    const late = watch(ping.echo(note(3), { signal: aborter.signal }));
    await clock.advance(10);
    expect([late.error?.message, contexts.length]).toEqual(["changed my mind", 2]); // never left
  });

  it("name the method that the peer does not serve", async () => {
    const world = memoryWorld();
    const { Endpoint } = await import("./endpoint.js");
    const { Metrics, silentLogger } = await import("@tray/common");
    const bare = new Endpoint({
      transport: world.transport("bare"),
      clock: world.clock,
      random: new SeededRandom(1),
      logger: silentLogger,
      metrics: new Metrics(),
      self: peer("raylet", "bare"),
    });
    const session = testEndpoint(world, peer("driver", "d")).endpoint.connect(await bare.listen("bare:1"), forever);
    const seen = watch(session.client(PingService).echo(note(1)));
    await world.clock.advance(100);
    expect(seen.error).toMatchObject({ code: "NOT_FOUND", message: "ping/echo is not served by raylet bare at bare:1" });
  });

  it("reject what cannot be encoded or is too large, and go on", async () => {
    const { clock, ready } = setup({}, { limits: { messageBytesMax: 1000 } });
    const { ping } = await ready;
    const outcomes = [ping.echo(note(-1)), ping.echo(note(1, "x".repeat(2000))), ping.echo(note(2))].map(watch);
    expect(() => ping.tell(note(1, "x".repeat(2000)))).toThrow(/exceeds the limit of 1000/);
    await clock.advance(100);
    expect(outcomes[0]?.error).toBeInstanceOf(Error);
    expect(outcomes[1]?.error?.code).toBe("INVALID_ARGUMENT");
    expect(outcomes[2]?.value).toEqual(note(2));
  });

  it("are bounded in number, at the caller and at the callee", async () => {
    const caller = setup({ handlers: { echo: never } }, { limits: { pendingCallsMax: 3 } });
    const fromCaller = await caller.ready;
    const atCaller = [1, 2, 3, 4].map((n) => watch(fromCaller.ping.echo(note(n))));
    await caller.clock.advance(10);
    expect(atCaller.map((s) => s.error?.code)).toEqual([undefined, undefined, undefined, "RESOURCE_EXHAUSTED"]);
    const callee = setup({ handlers: { echo: never }, limits: { pendingCallsMax: 3 } });
    const { ping } = await callee.ready;
    const atCallee = [1, 2, 3, 4].map((n) => watch(ping.echo(note(n))));
    await callee.clock.advance(10);
    expect(atCallee.map((s) => s.error?.code)).toEqual([undefined, undefined, undefined, "RESOURCE_EXHAUSTED"]);
  });

  it("report a broken invariant of a handler as a bug, and answer SYSTEM", async () => {
    const bugs: unknown[] = [];
    const broken = (): never => {
      throw new InvariantError("two leases");
    };
    const { clock, ready } = setup({ handlers: { echo: broken }, onBug: (bug) => bugs.push(bug) });
    const { ping } = await ready;
    const seen = watch(ping.echo(note(1)));
    await clock.advance(10);
    expect(seen.error?.code).toBe("SYSTEM");
    expect(bugs).toEqual([expect.any(InvariantError)]);
  });

  it("survive a failing one-way handler, sync or async", async () => {
    const failing = (async () => {
      throw new Error("late");
    }) as () => void;
    const { clock, server, ready } = setup({ handlers: { tell: (m) => (m.n === 1 ? failing() : m.n === 2 ? JSON.parse("{") : undefined) } });
    const { ping } = await ready;
    for (const n of [1, 2, 3]) ping.tell(note(n));
    await clock.advance(10);
    expect(server.told).toEqual([1, 2, 3]);
  });
});

describe("injected faults", () => {
  it("lose the request before the handler, the reply after it; both are UNAVAILABLE", async () => {
    const ran: number[] = [];
    const faults = FaultPlan.parse('{"ping/echo":{"requestLost":1},"ping/once":{"replyLost":1}}');
    const record = (request: Note): Note => (ran.push(request.n), request);
    const { clock, client, ready } = setup({ handlers: { echo: record, once: record } }, { faults });
    const { ping } = await ready;
    const outcomes = [ping.echo(note(1)), ping.once(note(2))].map(watch);
    await clock.advance(100);
    expect(outcomes.map((o) => o.error?.code)).toEqual(["UNAVAILABLE", "UNAVAILABLE"]);
    expect(ran).toEqual([2]);
    expect(client.metric("tray_rpc_injected_faults_total")).toBe(2);
  });

  it("are overcome by retry, within the deadline", async () => {
    const ran: number[] = [];
    const faults = FaultPlan.parse('{"ping/echo":{"requestLost":0.5,"replyLost":0.5,"delayMs":[0,5]}}');
    const { clock, ready } = setup({ handlers: { echo: (request) => (ran.push(request.n), request) } }, { faults });
    const { ping } = await ready;
    const outcomes = Array.from({ length: 40 }, (_, n) => watch(ping.echo(note(n), { retry: true })));
    await clock.advance(30_000);
    expect(outcomes.map((o) => o.value)).toEqual(Array.from({ length: 40 }, (_, n) => note(n)));
    expect(ran.length).toBeGreaterThan(40); // lost replies made handlers run again
    const hopeless = watch((await setup({}, { faults: FaultPlan.parse('{"*":{"requestLost":1}}') }).ready).ping.echo(note(1), { retry: true }));
    expect(hopeless).toEqual({});
  });

  it("give up at the deadline", async () => {
    const { clock, ready } = setup({}, { faults: FaultPlan.parse('{"*":{"requestLost":1}}') });
    const { ping } = await ready;
    const seen = watch(ping.echo(note(1), { retry: true, timeoutMs: 500 }));
    await clock.advance(490);
    expect(seen).toEqual({});
    await clock.advance(20);
    expect(seen.error?.code).toBe("DEADLINE_EXCEEDED");
  });

  it("refuse retry for what must not be repeated", async () => {
    const { clock, ready } = setup();
    const { ping } = await ready;
    const seen = watch(ping.once(note(1), { retry: true }));
    await clock.advance(10);
    expect(seen.error?.code).toBe("INVALID_ARGUMENT");
  });
});

describe("life of a session", () => {
  /** A second life of the server process, at the same address. */
  async function restart(s: ReturnType<typeof setup>, options: Options = {}) {
    s.network.crash("server");
    const again = testEndpoint(s.world, peer("gcs", "server", { incarnation: "server-2" }), options);
    await again.endpoint.listen("server:7379");
    return again;
  }

  it("resyncs with a restarted peer: fresh again, pending calls UNAVAILABLE, retried ones answered after the resync", async () => {
    const s = setup({ handlers: { echo: never } });
    const { session, ping } = await s.ready;
    let fresh = 0;
    session.onFresh(() => ping.tell(note(1000 + fresh++)));
    const plain = watch(ping.echo(note(1)));
    const retried = watch(ping.echo(note(2), { retry: true }));
    await s.clock.advance(10);
    const order: string[] = [];
    const again = await restart(s, {
      handlers: { echo: (request) => (order.push(`echo ${request.n}`), request), tell: (m) => void order.push(`tell ${m.n}`) },
    });
    await s.clock.advance(2000);
    expect(plain.error).toMatchObject({ code: "UNAVAILABLE", message: expect.stringContaining("may or may not have run") });
    expect(retried.value).toEqual(note(2));
    expect(order).toEqual(["tell 1001", "echo 2"]);
    expect([session.state, session.peer?.incarnation, again.told]).toEqual(["up", "server-2", [1001]]);
    expect(s.client.metric("tray_rpc_session_resets_total")).toBe(1);
  });

  it("is lost when the peer was restarted and the caller wants that incarnation only", async () => {
    const s = setup({ handlers: { echo: never } }, {}, { reconnect: { giveUpMs: 5000 } });
    const { session, ping } = await s.ready;
    const lost: TrayError[] = [];
    session.onLost((error) => lost.push(error));
    const call = watch(ping.echo(note(1), { retry: true }));
    await s.clock.advance(10);
    await restart(s);
    await s.clock.advance(1000);
    expect([session.state, lost[0]?.code, call.error?.code]).toEqual(["lost", "UNAVAILABLE", "UNAVAILABLE"]);
    const late: TrayError[] = [];
    session.onLost((error) => late.push(error));
    expect(late).toEqual(lost);
    ping.tell(note(5)); // goes nowhere, quietly
    expect((watch(session.drained()), await session.drained().catch((e: TrayError) => e.code))).toBe("UNAVAILABLE");
  });

  it("is lost at once when refused means gone, else after giveUpMs", async () => {
    for (const refusedMeansGone of [true, false]) {
      const s = setup({}, {}, { reconnect: { giveUpMs: 3000, refusedMeansGone } });
      const { session } = await s.ready;
      await s.clock.advance(10);
      s.network.crash("server");
      await s.clock.advance(200);
      expect(session.state).toBe(refusedMeansGone ? "lost" : "broken");
      await s.clock.advance(2700);
      expect(session.state).toBe(refusedMeansGone ? "lost" : "broken");
      await s.clock.advance(200);
      expect(session.state).toBe("lost");
    }
  });

  it("keeps trying forever when told so, and opens when the peer appears", async () => {
    const world = memoryWorld();
    const client = testEndpoint(world, peer("raylet", "client"));
    const session = client.endpoint.connect("server:7379", forever);
    const echoed = watch(session.client(PingService).echo(note(1), { timeoutMs: 0 }));
    await world.clock.advance(600_000);
    expect(session.state).toBe("connecting");
    await testEndpoint(world, peer("gcs", "server")).endpoint.listen("server:7379");
    await world.clock.advance(2000);
    expect([session.state, echoed.value]).toEqual(["up", note(1)]);
  });

  it("outlives a partition: silence breaks it, healing resumes it, nothing is lost or repeated", async () => {
    const s = setup({ limits: { lingerMs: 60_000 } });
    const { session, ping } = await s.ready;
    const broken: number[] = [];
    session.onBroken(() => broken.push(s.clock.now()));
    await s.clock.advance(10);
    s.network.partition("client", "server");
    for (let n = 0; n < 10; n++) ping.tell(note(n));
    const call = watch(ping.echo(note(10), { timeoutMs: 0 }));
    await s.clock.advance(25_000);
    expect(broken.length).toBe(1);
    expect(broken[0]).toBeLessThanOrEqual(20_000);
    expect([session.state, s.incoming[0]?.state, s.server.told.length]).toEqual(["broken", "broken", 0]);
    s.network.heal();
    await s.clock.advance(10_000);
    expect([session.state, s.incoming[0]?.state, call.value, s.incoming.length]).toEqual(["up", "up", note(10), 1]);
    expect(s.server.told).toEqual([...Array(10).keys()]);
  });

  it("stays up while idle: a sign of life is asked for and given", async () => {
    const s = setup();
    const { session } = await s.ready;
    let broken = 0;
    session.onBroken(() => broken++);
    await s.clock.advance(600_000);
    expect([session.state, broken]).toEqual(["up", 0]);
  });

  it("is lost at the accepting side after lingerMs, or when its peer comes back as another incarnation", async () => {
    const s = setup();
    await s.ready;
    await s.clock.advance(10);
    const lost: string[] = [];
    s.incoming[0]?.onLost((error) => lost.push(error.message));
    s.network.crash("client");
    await s.clock.advance(9900);
    expect([s.incoming[0]?.state, lost]).toEqual(["broken", []]);
    await s.clock.advance(200);
    expect(lost).toEqual([expect.stringContaining("did not come back within 10000 ms")]);

    const t = setup();
    const { address } = await t.ready;
    await t.clock.advance(10);
    t.network.crash("client", { silent: true });
    testEndpoint(t.world, peer("raylet", "client", { incarnation: "client-2" })).endpoint.connect(address, forever);
    await t.clock.advance(100);
    expect(t.incoming.map((session) => [session.state, session.peer?.incarnation])).toEqual([
      ["lost", "client-1"],
      ["up", "client-2"],
    ]);
  });

  it("aborts handlers of a peer that is lost", async () => {
    let signal: AbortSignal | undefined;
    const s = setup({ handlers: { echo: (_request, context) => ((signal = context.signal), never()) } });
    const { ping } = await s.ready;
    watch(ping.echo(note(1)));
    await s.clock.advance(10);
    s.network.crash("client");
    await s.clock.advance(5000);
    expect(signal?.aborted).toBe(false); // it may come back
    await s.clock.advance(6000);
    expect(signal?.aborted).toBe(true);
  });

  it("stops sending at the window, tells so, and refuses at the hard limit", async () => {
    const limits = { windowBytes: 100_000, frameBytesSoft: 10_000, ackBytes: 20_000, messageBytesMax: 50_000, queuedBytesMax: 300_000 };
    const s = setup({ limits }, { limits });
    const { session, ping } = await s.ready;
    await s.clock.advance(10);
    s.network.partition("client", "server");
    const sent = s.client.metric("tray_rpc_bytes_sent_total");
    const text = "z".repeat(1000);
    let refused: unknown;
    let n = 0;
    try {
      for (; n < 1000; n++) ping.tell(note(n, text));
    } catch (error) {
      refused = error;
    }
    expect(isTrayError(refused, "RESOURCE_EXHAUSTED")).toBe(true);
    expect(n).toBeGreaterThan(280);
    await s.clock.advance(100);
    expect(s.client.metric("tray_rpc_bytes_sent_total") - sent).toBeLessThanOrEqual(100_000);
    expect(session.writable).toBe(false);
    const drained = watch(session.drained());
    const call = watch(ping.echo(note(1)));
    await s.clock.advance(100);
    expect([drained, call.error?.code]).toEqual([{}, "RESOURCE_EXHAUSTED"]);
    s.network.heal();
    await s.clock.advance(1000);
    expect([session.writable, "value" in drained]).toEqual([true, true]);
    expect(s.server.told).toEqual([...Array(n).keys()]);
  });

  it("acknowledges by itself: an idle sender keeps nothing", async () => {
    const s = setup();
    const { ping } = await s.ready;
    await s.clock.advance(10);
    ping.tell(note(1));
    await s.clock.settle();
    expect(s.client.metric("tray_rpc_unacknowledged_bytes")).toBeGreaterThan(0);
    await s.clock.advance(20);
    expect(s.client.metric("tray_rpc_unacknowledged_bytes")).toBe(0);
  });

  it("puts everything sent in one turn into one frame", async () => {
    const s = setup();
    const { ping } = await s.ready;
    await s.clock.advance(10);
    const before = s.client.metric("tray_rpc_frames_sent_total");
    for (let n = 0; n < 500; n++) ping.tell(note(n));
    watch(ping.echo(note(1)));
    await s.clock.advance(10);
    expect(s.client.metric("tray_rpc_frames_sent_total") - before).toBe(1);
    expect(s.server.told.length).toBe(500);
  });

  it("ends for good: closing leaves no link, timer or pending call behind", async () => {
    const s = setup({ handlers: { echo: never } });
    const { session, ping } = await s.ready;
    const call = watch(ping.echo(note(1)));
    await s.clock.advance(10);
    const done = Promise.all([s.client.endpoint.close(), s.server.endpoint.close()]);
    await s.clock.complete(done);
    await s.clock.advance(60_000);
    expect([session.state, call.error?.code, s.network.linkCount]).toEqual(["closed", "UNAVAILABLE", 0]);
    const after = s.client.endpoint.connect("server:7379", forever);
    expect(after.state).toBe("closed");
    await s.clock.runUntilIdle();
  });

  it("stands a welcome that was lost: the next hello finds the same session, fresh for the dialler", async () => {
    const s = setup();
    s.network.partition("server", "client", "one-way"); // the hello arrives, the welcome does not
    const { session, ping } = await s.ready;
    let fresh = 0;
    session.onFresh(() => fresh++);
    for (let n = 0; n < 5; n++) ping.tell(note(n));
    await s.clock.advance(100);
    s.incoming[0]?.client(PingService).tell(note(70)); // lost with the welcome, and sent again
    await s.clock.advance(100);
    expect([session.state, s.incoming[0]?.state]).toEqual(["connecting", "up"]);
    s.network.breakLinks("client", "server");
    s.network.heal();
    await s.clock.advance(1000);
    expect([session.state, fresh, s.server.told, s.client.told, s.incoming.length]).toEqual(["up", 1, [0, 1, 2, 3, 4], [70], 1]);
  });

  it("never answers a call of another life: a handler that outlives a reset is not heard", async () => {
    const answers: ((reply: Note) => void)[] = [];
    const s = setup({}, { handlers: { echo: () => new Promise((resolve) => answers.push(resolve)) } });
    await s.ready;
    await s.clock.advance(10);
    watch((s.incoming[0] as Session).client(PingService).echo(note(1)));
    await s.clock.advance(10);
    const again = await restart(s);
    const incoming: Session[] = [];
    again.endpoint.onSession((session) => incoming.push(session));
    await s.clock.advance(1000);
    const second = watch((incoming[0] as Session).client(PingService).echo(note(2))); // the same call id, on the new stream
    await s.clock.advance(10);
    answers[0]?.(note(111));
    await s.clock.advance(10);
    expect(second).toEqual({});
    answers[1]?.(note(222));
    await s.clock.advance(10);
    expect(second.value).toEqual(note(222));
  });
});

// Whole endpoints on a network that breaks, repeats, delays and partitions: what a session promises holds for every seed.
describe("random networks", () => {
  it("deliver exactly once and in order in both directions, and answer every call, while both processes live", async () => {
    await fc.assert(
      fc.asyncProperty(fc.integer(), async (seed) => {
        const limits = { windowBytes: 4000, frameBytesSoft: 500, ackBytes: 1000, lingerMs: 1e9 };
        const s = setup({ limits }, { limits }, { reconnect: { giveUpMs: 1e9 } }, seed);
        const random = new SeededRandom(seed);
        const { session, ping } = await s.ready;
        await s.clock.advance(10);
        const back = s.incoming[0]?.client(PingService) as typeof ping;
        s.network.breakChance = 0.05 * random.next();
        s.network.duplicateChance = 0.2 * random.next();
        s.network.delayMs = [0, 5 * random.next()];
        const answers: { value?: unknown; error?: TrayError }[] = [];
        let there = 0;
        let home = 0;
        for (let step = 0; step < 60; step++) {
          for (let i = Math.floor(random.next() * 8); i > 0; i--) ping.tell(note(there++, "t".repeat(Math.floor(random.next() * 100))));
          for (let i = Math.floor(random.next() * 8); i > 0; i--) back.tell(note(home++));
          answers.push(watch((random.next() < 0.5 ? ping : back).echo(note(step), { timeoutMs: 0 })));
          const chance = random.next();
          if (chance < 0.05) s.network.breakLinks("client", "server");
          else if (chance < 0.1) s.network.partition("client", "server", random.next() < 0.5 ? "one-way" : "both");
          else if (chance < 0.3) s.network.heal();
          await s.clock.advance(random.next() * 20);
        }
        s.network.heal();
        s.network.breakChance = 0;
        await s.clock.advance(60_000);
        expect(s.server.told).toEqual([...Array(there).keys()]);
        expect(s.client.told).toEqual([...Array(home).keys()]);
        expect(answers.map((a) => a.value)).toEqual(answers.map((_, n) => note(n)));
        expect([session.state, s.incoming.length, s.client.metric("tray_rpc_unacknowledged_bytes")]).toEqual(["up", 1, 0]);
      }),
      { numRuns: 15 },
    );
  }, 60_000);

  it("deliver a prefix in order within each life of a peer that is restarted, and settle every call", async () => {
    await fc.assert(
      fc.asyncProperty(fc.integer(), async (seed) => {
        const s = setup({}, {}, forever, seed);
        const random = new SeededRandom(seed);
        const { session, ping } = await s.ready;
        s.network.breakChance = 0.02;
        s.network.duplicateChance = 0.1;
        const lives = [s.server];
        const firstOfLife: number[] = [];
        let next = 0;
        session.onFresh(() => firstOfLife.push(next));
        const plain: { value?: unknown; error?: TrayError }[] = [];
        const retried: { value?: unknown; error?: TrayError }[] = [];
        for (let step = 0; step < 60; step++) {
          for (let i = 0; i < 3; i++) ping.tell(note(next++));
          plain.push(watch(ping.echo(note(step))));
          retried.push(watch(ping.echo(note(step), { retry: true, timeoutMs: 0 })));
          if (random.next() < 0.06) {
            s.network.crash("server");
            const life = testEndpoint(s.world, peer("gcs", "server", { incarnation: `server-${lives.length + 1}` }));
            lives.push(life);
            await s.clock.advance(random.next() * 500);
            await life.endpoint.listen("server:7379");
          }
          await s.clock.advance(random.next() * 50);
        }
        s.network.breakChance = 0;
        await s.clock.advance(60_000);
        for (const life of lives) {
          const [first = 0] = life.told;
          expect(life.told).toEqual(life.told.map((_, i) => first + i)); // consecutive: in order, none twice, none missing in between
        }
        // The last life got everything sent since the session was fresh with it; the first also what waited for it.
        const first = firstOfLife.length > 1 ? (firstOfLife.at(-1) as number) : 0;
        expect(lives.at(-1)?.told).toEqual(Array.from({ length: next - first }, (_, i) => first + i));
        expect(retried.map((r) => r.value)).toEqual(retried.map((_, n) => note(n)));
        for (const [n, p] of plain.entries()) expect(p.error?.code ?? p.value).toEqual(p.error === undefined ? note(n) : "UNAVAILABLE");
      }),
      { numRuns: 15 },
    );
  }, 60_000);
});
