// One suite over every transport: first the port itself, then what sessions make of it.
import { deferred, isTrayError, type TrayError } from "@tray/common";
import { type TestEndpoint, testEndpoint } from "../test/endpoints.js";
import { note, PingService, peer } from "../test/ping-service.js";
import { type World, worlds } from "../test/worlds.js";
import type { Session } from "./session/session.js";
import type { Link, LinkFailure } from "./transport.js";

const errorOf = (work: Promise<unknown>): Promise<TrayError> =>
  work.then(
    () => {
      throw new Error("did not fail");
    },
    (error: unknown) => error as TrayError,
  );

describe.each(worlds)("transport contract: %s", (_name, makeWorld) => {
  let world: World;
  const cleanups: (() => Promise<void>)[] = [];
  beforeEach(() => {
    world = makeWorld();
  });
  afterEach(async () => {
    for (const cleanup of cleanups.splice(0).reverse()) await world.run(cleanup());
    await world.close();
  });

  /** A listener that records, and echoes every frame. */
  async function echoServer(): Promise<{ address: string; tokens: (string | undefined)[]; ended: Promise<LinkFailure>; links: Link[] }> {
    const tokens: (string | undefined)[] = [];
    const links: Link[] = [];
    const ended = deferred<LinkFailure>();
    const listener = await world.transport("server").listen(world.address("server"), (link, token) => {
      tokens.push(token);
      if (token === "wrong") return { refuse: "the token is wrong" };
      links.push(link);
      return { onFrame: (frame) => link.send(frame.slice()), onEnd: ended.resolve };
    });
    cleanups.push(() => listener.close());
    return { address: listener.address, tokens, ended: ended.promise, links };
  }

  function dial(address: string, token?: string) {
    const frames: string[] = [];
    const ended = deferred<LinkFailure>();
    let wanted = { count: 0, resolve: (): void => undefined };
    const link = world.transport("client").connect(address, token, {
      onFrame: (frame) => {
        frames.push(Buffer.from(frame).toString());
        if (frames.length === wanted.count) wanted.resolve();
      },
      onEnd: ended.resolve,
    });
    cleanups.push(async () => link.abort());
    const received = (count: number): Promise<void> =>
      new Promise((resolve) => {
        wanted = { count, resolve };
        if (frames.length >= count) resolve();
      });
    return { link, frames, ended: ended.promise, received };
  }

  it("carries frames both ways, uncut and in order, with the token", async () => {
    const server = await echoServer();
    const client = dial(server.address, "secret");
    const sent = Array.from({ length: 200 }, (_, i) => `${i}`.repeat(1 + (i % 50)));
    for (const text of sent) client.link.send(Buffer.from(text));
    await world.run(client.received(sent.length));
    expect(client.frames).toEqual(sent);
    expect(server.tokens).toEqual(["secret"]);
  });

  it("carries a frame of many megabytes", async () => {
    const server = await echoServer();
    const client = dial(server.address);
    const text = "x".repeat(9 * 1024 * 1024);
    client.link.send(Buffer.from(text));
    await world.run(client.received(1));
    expect(client.frames[0] === text).toBe(true);
    expect(server.tokens).toEqual([undefined]);
  });

  it("says refused when nobody listens", async () => {
    const client = dial(await world.deadAddress());
    expect(await world.run(client.ended)).toMatchObject({ kind: "refused", message: expect.stringContaining("connection refused") });
  });

  it("says unauthenticated, with the reason, when the listener does not accept the token", async () => {
    const server = await echoServer();
    const client = dial(server.address, "wrong");
    expect(await world.run(client.ended)).toEqual({ kind: "unauthenticated", message: "the token is wrong" });
  });

  it("delivers what was sent before close, and tells the other end of the end", async () => {
    const server = await echoServer();
    const client = dial(server.address);
    client.link.send(Buffer.from("hello"));
    await world.run(client.received(1));
    const [serverLink] = server.links as [Link];
    for (let i = 0; i < 50; i++) serverLink.send(Buffer.from(`last ${i}`));
    const released = serverLink.close();
    const failure = await world.run(client.ended);
    expect(client.frames).toEqual(["hello", ...Array.from({ length: 50 }, (_, i) => `last ${i}`)]);
    expect(failure.kind).toBe("closed");
    await world.run(released);
  });

  it("tells the listener's side when the dialler closes or aborts", async () => {
    for (const how of ["close", "abort"] as const) {
      const server = await echoServer();
      const client = dial(server.address);
      client.link.send(Buffer.from("x"));
      await world.run(client.received(1));
      void client.link[how]();
      expect(["closed", "broken"]).toContain((await world.run(server.ended)).kind);
    }
  });

  it("tells the dialler when the listener's side aborts", async () => {
    const server = await echoServer();
    const client = dial(server.address);
    client.link.send(Buffer.from("x"));
    await world.run(client.received(1));
    server.links[0]?.abort();
    expect((await world.run(client.ended)).kind).toBe("broken");
  });

  it("tells both ends when the connection breaks", async () => {
    const server = await echoServer();
    const client = dial(await world.breakable("client", server.address));
    client.link.send(Buffer.from("x"));
    await world.run(client.received(1));
    expect(world.breakLinks()).toBeGreaterThan(0);
    const failures = await world.run(Promise.all([client.ended, server.ended]));
    expect(failures[0].kind).toBe("broken");
  });

  it("refuses an address in use", async () => {
    const server = await echoServer();
    const again = world.transport("server").listen(server.address, () => ({ refuse: "no" }));
    expect(isTrayError(await world.run(errorOf(again)), "CONNECTION")).toBe(true);
  });
});

