// The whole server over a memory network: what its peers may rely on.
import { ActorState, NodeState } from "@tray/protocol";
import { actorSpec, Cluster, type FakeRaylet, type TestClient } from "../test/cluster.js";

const { ALIVE, DEAD, PENDING_CREATION } = ActorState;

async function setup(nodes: Record<string, Record<string, number>> = { a: { CPU: 4 } }, options: ConstructorParameters<typeof Cluster>[0] = {}) {
  const cluster = new Cluster(options);
  await cluster.startGcs();
  const raylets: Record<string, FakeRaylet> = {};
  for (const [nodeId, total] of Object.entries(nodes)) raylets[nodeId] = await cluster.raylet(nodeId, total);
  const driver = await cluster.client();
  await cluster.clock.advance(300);
  return { cluster, clock: cluster.clock, driver, raylets, a: raylets["a"] as FakeRaylet, b: raylets["b"] as FakeRaylet };
}

async function actorIs(driver: TestClient, actorId: string, state: ActorState) {
  const { cluster } = driver;
  for (let i = 0; i < 400; i++) {
    const { info } = await cluster.do(driver.gcs.getActor({ actorId, name: "", namespace: "" }));
    if (info?.state === state) return info;
    await cluster.clock.advance(25);
  }
  throw new Error(`actor ${actorId} did not become ${state}`);
}
const register = (driver: TestClient, spec: ReturnType<typeof actorSpec>, getIfExists = false) =>
  driver.cluster.do(driver.gcs.registerActor({ spec, getIfExists }));
const kill = (driver: TestClient, actorId: string, how: { noRestart?: boolean; outOfScope?: boolean; reason?: string } = {}) =>
  driver.cluster.do(driver.gcs.killActor({ actorId, noRestart: true, outOfScope: false, reason: "", ...how }));
const deadNodes = async (driver: TestClient) => (await driver.cluster.do(driver.gcs.listNodes({}))).nodes.filter((n) => n.state === NodeState.DEAD);

describe("nodes", () => {
  it("registers idempotently and hands out the view, then deltas", async () => {
    const { cluster, clock, driver, a } = await setup({ a: { CPU: 4 }, b: { CPU: 2 } });
    await clock.complete(a.register());
    const { nodes } = await cluster.do(driver.gcs.listNodes({}));
    expect(nodes.map((n) => [n.nodeId, n.state])).toEqual([
      ["a", NodeState.ALIVE],
      ["b", NodeState.ALIVE],
    ]);
    expect(a.view.nodes().map((n) => n.nodeId)).toEqual(["a", "b"]);
    const before = a.view.version;
    await clock.advance(1000);
    expect(a.view.version).toBe(before); // equal heartbeats make no deltas
  });

  it("pushes what changed on one node to all others within a heartbeat and a flush", async () => {
    const { clock, a, b } = await setup({ a: { CPU: 4 }, b: { CPU: 2 } });
    b.used = { CPU: 2 };
    await clock.advance(300);
    expect(a.view.get("b")?.available["CPU"] ?? 0).toBe(0);
  });

  it("declares a killed raylet dead within a second, by broken session and failed probe", async () => {
    const { clock, driver, a, b } = await setup({ a: { CPU: 4 }, b: { CPU: 2 } });
    await driver.cluster.do(driver.gcs.subscribe({ subscriptions: [{ channel: "nodes", afterVersion: 0 }] }));
    b.crash();
    await clock.advance(1000);
    const dead = await deadNodes(driver);
    expect(dead.map((n) => n.nodeId)).toEqual(["b"]);
    expect(dead[0]?.deathReason).toMatch(/its connection broke: cannot reach b:1/);
    expect(driver.on("nodes").at(-1)?.body).toMatchObject({ $case: "node", value: { nodeId: "b", state: NodeState.DEAD } });
    expect([a.view.get("b"), a.view.isDead("b")]).toEqual([undefined, true]);
  });

  it("keeps a node whose connection broke and came back", async () => {
    const { cluster, clock, driver, a } = await setup();
    for (let i = 0; i < 5; i++) {
      expect(cluster.network.breakLinks("gcs", "a")).toBeGreaterThan(0);
      await clock.advance(2000);
    }
    expect(await deadNodes(driver)).toEqual([]);
    expect(a.registrations).toBe(1);
  });

  it("declares a silent node dead after the timeout, not before, and for good", async () => {
    const { clock, driver, a } = await setup();
    a.heartbeating = false;
    await clock.advance(4500);
    expect(await deadNodes(driver)).toEqual([]);
    await clock.advance(1500);
    expect((await deadNodes(driver))[0]?.deathReason).toMatch(/heartbeats stopped 5\.\ds ago/);
    expect(a.declaredDead).toMatch(/heartbeats stopped/);
    a.declaredDead = undefined;
    a.heartbeating = true;
    await clock.advance(300);
    expect(a.declaredDead).toBeDefined();
    await clock.complete(a.register());
    expect(a.refusal).toMatchObject({ code: "NODE_DIED" });
    expect((await deadNodes(driver)).length).toBe(1);
  });

  it("takes a node that says goodbye out at once", async () => {
    const { clock, driver, a } = await setup();
    await clock.complete(a.gcs.unregisterNode({ nodeId: "a", reason: "received SIGTERM" }));
    expect((await deadNodes(driver))[0]?.deathReason).toBe("received SIGTERM");
  });

  it("answers where there is room, and counts what it gave", async () => {
    const { cluster, driver } = await setup({ a: { CPU: 2 }, b: { CPU: 2 } });
    const { requirements } = actorSpec("x");
    const ask = () => cluster.do(driver.gcs.place({ requirements, count: 3, fromNodeId: "a", argBytesByNode: {} }));
    expect((await ask()).placements).toEqual([
      { nodeId: "a", count: 2, raylet: "a:1" },
      { nodeId: "b", count: 1, raylet: "b:1" },
    ]);
    expect(await ask()).toMatchObject({ placements: [{ nodeId: "b", count: 1 }], infeasible: false, detail: "2 nodes lack CPU" });
    const gpu = actorSpec("y", { resources: { GPU: 1 } }).requirements;
    expect(await cluster.do(driver.gcs.place({ requirements: gpu, count: 1, fromNodeId: "", argBytesByNode: {} }))).toMatchObject({
      infeasible: true,
      detail: "no node has GPU",
    });
  });
});

describe("actors", () => {
  it("registers, creates and publishes, and gives the raylet the arguments that it keeps from callers", async () => {
    const { cluster, driver, a } = await setup();
    await cluster.do(driver.gcs.subscribe({ subscriptions: [{ channel: "actor/x", afterVersion: 0 }] }));
    const { info } = await register(driver, actorSpec("x"));
    expect(info).toMatchObject({ state: PENDING_CREATION, incarnation: 0 });
    const alive = await actorIs(driver, "x", ALIVE);
    expect(alive).toMatchObject({ nodeId: "a", pid: 101, address: { endpoint: "a:101" }, numRestarts: 0 });
    expect(alive.spec?.args.length).toBe(0);
    expect(a.created[0]?.spec?.args.toString()).toBe("arguments");
    await register(driver, actorSpec("x")); // repeated
    expect(a.created.length).toBe(1);
    expect([...new Set(driver.statesOf("x"))]).toEqual([PENDING_CREATION, ALIVE]);
  });

  it("gives a name to one at a time", async () => {
    const { driver } = await setup();
    await register(driver, actorSpec("x", { name: "n", namespace: "s" }));
    await expect(register(driver, actorSpec("y", { name: "n", namespace: "s" }))).rejects.toMatchObject({ code: "NAME_TAKEN" });
    expect((await register(driver, actorSpec("z", { name: "n", namespace: "s" }), true)).info?.actorId).toBe("x");
    await register(driver, actorSpec("other", { name: "n", namespace: "t" }));
    await kill(driver, "x");
    expect((await register(driver, actorSpec("y", { name: "n", namespace: "s" }))).info?.actorId).toBe("y");
    const { actors } = await driver.cluster.do(driver.gcs.listActors({ limit: 0, namedOnly: true, namespace: "s" }));
    expect(actors.map((i) => [i.actorId, i.state === DEAD]).sort()).toEqual([
      ["x", true],
      ["y", false],
    ]);
  });

  it("restarts after crashes while the budget lasts, then says why it died", async () => {
    const { driver, a } = await setup();
    await register(driver, actorSpec("x", { maxRestarts: 1 }));
    await actorIs(driver, "x", ALIVE);
    await a.crashActor("x", { signal: "SIGKILL" });
    expect(await actorIs(driver, "x", ALIVE)).toMatchObject({ incarnation: 1, numRestarts: 1 });
    await a.crashActor("x", { signal: "SIGSEGV", stderrTail: ["boom"] });
    const { deathCause } = await actorIs(driver, "x", DEAD);
    expect(deathCause?.code).toBe("ACTOR_DIED");
    expect(deathCause?.message).toMatch(
      /actor Counter \(x\) died: its worker process was ended by SIGSEGV \(pid 102 on node a\); its 1 restart is spent/,
    );
    expect(JSON.parse(deathCause?.detailsJson ?? "")).toMatchObject({
      reason: "worker-died",
      nodeId: "a",
      pid: 102,
      signal: "SIGSEGV",
      stderrTail: ["boom"],
      numRestarts: 1,
    });
  });

  it("ignores deaths of other incarnations and does not restart who left on purpose", async () => {
    const { cluster, driver, a } = await setup();
    await register(driver, actorSpec("x", { maxRestarts: 5 }));
    await actorIs(driver, "x", ALIVE);
    await a.crashActor("x");
    await actorIs(driver, "x", ALIVE);
    const exit = { workerId: "old", nodeId: "a", pid: 1, signal: "", stderrTail: [], reason: "", wallMs: 0, message: "", exitCode: undefined };
    await cluster.do(driver.gcs.workerDied({ exit, actorId: "x", incarnation: 0, intended: false, wasDriver: false }));
    expect(await actorIs(driver, "x", ALIVE)).toMatchObject({ incarnation: 1 });
    await a.crashActor("x", { intended: true });
    expect(JSON.parse((await actorIs(driver, "x", DEAD)).deathCause?.detailsJson ?? "")).toMatchObject({ reason: "exited" });
  });

  it("moves to another node when its node dies", async () => {
    const { driver, raylets } = await setup({ a: { CPU: 4 }, b: { CPU: 4 } });
    await register(driver, actorSpec("x", { maxRestarts: -1 }));
    const first = await actorIs(driver, "x", ALIVE);
    raylets[first.nodeId]?.crash();
    await driver.cluster.clock.advance(1500);
    const second = await actorIs(driver, "x", ALIVE);
    expect([second.nodeId !== first.nodeId, second.incarnation, second.numRestarts]).toEqual([true, 1, 1]);
  });

  it("charges nothing for a creation that was lost with its node", async () => {
    const { driver, raylets } = await setup({ a: { CPU: 4 }, b: { CPU: 4 } });
    for (const raylet of Object.values(raylets)) raylet.onCreate = () => "hold";
    await register(driver, actorSpec("x"));
    await driver.cluster.clock.advance(100);
    const holder = Object.values(raylets).find((r) => r.created.length === 1) as FakeRaylet;
    for (const raylet of Object.values(raylets)) raylet.onCreate = () => "create";
    holder.crash();
    await driver.cluster.clock.advance(1500);
    expect(await actorIs(driver, "x", ALIVE)).toMatchObject({ incarnation: 1, numRestarts: 0 });
  });

  it("kills: dead first, then the process; without noRestart it counts as a failure", async () => {
    const { driver, a } = await setup();
    await register(driver, actorSpec("x", { maxRestarts: 1 }));
    await actorIs(driver, "x", ALIVE);
    await kill(driver, "x", { noRestart: false });
    expect(await actorIs(driver, "x", ALIVE)).toMatchObject({ incarnation: 1, numRestarts: 1 });
    expect(a.kills.map((k) => k.incarnation)).toEqual([0]);
    await kill(driver, "x", { reason: "killed by tray.kill" });
    const dead = await actorIs(driver, "x", DEAD);
    expect(dead.deathCause?.message).toMatch(/killed by tray\.kill$/);
    await driver.cluster.clock.advance(100);
    expect([a.kills.map((k) => k.incarnation), a.live.size]).toEqual([[0, 1], 0]);
    await kill(driver, "x"); // repeated
  });

  it("out of scope: ends gracefully, without restart", async () => {
    const { driver, a } = await setup();
    await register(driver, actorSpec("x", { maxRestarts: 5 }));
    await actorIs(driver, "x", ALIVE);
    await kill(driver, "x", { outOfScope: true });
    const dead = await actorIs(driver, "x", DEAD);
    expect([a.kills[0]?.graceful, JSON.parse(dead.deathCause?.detailsJson ?? "").reason]).toEqual([true, "out-of-scope"]);
  });

  it("a constructor that throws is final, with its error as the cause", async () => {
    const { driver, a } = await setup();
    a.onCreate = () => "throw";
    await register(driver, actorSpec("x", { maxRestarts: -1 }));
    const { deathCause } = await actorIs(driver, "x", DEAD);
    expect([deathCause?.code, deathCause?.cause.toString()]).toEqual(["ACTOR_DIED", "cause"]);
    expect(deathCause?.message).toMatch(/its constructor threw: Error: no database/);
  });

  it("tries elsewhere when a node gives it back", async () => {
    const { driver, raylets } = await setup({ a: { CPU: 4 }, b: { CPU: 4 } });
    const first = raylets["a"] as FakeRaylet;
    first.onCreate = () => "reject";
    await register(driver, actorSpec("x", { owner: { workerId: "o", nodeId: "a", endpoint: "" } })); // prefers a
    expect(await actorIs(driver, "x", ALIVE)).toMatchObject({ nodeId: "b", incarnation: 0 });
    expect(first.created.length).toBe(1);
  });

  it("S1: an order to create that has not left when the actor is killed never does", async () => {
    const { cluster, clock } = await setup({});
    await cluster.crashGcs();
    await cluster.startGcs('{"node/createActor":{"delayMs":[50,50]}}');
    const a = await cluster.raylet("a", { CPU: 4 });
    const driver = await cluster.client();
    await clock.advance(300);
    await register(driver, actorSpec("x", { maxRestarts: -1 }));
    await register(driver, actorSpec("y"));
    await clock.advance(10);
    await kill(driver, "x");
    await actorIs(driver, "x", DEAD);
    await clock.runUntil(() => a.kills.length > 0);
    await actorIs(driver, "y", ALIVE);
    await clock.advance(1_000);
    expect([a.created.map((order) => order.spec?.actorId), a.kills.map((order) => order.actorId)]).toEqual([["y"], ["x"]]);
  });

  it("waits with its reason, shows as demand, and starts when a node that fits joins", async () => {
    const { cluster, clock, driver } = await setup();
    await cluster.do(driver.gcs.subscribe({ subscriptions: [{ channel: "errors/00000001", afterVersion: 0 }] }));
    await register(driver, actorSpec("x", { resources: { GPU: 1 } }));
    await clock.advance(100);
    const { demand } = await cluster.do(driver.gcs.status({}));
    expect(demand).toMatchObject([
      { shape: { amounts: { GPU: 10_000 } }, count: 1, kind: "actor", infeasible: true, wait: { cause: "infeasible", detail: "no node has GPU" } },
    ]);
    expect(driver.on("errors/00000001").map((p) => p.body?.$case)).toEqual(["error"]);
    await cluster.raylet("g", { CPU: 1, GPU: 1 });
    expect(await actorIs(driver, "x", ALIVE)).toMatchObject({ nodeId: "g" });
    expect((await cluster.do(driver.gcs.status({}))).demand).toEqual([]);
  });

  it("is unschedulable with hard affinity to a node that is not there", async () => {
    const { driver } = await setup();
    await register(driver, actorSpec("x", { onNode: "nowhere" }));
    expect((await actorIs(driver, "x", DEAD)).deathCause).toMatchObject({ code: "ACTOR_UNSCHEDULABLE" });
  });

  it("dies with its owner's worker or node, unless detached", async () => {
    const { cluster, driver, a } = await setup({ a: { CPU: 4 }, b: { CPU: 4 } });
    const owner = (workerId: string, nodeId: string) => ({ owner: { workerId, nodeId, endpoint: "" } });
    await register(driver, actorSpec("x", owner("w1", "a")));
    await register(driver, actorSpec("detached", { ...owner("w1", "a"), name: "d", detached: true }));
    await register(driver, actorSpec("y", { ...owner("w2", "b"), maxRestarts: -1 }));
    for (const id of ["x", "y", "detached"]) await actorIs(driver, id, ALIVE);
    const exit = {
      workerId: "w1",
      nodeId: "a",
      pid: 1,
      signal: "SIGKILL",
      stderrTail: [],
      reason: "crashed",
      wallMs: 0,
      message: "",
      exitCode: undefined,
    };
    await cluster.do(a.gcs.workerDied({ exit, actorId: "", incarnation: 0, intended: false, wasDriver: false }));
    expect((await actorIs(driver, "x", DEAD)).deathCause?.message).toContain("owner, worker w1, died");
    await actorIs(driver, "detached", ALIVE);
    await cluster.do(a.gcs.unregisterNode({ nodeId: "b", reason: "stopped" }));
    expect((await actorIs(driver, "y", DEAD)).deathCause?.message).toContain("node b of its owner died");
    await expect(register(driver, actorSpec("late", owner("w1", "a")))).rejects.toMatchObject({ code: "OWNER_DIED" });
  });

  it("lives one incarnation at a time through lost requests and replies", async () => {
    const cluster = new Cluster({ seed: 7 });
    await cluster.startGcs('{"node/*":{"requestLost":0.3,"replyLost":0.3}}');
    const raylets = [await cluster.raylet("a", { CPU: 8 }), await cluster.raylet("b", { CPU: 8 })];
    const copies = (id: string) => raylets.filter((raylet) => raylet.live.has(id)).length;
    let most = 0;
    cluster.clock.every(1, () => {
      for (let i = 0; i < 6; i++) most = Math.max(most, copies(`x${i}`));
    });
    const driver = await cluster.client();
    for (let i = 0; i < 6; i++) await register(driver, actorSpec(`x${i}`, { maxRestarts: -1 }));
    for (let i = 0; i < 6; i++) await actorIs(driver, `x${i}`, ALIVE);
    for (let i = 0; i < 6; i++) await kill(driver, `x${i}`, { noRestart: i % 2 === 0 });
    for (let i = 0; i < 6; i++) await actorIs(driver, `x${i}`, i % 2 === 0 ? DEAD : ALIVE);
    await cluster.clock.advance(5000);
    for (let i = 0; i < 6; i++) expect([i, copies(`x${i}`)]).toEqual([i, i % 2]);
    expect(most).toBe(1);
  });
});