describe.each(worlds)("session contract: %s", (_name, makeWorld) => {
  let world: World;
  const made: TestEndpoint[] = [];
  const make = (...args: Parameters<typeof testEndpoint> extends [World, ...infer R] ? R : never): TestEndpoint => {
    const endpoint = testEndpoint(world, ...args);
    made.push(endpoint);
    return endpoint;
  };
  beforeEach(() => {
    world = makeWorld();
  });
  afterEach(async () => {
    await world.run(Promise.all(made.splice(0).map((m) => m.endpoint.close())));
    await world.close();
  });

  it("answers calls, carries errors by code, and delivers one-way messages in order with calls", async () => {
    const server = make(peer("raylet", "server"), {
      handlers: {
        once: async (request) => {
          const { TrayError } = await import("@tray/common");
          if (request.n === 1) throw new TrayError("NAME_TAKEN", "taken", { hint: "choose another", details: { name: "a" } });
          throw new Error("odd");
        },
      },
    });
    const client = make(peer("driver", "client"));
    const session = client.endpoint.connect(await world.run(server.endpoint.listen(world.address("server"))), { reconnect: { giveUpMs: 2000 } });
    const ping = session.client(PingService);
    for (let i = 0; i < 100; i++) ping.tell(note(i));
    expect(await world.run(ping.echo(note(7, "hé")))).toEqual(note(7, "hé"));
    expect(server.told).toEqual([...Array(100).keys()]);
    expect(session.peer).toMatchObject({ kind: "raylet", id: "server" });
    expect(session.client(PingService)).toBe(ping);
    const taken = await world.run(errorOf(ping.once(note(1))));
    expect(taken).toMatchObject({ code: "NAME_TAKEN", message: "taken", hint: "choose another", details: { name: "a" } });
    expect(await world.run(errorOf(ping.once(note(2))))).toMatchObject({ code: "SYSTEM", message: "odd" });
  });

  it("lets the accepting side call too, and ends both sides on close", async () => {
    const server = make(peer("raylet", "server"));
    const client = make(peer("worker", "client"), { handlers: { echo: (request, context) => note(request.n + 1, context.peer.kind) } });
    const incoming = deferred<Session>();
    server.endpoint.onSession(incoming.resolve);
    const session = client.endpoint.connect(await world.run(server.endpoint.listen(world.address("server"))), { reconnect: { giveUpMs: 2000 } });
    const back = await world.run(incoming.promise);
    expect(back.state).toBe("up");
    expect(await world.run(back.client(PingService).echo(note(1)))).toEqual(note(2, "raylet"));
    const lost = deferred<TrayError>();
    back.onLost(lost.resolve);
    session.client(PingService).tell(note(99));
    session.close("done here");
    expect((await world.run(lost.promise)).message).toContain("done here");
    expect(server.told).toEqual([99]); // what was sent before the goodbye arrived
    expect([session.state, back.state]).toEqual(["closed", "lost"]);
  });

  it("hides broken connections: every message once and in order, every call answered", async () => {
    const server = make(peer("raylet", "server"));
    const client = make(peer("driver", "client"));
    const address = await world.breakable("client", await world.run(server.endpoint.listen(world.address("server"))));
    const session = client.endpoint.connect(address, { reconnect: { giveUpMs: 5000 } });
    await world.run(session.opened());
    const ping = session.client(PingService);
    let broken = 0;
    session.onBroken(() => broken++);
    const calls: Promise<unknown>[] = [];
    for (let round = 0; round < 8; round++) {
      for (let i = 0; i < 50; i++) ping.tell(note(round * 50 + i));
      calls.push(ping.echo(note(round)));
      if (round % 2 === 1) {
        await world.run(server.hears(round * 50 - 1));
        expect(world.breakLinks()).toBeGreaterThan(0);
      }
    }
    expect(await world.run(Promise.all(calls))).toEqual([...Array(8).keys()].map((n) => note(n)));
    await world.run(server.hears(399));
    expect(server.told).toEqual([...Array(400).keys()]);
    expect(broken).toBeGreaterThan(0);
  });

  it("refuses a wrong or missing token with advice, and lets the right one in", async () => {
    const warned: string[] = [];
    const logger = {
      debug: () => undefined,
      info: () => undefined,
      warn: (m: string) => void warned.push(m),
      error: () => undefined,
      child: () => logger,
    };
    const server = make(peer("gcs", "server"), { token: "right", logger });
    const address = await world.run(server.endpoint.listen(world.address("server")));
    for (const token of ["wrong", undefined]) {
      const session = make(peer("driver", `client-${token}`), { token }).endpoint.connect(address, { reconnect: "forever" });
      const error = await world.run(errorOf(session.opened()));
      expect(error).toMatchObject({ code: "AUTHENTICATION", hint: expect.stringContaining("auth_token") });
      expect(error.message).toContain(token === undefined ? "no token was given" : "the token is wrong");
      expect(session.state).toBe("lost");
    }
    expect(warned).toEqual(["refused a connection", "refused a connection"]);
    await world.run(make(peer("driver", "good"), { token: "right" }).endpoint.connect(address, { reconnect: "forever" }).opened());
  });

  it("says CONNECTION with address and advice when nobody is there", async () => {
    const address = await world.deadAddress();
    const session = make(peer("driver", "client")).endpoint.connect(address, { reconnect: { giveUpMs: 10_000, refusedMeansGone: true } });
    const call = errorOf(session.client(PingService).echo(note(1)));
    const error = await world.run(errorOf(session.opened()));
    expect(error).toMatchObject({ code: "CONNECTION", hint: expect.stringContaining("tray start --head") });
    expect(error.message).toContain(address);
    expect(error.message).toContain("refused");
    expect(await world.run(call)).toMatchObject({ code: "UNAVAILABLE" });
  });

  it("keeps order and loses nothing when far more than the window is sent", async () => {
    const limits = { windowBytes: 64 * 1024, frameBytesSoft: 8 * 1024, ackBytes: 16 * 1024 };
    const server = make(peer("raylet", "server"), { limits });
    const session = make(peer("driver", "client"), { limits }).endpoint.connect(await world.run(server.endpoint.listen(world.address("server"))), {
      reconnect: { giveUpMs: 2000 },
    });
    const ping = session.client(PingService);
    const text = "y".repeat(1000);
    for (let i = 0; i < 1000; i++) ping.tell(note(i, text));
    expect(session.writable).toBe(false);
    await world.run(session.drained());
    expect(session.writable).toBe(true);
    await world.run(server.hears(999));
    expect(server.told).toEqual([...Array(1000).keys()]);
  });
});