describe("jobs", () => {
  it("counts ids up, once per driver, over restarts", async () => {
    const { cluster, driver } = await setup();
    const [first, again] = [await driver.registerJob(), await driver.registerJob()];
    expect([first.jobId, again.jobId]).toEqual(["00000001", "00000001"]);
    await cluster.do(driver.gcs.finishJob({ jobId: "00000001", driverWorkerId: "", reason: "" }));
    await cluster.crashGcs();
    await cluster.startGcs();
    const other = await cluster.client();
    expect((await other.registerJob()).jobId).toBe("00000002");
  });

  it("end: published, told to raylets, its actors die, detached ones stay with their functions until they end", async () => {
    const { cluster, clock, driver, a } = await setup();
    await driver.registerJob();
    await cluster.do(driver.gcs.putFunction({ jobId: "00000001", functionId: "f", blob: Buffer.from("code") }));
    await cluster.do(driver.gcs.subscribe({ subscriptions: [{ channel: "job/00000001", afterVersion: 0 }] }));
    await register(driver, actorSpec("x", { maxRestarts: -1 }));
    await register(driver, actorSpec("d", { name: "d", detached: true }));
    for (const id of ["x", "d"]) await actorIs(driver, id, ALIVE);
    await cluster.do(a.gcs.finishJob({ jobId: "", driverWorkerId: driver.id, reason: "driver exited" }));
    expect((await actorIs(driver, "x", DEAD)).deathCause?.message).toContain("its job 00000001 ended");
    await actorIs(driver, "d", ALIVE);
    await clock.advance(100);
    expect(a.finishedJobs).toEqual(["00000001"]);
    expect(driver.on("job/00000001").map((p) => p.body?.$case === "job" && p.body.value.finished)).toEqual([false, true]);
    const fetch = () => driver.gcs.getFunction({ jobId: "00000001", functionId: "f" }, { timeoutMs: 500 });
    expect((await cluster.do(fetch())).blob.toString()).toBe("code");
    await expect(register(driver, actorSpec("late"))).rejects.toMatchObject({ code: "NOT_FOUND" });
    await kill(driver, "d");
    await clock.advance(100);
    await expect(cluster.do(fetch())).rejects.toMatchObject({ code: "NOT_FOUND" });
  });

  it("finishes with the node of its driver", async () => {
    const { cluster, clock, driver, a } = await setup();
    await driver.registerJob({ driver: { workerId: driver.id, nodeId: "a", endpoint: "" } });
    a.crash();
    await clock.advance(1500);
    expect((await cluster.do(driver.gcs.listJobs({}))).jobs).toMatchObject([{ jobId: "00000001", finished: true }]);
  });
});

describe("a crash of the GCS", () => {
  it("loses nothing that was acknowledged", async () => {
    const { cluster, clock, driver, a } = await setup();
    const { identity } = cluster.server;
    await driver.registerJob();
    await register(driver, actorSpec("x", { name: "n", maxRestarts: 1 }));
    const before = await actorIs(driver, "x", ALIVE);
    await register(driver, actorSpec("gpu", { resources: { GPU: 1 } }));
    await cluster.do(driver.gcs.kvPut({ namespace: "k", key: "a/1", value: Buffer.from("v"), overwrite: true }));
    await cluster.do(driver.gcs.putFunction({ jobId: "00000001", functionId: "f", blob: Buffer.from("code") }));
    await cluster.crashGcs();
    await cluster.startGcs();
    expect(cluster.server.identity).toEqual({ ...identity, epoch: identity.epoch + 1 });
    await clock.runUntil(() => a.registrations === 2);
    const call = { timeoutMs: 60_000, retry: true };
    expect((await cluster.do(driver.gcs.getActor({ actorId: "", name: "n", namespace: "" }, call))).info).toMatchObject({
      actorId: "x",
      state: ALIVE,
      incarnation: 0,
      address: before.address,
    });
    expect((await cluster.do(driver.gcs.kvGet({ namespace: "k", key: "a/1" }))).value.toString()).toBe("v");
    expect((await cluster.do(driver.gcs.getFunction({ jobId: "00000001", functionId: "f" }))).blob.toString()).toBe("code");
    expect((await cluster.do(driver.gcs.listJobs({}))).jobs).toMatchObject([{ jobId: "00000001", finished: false }]);
    expect(await deadNodes(driver)).toEqual([]);
    await cluster.raylet("g", { GPU: 1 });
    await actorIs(driver, "gpu", ALIVE);
    await a.crashActor("x");
    expect(await actorIs(driver, "x", ALIVE)).toMatchObject({ incarnation: 1 });
    expect(a.created.at(-1)?.spec?.args.toString()).toBe("arguments");
  });

  it("gives nodes time to come back, and then no more", async () => {
    const { cluster, clock, driver, a, b } = await setup({ a: { CPU: 1 }, b: { CPU: 1 } });
    await cluster.crashGcs();
    b.crash();
    await cluster.startGcs();
    await clock.advance(5000);
    expect(await deadNodes(driver)).toEqual([]);
    await clock.advance(3000);
    expect((await deadNodes(driver)).map((n) => n.nodeId)).toEqual(["b"]);
    expect(a.registrations).toBe(2);
  });

  it("repeats orders that it may not have given: a creation under way, a kill of what should be dead", async () => {
    const { cluster, clock, driver, a } = await setup();
    a.onCreate = () => "hold";
    await register(driver, actorSpec("x"));
    await clock.advance(100);
    a.onCreate = () => "create";
    await cluster.crashGcs();
    a.live.set("zombie", { incarnation: 0, workerId: "z", pid: 1 });
    await cluster.startGcs();
    await clock.runUntil(() => a.registrations === 2);
    expect(await actorIs(driver, "x", ALIVE)).toMatchObject({ incarnation: 0, nodeId: "a" });
    expect(a.kills.map((k) => k.actorId)).toEqual(["zombie"]);
  });

  it("never acknowledges before it is durable, wherever it crashes", async () => {
    for (let crashAt = 0; crashAt < 14; crashAt++) {
      const { cluster, clock, driver } = await setup();
      const acknowledged: string[] = [];
      for (let i = 0; i < 8; i++) {
        clock.after(i * 0.4, () => {
          driver.gcs.registerActor({ spec: actorSpec(`x${i}`, { resources: { GPU: 1 } }), getIfExists: false }, { timeoutMs: 0 }).then(
            () => acknowledged.push(`x${i}`),
            () => undefined,
          );
        });
      }
      await clock.advance(crashAt * 0.4);
      await cluster.crashGcs();
      await cluster.startGcs();
      await clock.advance(3000);
      const { actors } = await cluster.do(driver.gcs.listActors({ limit: 0, namedOnly: false, namespace: "" }, { retry: true }));
      const known = actors.map((info) => info.actorId);
      expect(known).toEqual(expect.arrayContaining(acknowledged));
    }
  });
});

describe("chaos", () => {
  it.each([1, 2, 3, 4, 5, 6])(
    "broken links, lost replies and a crash leave one copy of each living actor and no dead node (seed %i)",
    async (seed) => {
      const cluster = new Cluster({ seed });
      const { clock, network } = cluster;
      const faults = '{"node/*":{"requestLost":0.1,"replyLost":0.1,"delayMs":[0,20]}}';
      await cluster.startGcs(faults);
      const raylets = [];
      for (const id of ["a", "b", "c"]) raylets.push(await cluster.raylet(id, { CPU: 10 }));
      const driver = await cluster.client();
      const retry = { retry: true, timeoutMs: 120_000 };
      network.breakChance = 0.02;
      network.duplicateChance = 0.05;
      const ids = Array.from({ length: 12 }, (_, i) => `x${i}`);
      const registered = ids.map((id) => driver.gcs.registerActor({ spec: actorSpec(id, { maxRestarts: -1 }), getIfExists: false }, retry));
      await clock.advance(cluster.random.next() * 50);
      await cluster.crashGcs();
      await cluster.startGcs(faults);
      await clock.complete(Promise.all(registered), 120_000);
      const killed = ids.map((id, i) => driver.gcs.killActor({ actorId: id, noRestart: i % 3 === 0, outOfScope: false, reason: "" }, retry));
      await clock.complete(Promise.all(killed), 120_000);
      network.breakChance = 0;
      await clock.advance(20_000);
      const { actors } = await cluster.do(driver.gcs.listActors({ limit: 0, namedOnly: false, namespace: "" }));
      for (const { actorId, state, incarnation, nodeId } of actors) {
        const dead = ids.indexOf(actorId) % 3 === 0;
        const copies = raylets.filter((r) => r.live.has(actorId)).map((r) => [r.nodeId, r.live.get(actorId)?.incarnation]);
        expect([actorId, state, copies]).toEqual([actorId, dead ? DEAD : ALIVE, dead ? [] : [[nodeId, incarnation]]]);
      }
      expect(actors.length).toBe(12);
      expect(await deadNodes(driver)).toEqual([]);
    },
  );
});

describe("pub/sub", () => {
  const logs = (line: string) => ({
    $case: "logs" as const,
    value: { jobId: "1", nodeId: "", workerId: "", pid: 0, name: "", isError: false, lines: [line], nodeName: "" },
  });
  const linesOf = (client: TestClient) => client.on("logs/1").map((p) => (p.gap ? "gap" : p.body?.$case === "logs" ? p.body.value.lines[0] : "?"));

  it("resumes after the last version seen; says so when that is no longer kept", async () => {
    const { cluster, clock, driver, a } = await setup();
    const say = async (from: number, to: number) => {
      for (let i = from; i < to; i++) a.gcs.publish({ publications: [{ channel: "logs/1", version: 0, gap: false, body: logs(`line ${i}`) }] });
      await clock.advance(20);
    };
    await cluster.do(driver.gcs.subscribe({ subscriptions: [{ channel: "logs/1", afterVersion: 0 }] }));
    await say(0, 3);
    expect(linesOf(driver)).toEqual(["line 0", "line 1", "line 2"]);
    const last = driver.on("logs/1").at(-1)?.version ?? 0;

    const resumed = await cluster.client();
    await say(3, 5);
    await cluster.do(resumed.gcs.subscribe({ subscriptions: [{ channel: "logs/1", afterVersion: last }] }));
    await say(5, 6);
    expect(linesOf(resumed)).toEqual(["line 3", "line 4", "line 5"]);
    expect(resumed.on("logs/1").map((p) => p.version)).toEqual([last + 1, last + 2, last + 3]);

    await say(6, 400);
    const late = await cluster.client();
    await cluster.do(late.gcs.subscribe({ subscriptions: [{ channel: "logs/1", afterVersion: last }] }));
    await say(400, 401);
    expect(linesOf(late)).toEqual(["gap", "line 400"]);

    await cluster.crashGcs();
    await cluster.startGcs();
    await clock.advance(3000);
    const reborn = await cluster.client();
    await cluster.do(reborn.gcs.subscribe({ subscriptions: [{ channel: "logs/1", afterVersion: last }] }));
    expect(linesOf(reborn)).toEqual(["gap"]);
    expect(reborn.on("logs/1")[0]?.version).toBeGreaterThan(last);
  });

  it("replaces the set, keeps positions, and begins actors with their present state", async () => {
    const { cluster, clock, driver } = await setup();
    await register(driver, actorSpec("x"));
    await register(driver, actorSpec("y"));
    for (const id of ["x", "y"]) await actorIs(driver, id, ALIVE);
    const subscribe = (...channels: string[]) =>
      cluster.do(driver.gcs.subscribe({ subscriptions: channels.map((channel) => ({ channel, afterVersion: 0 })) }));
    await subscribe("actor/x");
    await subscribe("actor/x", "actor/y");
    await clock.advance(10);
    expect([driver.statesOf("x"), driver.statesOf("y")]).toEqual([[ALIVE], [ALIVE]]);
    await subscribe("actor/y");
    await kill(driver, "x");
    await kill(driver, "y");
    await clock.advance(10);
    expect([driver.statesOf("x"), driver.statesOf("y")]).toEqual([[ALIVE], [ALIVE, DEAD]]);
  });

  it("takes only logs and errors from outside", async () => {
    const { cluster, clock, driver, a } = await setup();
    await cluster.do(driver.gcs.subscribe({ subscriptions: [{ channel: "nodes", afterVersion: 0 }] }));
    const before = driver.on("nodes").length;
    a.gcs.publish({ publications: [{ channel: "nodes", version: 0, gap: false, body: { $case: "node", value: a.info() } }] });
    await clock.advance(50);
    expect(driver.on("nodes").length).toBe(before);
  });
});

describe("functions and key-value", () => {
  it("answers a reader when the function arrives", async () => {
    const { cluster, clock, driver } = await setup();
    const reading = driver.gcs.getFunction({ jobId: "1", functionId: "f" }, { timeoutMs: 0 });
    const impatient = driver.gcs.getFunction({ jobId: "1", functionId: "f" }, { timeoutMs: 50 });
    await expect(cluster.do(impatient)).rejects.toMatchObject({ code: "DEADLINE_EXCEEDED" });
    await clock.advance(100);
    await cluster.do(driver.gcs.putFunction({ jobId: "1", functionId: "f", blob: Buffer.from("b") }));
    expect((await cluster.do(reading)).blob.toString()).toBe("b");
  });

  it("compares and swaps, one winner, also while a write is under way", async () => {
    const { cluster, driver } = await setup();
    const cas = (expected: string, value: string) =>
      driver.gcs.kvCas({ namespace: "n", key: "k", expected: Buffer.from(expected), value: Buffer.from(value) });
    const replies = await cluster.do(Promise.all([cas("", "a"), cas("", "b"), cas("a", "c")]));
    expect(replies.map((r) => [r.swapped, r.current.toString()])).toEqual([
      [true, "a"],
      [false, "a"],
      [true, "c"],
    ]);
    expect((await cluster.do(cas("c", ""))).swapped).toBe(true);
    expect((await cluster.do(driver.gcs.kvGet({ namespace: "n", key: "k" }))).found).toBe(false);
  });

  it("puts once without overwrite, lists by prefix within a namespace, deletes", async () => {
    const { cluster, driver } = await setup();
    const put = (namespace: string, key: string, overwrite: boolean) =>
      cluster.do(driver.gcs.kvPut({ namespace, key, value: Buffer.from(key), overwrite }));
    expect(
      [await put("n", "a/1", false), await put("n", "a/1", false), await put("n/a", "x", true), await put("n", "a/2", true)].map((r) => r.stored),
    ).toEqual([true, false, true, true]);
    const list = async (prefix: string) =>
      (await cluster.do(driver.gcs.kvList({ namespace: "n", prefix, values: true }))).entries.map((e) => `${e.key}=${e.value.toString()}`);
    expect(await list("a/")).toEqual(["a/1=a/1", "a/2=a/2"]);
    await cluster.do(driver.gcs.kvDelete({ namespace: "n", key: "a/1" }));
    expect(await list("")).toEqual(["a/2=a/2"]);
  });
});

describe("status", () => {
  it("folds what waits by shape and cause", async () => {
    const { cluster, clock, driver, a, b } = await setup({ a: { CPU: 1 }, b: { CPU: 1 } });
    const waiting = (queued: number, since: number) => ({
      shape: { amounts: { CPU: 40_000 } },
      queued,
      meanTaskMs: 0,
      wait: { cause: "waiting-for-resources", detail: "", sinceWallMs: since },
      infeasible: false,
      kind: "task",
    });
    a.load = [waiting(2, 50)];
    b.load = [waiting(3, 40)];
    await clock.advance(300);
    const status = await cluster.do(driver.gcs.status({}));
    expect(status.demand).toMatchObject([{ count: 5, kind: "task", wait: { sinceWallMs: 40 } }]);
    expect(status.nodes.map((n) => n.queued)).toEqual([2, 3]);
    expect(status).toMatchObject({ gcsPid: 4711, gcsAddress: "gcs:7379", version: "0.1.0", sessionDir: "/sessions/s" });
  });
});
