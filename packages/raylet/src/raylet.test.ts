import {
  ActorSpec,
  type GetObjectReply,
  JobInfo,
  ObjectPurpose,
  PlaceReply,
  type NodeViewEntry,
  StoreReaderService,
  toFixedPoint,
} from "@tray/protocol";
import { FaultPlan } from "@tray/rpc";
import { FakeOwner, requirements, type TestNode, World } from "./testing/world.js";

const entryOf = (node: TestNode, cpus: number): NodeViewEntry => ({
  nodeId: node.nodeId,
  raylet: node.address,
  bulk: `${node.host}:2`,
  total: { amounts: toFixedPoint({ CPU: cpus }) },
  available: { amounts: toFixedPoint({ CPU: cpus }) },
  labels: {},
  estimatedWaitMs: 0,
  bandwidthBytesPerMs: 0,
  queued: 0,
  isHead: false,
});
const actorId = "00000001aaaaaaaaaaaaaaaa";
const actor = (more: Parameters<typeof ActorSpec.fromPartial>[0] = {}): ActorSpec =>
  ActorSpec.fromPartial({ actorId, jobId: "00000001", className: "C", requirements: requirements(1), lifetimeResources: { amounts: {} }, ...more });

let world: World;
const started: TestNode[] = [];
const nodeOf = async (name: string, cpus: number, config?: Parameters<World["node"]>[2]): Promise<TestNode> => {
  const node = await world.node(name, cpus, config);
  started.push(node);
  return node;
};

beforeEach(async () => {
  world = new World();
  await world.begin();
});
afterEach(async () => {
  for (const node of started.splice(0)) {
    await world.clock.complete(node.raylet.close("test over"));
    expect(node.alive).toEqual([]); // no process is left
    node.raylet.ledger.check();
    node.raylet.pool.core.check();
    node.raylet.leases.core.check();
  }
});
const until = (done: () => boolean): Promise<void> => world.clock.runUntil(done, 20_000);

describe("leases", () => {
  it("grants, takes back, reuses the worker, and tells the GCS", async () => {
    const node = await nodeOf("a", 2);
    const owner = new FakeOwner(world, "o");
    await owner.register(node, 100);
    owner.demand(node, 3);
    await until(() => owner.grants.length === 2);
    expect(owner.grants.map((g) => g.grants)).toEqual([1, 2]);
    await until(() => world.gcs.last(node.nodeId)?.load[0]?.wait?.cause === "waiting-for-resources");
    expect(world.gcs.last(node.nodeId)?.available?.amounts["CPU"] ?? 0).toBe(0);
    owner.to(node.address).leaseReturn({ leaseId: owner.grants[0]?.leaseId ?? "", workerBroken: false, workerLeaving: false });
    await until(() => owner.grants.length === 3);
    expect(owner.grants[2]?.worker?.workerId).toBe(owner.grants[0]?.worker?.workerId);
    expect(node.workers).toHaveLength(2);
  });

  it("a worker in the middle of a task that waits for others lends its CPU", async () => {
    const node = await nodeOf("a", 1);
    const owner = new FakeOwner(world, "o");
    owner.demand(node, 2);
    await until(() => owner.grants.length === 1);
    const [first] = node.workers;
    first?.raylet.taskBlocked({ leaseId: owner.grants[0]?.leaseId ?? "", blocked: true });
    await until(() => owner.grants.length === 2);
    first?.raylet.taskBlocked({ leaseId: owner.grants[0]?.leaseId ?? "", blocked: false });
    await until(() => node.raylet.ledger.available["CPU"] === -10_000);
    owner.demand(node, 1);
    await world.clock.advance(500);
    expect(owner.grants).toHaveLength(2);
  });

  it("spills to the node that the global scheduler names; that one grants at once and rejects the rest", async () => {
    const a = await nodeOf("a", 1);
    const b = await nodeOf("b", 1);
    world.gcs.place = ({ count }) => PlaceReply.fromPartial({ placements: [{ nodeId: b.nodeId, raylet: b.address, count }] });
    world.gcs.view(a.nodeId, { version: 1, entries: [entryOf(a, 1), entryOf(b, 1)] });
    await world.clock.advance(10);
    const owner = new FakeOwner(world, "o");
    owner.demand(a, 3);
    await until(() => owner.spillbacks.length === 1 && owner.grants.length === 1);
    expect(owner.spillbacks[0]?.placements).toEqual([{ nodeId: b.nodeId, raylet: b.address, count: 2 }]);
    expect(world.gcs.places).toHaveLength(1);
    owner.demand(b, 2, { spilled: true, grantsSeen: 0 });
    await until(() => owner.rejects.length === 1 && owner.grants.length === 2);
    expect(owner.rejects[0]).toMatchObject({ count: 1, unschedulable: undefined });
    expect(owner.grants[1]?.worker?.nodeId).toBe(b.nodeId);
  });

  it("the death of a worker reaches the owner with its cause, the GCS, and whoever asks", async () => {
    const node = await nodeOf("a", 1);
    const owner = new FakeOwner(world, "o");
    owner.demand(node, 1);
    await until(() => owner.grants.length === 1);
    const workerId = owner.grants[0]?.worker?.workerId ?? "";
    const asked = owner.to(node.address).workerFailure({ workerId });
    await world.clock.advance(50);
    node.workers[0]?.exit(null, "SIGSEGV", ["boom"]);
    const answer = await world.clock.complete(asked);
    expect(answer.exit).toMatchObject({ signal: "SIGSEGV", stderrTail: ["boom"], reason: "crashed", workerId });
    await until(() => owner.lost.length === 1 && world.gcs.deaths.length === 1);
    expect(owner.lost[0]).toMatchObject({ leaseId: owner.grants[0]?.leaseId, exit: { signal: "SIGSEGV" } });
    expect(world.gcs.deaths[0]).toMatchObject({ intended: false, actorId: "" });
    expect(node.raylet.ledger.available["CPU"]).toBe(10_000);
    expect(await world.clock.complete(owner.to(node.address).workerFailure({ workerId: "unknown" }))).toMatchObject({ known: false });
  });

  it("an owner that is gone loses its leases; its workers are killed; its driver's job is finished", async () => {
    const node = await nodeOf("a", 1);
    const owner = new FakeOwner(world, "o");
    await owner.register(node, 100);
    owner.demand(node, 5);
    await until(() => owner.grants.length === 1);
    const before = world.clock.now();
    node.livePids.delete(100);
    owner.crash();
    await until(() => world.gcs.finished.length === 1);
    expect(world.clock.now() - before).toBeLessThan(1000); // by the pid, not by the session's patience
    expect(world.gcs.finished).toEqual([owner.id]);
    expect(world.gcs.deaths.find((d) => d.wasDriver)?.exit?.workerId).toBe(owner.id);
    await until(() => node.alive.length === 0);
    expect(node.raylet.ledger.available["CPU"]).toBe(10_000);
    expect(node.raylet.leases.core.leaseCount).toBe(0);
  });

  it("workers that never register are given up, and starts back off", async () => {
    const node = await nodeOf("a", 1, { workerStartTimeout: 1000 });
    node.brokenWorkers = true;
    const owner = new FakeOwner(world, "o");
    owner.demand(node, 1);
    await world.clock.advance(3000);
    expect(node.workers.length).toBeGreaterThanOrEqual(2);
    expect(node.alive.length).toBeLessThanOrEqual(1);
    expect(node.raylet.leases.core.queued()[0]).toMatchObject({
      cause: "waiting-for-worker",
      detail: expect.stringContaining("fail to start") as string,
    });
    node.brokenWorkers = false;
    await until(() => owner.grants.length === 1);
  });

  it("the end of a job kills its workers and keeps those of others", async () => {
    const node = await nodeOf("a", 2);
    const owner = new FakeOwner(world, "o");
    owner.demand(node, 1);
    await until(() => owner.grants.length === 1);
    owner.to(node.address).leaseReturn({ leaseId: owner.grants[0]?.leaseId ?? "", workerBroken: false, workerLeaving: false });
    await world.clock.advance(10);
    await world.clock.complete(world.gcs.node(node.nodeId).jobFinished(JobInfo.fromPartial({ jobId: "00000001" })));
    await until(() => node.alive.length === 0);
    expect(world.gcs.deaths[0]?.exit?.reason).toBe("job-ended");
  });
});

describe("actors", () => {
  it("creates with placement requirements, keeps lifetime resources, reports; repeated requests change nothing", async () => {
    const node = await nodeOf("a", 1);
    const gcs = world.gcs.node(node.nodeId);
    await world.clock.complete(gcs.createActor({ spec: actor(), incarnation: 0 }));
    expect(node.raylet.ledger.available["CPU"]).toBe(0);
    await world.clock.complete(gcs.createActor({ spec: actor(), incarnation: 0 }));
    await until(() => world.gcs.created.length === 1);
    expect(world.gcs.created[0]).toMatchObject({
      actorId,
      incarnation: 0,
      address: { nodeId: node.nodeId, workerId: node.workers[0]?.launch.workerId },
    });
    expect(node.raylet.ledger.available["CPU"]).toBe(10_000);
    await world.clock.complete(gcs.createActor({ spec: actor(), incarnation: 0 }));
    await until(() => world.gcs.created.length === 2); // told again, not made again
    expect(node.workers).toHaveLength(1);
  });

  it("rejects what does not fit, and reports a constructor that throws", async () => {
    const node = await nodeOf("a", 1);
    const gcs = world.gcs.node(node.nodeId);
    await world.clock.complete(gcs.createActor({ spec: actor({ requirements: requirements(2) }), incarnation: 0 }));
    await until(() => world.gcs.failed.length === 1);
    expect(world.gcs.failed[0]).toMatchObject({ rejected: true });
    node.constructorFails = true;
    await world.clock.complete(gcs.createActor({ spec: actor(), incarnation: 0 }));
    await until(() => world.gcs.failed.length === 2);
    expect(world.gcs.failed[1]).toMatchObject({ rejected: false, error: { code: "TASK_ERROR" } });
    await until(() => node.alive.length === 0);
    expect(node.raylet.ledger.holders).toBe(0);
  });

  it("a crash is reported with the incarnation; kills end the process; newer incarnations replace older ones", async () => {
    const node = await nodeOf("a", 1);
    const gcs = world.gcs.node(node.nodeId);
    await world.clock.complete(gcs.createActor({ spec: actor(), incarnation: 0 }));
    await until(() => world.gcs.created.length === 1);
    node.workers[0]?.exit(1, "");
    await until(() => world.gcs.deaths.length === 1);
    expect(world.gcs.deaths[0]).toMatchObject({ actorId, incarnation: 0, intended: false, exit: { exitCode: 1 } });
    await world.clock.complete(gcs.createActor({ spec: actor(), incarnation: 1 }));
    await until(() => world.gcs.created.length === 2);
    await world.clock.complete(gcs.killActor({ actorId, incarnation: 0, graceful: false, reason: "late" })); // about another life
    await world.clock.complete(gcs.createActor({ spec: actor(), incarnation: 2 }));
    await until(() => world.gcs.created.length === 3 && node.alive.length === 1);
    await world.clock.complete(gcs.killActor({ actorId, incarnation: 2, graceful: true, reason: "out of scope" }));
    await until(() => world.gcs.deaths.some((d) => d.incarnation === 2));
    expect(world.gcs.deaths.at(-1)).toMatchObject({ incarnation: 2, intended: true });
    expect(node.alive).toEqual([]);
    expect(node.raylet.ledger.holders).toBe(0);
  });

  it("A5: an order that is repeated after the end of what it made makes nothing", async () => {
    const node = await nodeOf("a", 2);
    const gcs = world.gcs.node(node.nodeId);
    const create = (incarnation: number): Promise<unknown> => world.clock.complete(gcs.createActor({ spec: actor(), incarnation }));
    await create(3);
    await until(() => world.gcs.created.length === 1);
    node.workers[0]?.exit(1, ""); // of itself
    await until(() => world.gcs.deaths.length === 1);
    await create(3);
    await create(2);
    await create(4);
    await until(() => world.gcs.created.length === 2);
    await world.clock.complete(gcs.killActor({ actorId, incarnation: 4, graceful: false, reason: "" }));
    await create(4); // its process may not have ended yet
    await until(() => world.gcs.deaths.length === 2);
    await create(4);
    node.constructorFails = true;
    await create(5);
    await until(() => world.gcs.failed.length === 1);
    await create(5);
    await world.clock.advance(5_000);
    expect(world.gcs.created.map((c) => c.incarnation)).toEqual([3, 4]);
    expect(world.gcs.failed).toMatchObject([{ incarnation: 5, rejected: false }]);
    expect(node.workers.map((worker) => worker.actor?.incarnation).filter((incarnation) => incarnation !== undefined)).toEqual([3, 4, 5]);
    expect(node.raylet.ledger.holders).toBe(0);
  });

  it("A5: so does one whose runtime environment could not be made, though it never had a worker", async () => {
    const node = await nodeOf("a", 1, { workerStartTimeout: 100 });
    node.brokenWorkers = true;
    const gcs = world.gcs.node(node.nodeId);
    const spec = actor({ requirements: { ...requirements(1), runtimeEnvHash: "e", runtimeEnvJson: "{}" } });
    await world.clock.complete(gcs.createActor({ spec, incarnation: 0 }));
    await until(() => world.gcs.failed.length === 1);
    expect(world.gcs.failed[0]).toMatchObject({ rejected: false, error: { code: "RUNTIME_ENV_SETUP" } });
    node.brokenWorkers = false;
    await world.clock.complete(gcs.createActor({ spec, incarnation: 0 }));
    await world.clock.advance(10_000);
    expect([world.gcs.created, world.gcs.failed.length, node.raylet.ledger.holders]).toEqual([[], 1, 0]);
  });

  it("A6: a rejected order is rejected until the GCS knows, though there is room by then; later ones are meant", async () => {
    const node = await nodeOf("a", 1);
    const gcs = world.gcs.node(node.nodeId);
    const create = (): Promise<unknown> => world.clock.complete(gcs.createActor({ spec: actor(), incarnation: 0 }));
    node.raylet.ledger.acquire("other", { CPU: 10_000 });
    world.network.partition(node.host, "gcs", "one-way"); // its report does not arrive
    gcs.createActor({ spec: actor(), incarnation: 0 }, { timeoutMs: 100 }).catch(() => undefined);
    await world.clock.advance(500);
    node.raylet.ledger.release("other");
    gcs.createActor({ spec: actor(), incarnation: 0 }, { timeoutMs: 100 }).catch(() => undefined);
    await world.clock.advance(500);
    expect(node.raylet.actors.get(actorId)).toBeUndefined();
    world.network.heal();
    await until(() => world.gcs.failed.length === 2); // the second may have been meant: the GCS ignores it if not
    expect(world.gcs.failed).toMatchObject([{ rejected: true }, { rejected: true }]);
    await world.clock.advance(100);
    await create();
    await until(() => world.gcs.created.length === 1);
    expect(world.gcs.failed).toHaveLength(2);
  });

  it("exitActor: a worker that announces its end is no failure", async () => {
    const node = await nodeOf("a", 1);
    await world.clock.complete(world.gcs.node(node.nodeId).createActor({ spec: actor(), incarnation: 0 }));
    await until(() => world.gcs.created.length === 1);
    const [worker] = node.workers;
    void worker?.raylet.killWorker({ workerId: worker.launch.workerId, reason: "exitActor", graceful: true }).catch(() => undefined);
    await until(() => world.gcs.deaths.length === 1);
    expect(world.gcs.deaths[0]).toMatchObject({ actorId, intended: true });
  });

  it("ends an actor that the GCS does not want here any more", async () => {
    const node = await nodeOf("a", 1);
    world.gcs.refuseCreated = true;
    await world.clock.complete(world.gcs.node(node.nodeId).createActor({ spec: actor(), incarnation: 0 }));
    await until(() => node.workers.length === 1 && node.alive.length === 0);
    expect(node.raylet.ledger.holders).toBe(0);
  });
});

describe("objects", () => {
  const objectId = `${"00000001".padEnd(32, "b")}00000000`;
  const addressOf = (owner: FakeOwner, node: TestNode): { workerId: string; nodeId: string; endpoint: string } => ({
    workerId: owner.id,
    nodeId: node.nodeId,
    endpoint: "",
  });

  it("creates, seals, reads; a second node pulls a copy once for all who ask; deletion frees both", async () => {
    const a = await nodeOf("a", 1);
    const b = await nodeOf("b", 1);
    const owner = new FakeOwner(world, "o");
    const raylet = owner.to(a.address);
    const { offset } = await world.clock.complete(raylet.createObject({ objectId, size: 9000, owner: addressOf(owner, a) }));
    a.arena.write(offset, 9000).fill(7);
    await world.clock.complete(raylet.sealObject({ objectId, abort: false }));
    expect(await world.clock.complete(raylet.createObject({ objectId, size: 9000, owner: addressOf(owner, a) }))).toMatchObject({ exists: true });

    const locations = {
      size: 9000,
      nodes: [
        { nodeId: "gone", raylet: "", bulk: "gone:2" },
        { nodeId: a.nodeId, raylet: a.address, bulk: "a:2" },
      ],
    };
    const reader = new FakeOwner(world, "r");
    const signal = new AbortController().signal;
    const wanted = (pin: number) => ({ objectId, locations, owner: addressOf(owner, a), pin });
    const [remote, ...local] = [
      reader.to(b.address).getObjects({ objects: [wanted(1)], purpose: ObjectPurpose.GET }),
      b.raylet.objects.get([wanted(1)], "get", "local", signal),
      b.raylet.objects.get([wanted(2)], "argument", "local", signal),
    ];
    const pulls = jest.spyOn(a.raylet.objects, "open");
    const replies = (await world.clock.complete(Promise.all(local))).flat();
    expect((await world.clock.complete(remote)).objects).toMatchObject([{ found: true }]);
    expect(pulls).toHaveBeenCalledTimes(1); // H1
    expect(replies.map((r) => [r.found, r.size, r.pulled])).toEqual([
      [true, 9000, true],
      [true, 9000, true],
    ]);
    expect(Buffer.from(b.arena.write(replies[0]?.offset ?? 0, 9000)).every((byte) => byte === 7)).toBe(true);
    expect(b.raylet.objects.usage()).toMatchObject({ objects: 1, pinnedBytes: 12_288 });

    reader.to(b.address).deleteObjects({ objectIds: [objectId] });
    await world.clock.advance(10);
    expect(b.raylet.objects.usedBytes).toBe(12_288); // pins hold on
    reader.to(b.address).releaseObjects({ objectIds: [objectId], offsets: [replies[0]?.offset ?? 0], pins: [] });
    const offsets = replies.map((r) => r.offset);
    b.raylet.objects.release([objectId, objectId], offsets, [], "local");
    raylet.deleteObjects({ objectIds: [objectId] });
    await until(() => a.raylet.objects.usedBytes === 0 && b.raylet.objects.usedBytes === 0);
  });

  it("a deletion told twice, or of what was never there, changes nothing; the object may be made again", async () => {
    const a = await nodeOf("a", 1);
    const owner = new FakeOwner(world, "o");
    const raylet = owner.to(a.address);
    const make = async (): Promise<void> => {
      const { offset } = await world.clock.complete(raylet.createObject({ objectId, size: 9000, owner: addressOf(owner, a) }));
      a.arena.write(offset, 9000).fill(7);
      await world.clock.complete(raylet.sealObject({ objectId, abort: false }));
    };
    raylet.deleteObjects({ objectIds: [objectId] });
    for (let i = 0; i < 2; i++) {
      await make();
      expect(a.raylet.objects.usedBytes).toBe(12_288);
      raylet.deleteObjects({ objectIds: [objectId, objectId] });
      raylet.deleteObjects({ objectIds: [objectId] });
      await until(() => a.raylet.objects.usedBytes === 0);
    }
    await world.clock.advance(100);
    expect(a.raylet.objects.usage()).toMatchObject({ objects: 0, pinnedBytes: 0 });
  });

  it("who joins a fetch that looks in vain has its own locations looked at", async () => {
    const a = await nodeOf("a", 1);
    const b = await nodeOf("b", 1);
    const owner = new FakeOwner(world, "o");
    const raylet = owner.to(a.address);
    await world.clock.complete(raylet.createObject({ objectId, size: 9000, owner: addressOf(owner, a) }));
    await world.clock.complete(raylet.sealObject({ objectId, abort: false }));
    const wanted = (pin: number, node: { nodeId: string; raylet: string; bulk: string }) => [
      { objectId, locations: { size: 9000, nodes: [node] }, owner: addressOf(owner, a), pin },
    ];
    const signal = new AbortController().signal;
    const first = b.raylet.objects.get(wanted(1, { nodeId: "gone", raylet: "", bulk: "gone:2" }), "get", "one", signal);
    const second = b.raylet.objects.get(wanted(2, { nodeId: a.nodeId, raylet: a.address, bulk: "a:2" }), "get", "two", signal);
    expect(await world.clock.complete(first)).toMatchObject([{ found: false, missingNodeIds: ["gone"] }]);
    const [found] = await world.clock.complete(second);
    expect(found).toMatchObject({ found: true, pulled: true });
    b.raylet.objects.release([objectId], [found?.offset ?? 0], [], "two");
    owner.to(b.address).deleteObjects({ objectIds: [objectId] });
    raylet.deleteObjects({ objectIds: [objectId] });
    await until(() => a.raylet.objects.usedBytes === 0 && b.raylet.objects.usedBytes === 0);
  });

  it("says which locations did not have it", async () => {
    const a = await nodeOf("a", 1);
    const owner = new FakeOwner(world, "o");
    const get = owner.to(a.address).getObjects({
      objects: [{ objectId, locations: { size: 10, nodes: [{ nodeId: "x", raylet: "", bulk: "x:2" }] }, owner: undefined, pin: 1 }],
      purpose: ObjectPurpose.GET,
    });
    expect((await world.clock.complete(get)).objects).toMatchObject([{ found: false, missingNodeIds: ["x"] }]);
    expect(a.raylet.objects.usedBytes).toBe(0);
  });

  it("waits for room in turn, and a reader's end drops its pins", async () => {
    const a = await nodeOf("a", 1);
    const [one, two] = [new FakeOwner(world, "o"), new FakeOwner(world, "p")];
    const size = 700_000;
    await world.clock.complete(one.to(a.address).createObject({ objectId, size, owner: addressOf(one, a) }));
    let granted = false;
    const second = two.to(a.address).createObject({ objectId: objectId.replace(/b/g, "c"), size, owner: addressOf(two, a) });
    void second.then(() => (granted = true));
    await world.clock.advance(100);
    expect(granted).toBe(false);
    one.crash(); // it never sealed: what it wrote is dropped when its session is lost
    await world.clock.complete(second, 30_000);
  });

  it("a driver that dies while it waits for room does not get it afterwards", async () => {
    const a = await nodeOf("a", 1);
    const driver = new FakeOwner(world, "o");
    await driver.register(a, 100);
    const size = 700_000;
    await world.clock.complete(driver.to(a.address).createObject({ objectId, size, owner: addressOf(driver, a) }));
    await world.clock.complete(driver.to(a.address).sealObject({ objectId, abort: false }));
    driver
      .to(a.address)
      .createObject({ objectId: objectId.replace(/b/g, "c"), size, owner: addressOf(driver, a) })
      .catch(() => undefined);
    await world.clock.advance(100);
    a.livePids.delete(100);
    driver.crash();
    await until(() => world.gcs.finished.length === 1);
    a.raylet.objects.ownerDied(driver.id); // as the GCS tells every raylet
    await world.clock.advance(100);
    expect(a.raylet.objects.usedBytes).toBe(0);
  });

  it("drops what a dead owner left", async () => {
    const a = await nodeOf("a", 1);
    const owner = new FakeOwner(world, "o");
    await world.clock.complete(owner.to(a.address).createObject({ objectId, size: 10, owner: addressOf(owner, a) }));
    await world.clock.complete(owner.to(a.address).sealObject({ objectId, abort: false }));
    a.raylet.objects.ownerDied(owner.id);
    expect(a.raylet.objects.usedBytes).toBe(0);
  });
});

describe("the GCS", () => {
  it("restarts: leases go on, the node registers again and reports its actors", async () => {
    const node = await nodeOf("a", 2);
    await world.clock.complete(world.gcs.node(node.nodeId).createActor({ spec: actor(), incarnation: 3 }));
    await until(() => world.gcs.created.length === 1);
    await world.restartGcs();
    const owner = new FakeOwner(world, "o");
    owner.demand(node, 1);
    await until(() => owner.grants.length === 1);
    await until(() => world.gcs.created.length === 1);
    expect(world.gcs.registered).toEqual([node.nodeId]);
    expect(world.gcs.created[0]).toMatchObject({ actorId, incarnation: 3 });
  });

  it("hears of a death that happened while it was away", async () => {
    const node = await nodeOf("a", 1);
    const owner = new FakeOwner(world, "o");
    owner.demand(node, 1);
    await until(() => owner.grants.length === 1);
    world.network.crash("gcs");
    node.workers[0]?.exit(137, "");
    await world.clock.advance(2000);
    await world.restartGcs();
    await until(() => world.gcs.deaths.length === 1);
    expect(world.gcs.deaths[0]?.exit?.exitCode).toBe(137);
  });

  it("away for longer than gcsReconnectTimeout, or done with this node: the raylet ends with its workers", async () => {
    const a = await nodeOf("a", 1, { gcsReconnectTimeout: 5000 });
    const b = await nodeOf("b", 1);
    const owner = new FakeOwner(world, "o");
    owner.demand(a, 1);
    await until(() => owner.grants.length === 1);
    world.gcs.node(b.nodeId).declaredDead({ nodeId: b.nodeId, reason: "no heartbeats" });
    await until(() => b.ended !== undefined);
    world.network.crash("gcs");
    await until(() => a.ended !== undefined);
    expect(a.ended).toMatch(/gcsReconnectTimeout/);
    expect(a.alive).toEqual([]);
  });

  it("hears everything that matters although requests and replies are lost and links break", async () => {
    world.faults = FaultPlan.parse('{"gcs/*":{"requestLost":0.3,"replyLost":0.3,"delayMs":[0,50]},"worker/*":{"requestLost":0.3,"replyLost":0.3}}');
    const node = await nodeOf("a", 2);
    world.faults = undefined;
    world.network.breakChance = 0.01;
    for (let incarnation = 0; incarnation < 8; incarnation++) {
      await world.clock.complete(world.gcs.node(node.nodeId).createActor({ spec: actor(), incarnation }, { retry: true }));
      await until(() => world.gcs.created.some((c) => c.incarnation === incarnation));
      expect(node.alive).toHaveLength(1); // A1
      node.alive[0]?.exit(1, "");
      await until(() => world.gcs.deaths.some((d) => d.incarnation === incarnation));
    }
    expect(node.workers).toHaveLength(8); // A2: none was made twice
    expect(node.raylet.ledger.holders).toBe(0);
  });

  it("says goodbye on a clean end", async () => {
    const node = await nodeOf("a", 1);
    await world.clock.complete(new FakeOwner(world, "o").to(node.address).shutdownNode({ reason: "bye", graceMs: 0 }));
    await until(() => node.ended === "bye");
    expect(world.gcs.unregistered).toEqual([node.nodeId]);
  });
});

describe("spilling", () => {
  const sizeOf = 200_000; // five fill the arena of 1 MiB
  const idOf = (i: number): string => `${"00000001".padEnd(32, "d")}${i.toString(16).padStart(8, "0")}`;
  const addressOf = (owner: FakeOwner, node: TestNode): { workerId: string; nodeId: string; endpoint: string } => ({
    workerId: owner.id,
    nodeId: node.nodeId,
    endpoint: "",
  });
  const put = async (node: TestNode, owner: FakeOwner, i: number): Promise<void> => {
    const raylet = owner.to(node.address);
    const { offset } = await world.clock.complete(raylet.createObject({ objectId: idOf(i), size: sizeOf, owner: addressOf(owner, node) }), 60_000);
    node.arena.write(offset, sizeOf).fill(i + 1);
    await world.clock.complete(raylet.sealObject({ objectId: idOf(i), abort: false }));
  };
  const none = { size: sizeOf, nodes: [] };
  let pins = 0;
  type Locations = { size: number; nodes: { nodeId: string; raylet: string; bulk: string }[] };
  const get = async (node: TestNode, i: number, pin: number, locations: Locations = none): Promise<GetObjectReply> => {
    const wanted = { objectId: idOf(i), locations, owner: undefined, pin };
    return (await node.raylet.objects.get([wanted], "get", "reader", new AbortController().signal))[0] as GetObjectReply;
  };
  /** Reads and lets go. */
  const read = async (node: TestNode, i: number, locations: Locations = none): Promise<unknown> => {
    const pin = ++pins;
    const reply = await world.clock.complete(get(node, i, pin, locations), 60_000);
    if (!reply.found) return reply;
    const bytes = Buffer.from(node.arena.write(reply.offset, sizeOf));
    node.raylet.objects.release([idOf(i)], [reply.offset], [pin], "reader");
    return bytes.every((byte) => byte === i + 1) ? "intact" : "wrong bytes";
  };
  const counted = (node: TestNode, name: string): number =>
    node.raylet.env.metrics
      .collect()
      .filter((sample) => sample.name === name)
      .reduce((sum, sample) => sum + sample.value, 0);

  it("holds more than the arena, restores what is read, and deletes everywhere", async () => {
    const a = await nodeOf("a", 1);
    const owner = new FakeOwner(world, "o");
    for (let i = 0; i < 20; i++) await put(a, owner, i);
    expect(a.raylet.objects.spilledBytes).toBeGreaterThan(14 * sizeOf);
    for (const i of [0, 19, 7, 0, 12, 3]) expect(await read(a, i)).toBe("intact");
    await world.clock.complete(owner.to(a.address).sealObject({ objectId: idOf(0), abort: false })); // said again: its first answer was lost
    expect(
      await world.clock.complete(owner.to(a.address).createObject({ objectId: idOf(1), size: sizeOf, owner: addressOf(owner, a) })),
    ).toMatchObject({
      exists: true,
    });
    a.raylet.objects.check();
    a.raylet.objects.delete([idOf(2), idOf(0)]);
    expect(await read(a, 2)).toMatchObject({ found: false });
    a.raylet.objects.ownerDied(owner.id);
    await until(() => a.spill.itemCount === 0 && a.raylet.objects.usedBytes === 0);
    expect(a.raylet.objects.list()).toEqual([]);
  });

  it("another node reads from the disk, past the arena", async () => {
    const [a, b] = [await nodeOf("a", 1), await nodeOf("b", 1)];
    const owner = new FakeOwner(world, "o");
    for (let i = 0; i < 12; i++) await put(a, owner, i);
    const locations = { size: sizeOf, nodes: [{ nodeId: a.nodeId, raylet: a.address, bulk: "a:2" }] };
    for (let i = 0; i < 12; i++) expect(await read(b, i, locations)).toBe("intact");
    expect(counted(a, "tray_object_store_restored_bytes_total")).toBe(0);
    a.raylet.objects.check();
    b.raylet.objects.check();
  });

  it("what many ask for at once is restored once", async () => {
    const a = await nodeOf("a", 1);
    const owner = new FakeOwner(world, "o");
    for (let i = 0; i < 12; i++) await put(a, owner, i);
    const gets = [1, 2, 3].map((pin) => get(a, 0, pin));
    const replies = await world.clock.complete(Promise.all(gets));
    expect(new Set(replies.map(({ offset, found, pulled }) => `${offset} ${found} ${pulled}`)).size).toBe(1);
    expect(replies[0]).toMatchObject({ found: true, pulled: false });
    expect(counted(a, "tray_object_store_restored_bytes_total")).toBe(sizeOf);
    expect(a.raylet.objects.list().find((info) => info.objectId === idOf(0))?.pins).toBe(3);
  });

  it("a full disk: creates and restores are refused with OUT_OF_DISK, nothing is lost, and it goes on when there is room again", async () => {
    const a = await nodeOf("a", 1);
    const owner = new FakeOwner(world, "o");
    a.spill.options.capacityBytes = 2.5 * sizeOf;
    let stored = 0;
    let refusal: unknown;
    while (refusal === undefined && stored < 20) {
      await put(a, owner, stored).then(
        () => stored++,
        (error: unknown) => (refusal = error),
      );
    }
    expect(refusal).toMatchObject({ code: "OUT_OF_DISK" });
    expect(stored).toBe(7); // two on disk, five in the arena
    a.raylet.objects.check();
    const restored = world.clock.complete(get(a, 0, ++pins), 60_000);
    await expect(restored).rejects.toMatchObject({ code: "OUT_OF_DISK" }); // H4
    for (let i = 2; i < 7; i++) expect(await read(a, i)).toBe("intact");
    a.spill.options.capacityBytes = 100 * sizeOf;
    await world.clock.advance(6_000);
    await put(a, owner, 7);
    for (let i = 0; i < 8; i++) expect(await read(a, i)).toBe("intact");
    a.raylet.objects.check();
  });

  it("what cannot be read from the disk is missing here, and only that", async () => {
    const a = await nodeOf("a", 1);
    const owner = new FakeOwner(world, "o");
    for (let i = 0; i < 12; i++) await put(a, owner, i);
    let failures = 0;
    a.spill.options.fault = (what) => (what === "read" && ++failures <= 3 ? new Error("input/output error") : undefined);
    const locations = { size: sizeOf, nodes: [{ nodeId: a.nodeId, raylet: a.address, bulk: "a:2" }] };
    expect(await read(a, 0, locations)).toMatchObject({ found: false, missingNodeIds: [a.nodeId] }); // tried twice
    expect(await read(a, 1, locations)).toBe("intact"); // a failure that passes costs nothing
    await put(a, owner, 0); // made again
    expect(await read(a, 0)).toBe("intact");
    a.raylet.objects.check();
  });

  it("a disk that fails at random: all comes back as it was, and a failed write is tried again without anybody being refused", async () => {
    const a = await nodeOf("a", 1);
    const owner = new FakeOwner(world, "o");
    const random = world.random.fork();
    const failed = { write: 0, read: 0 };
    let lastRead = "";
    a.spill.options.fault = (what) => {
      // A read is tried twice, so that two failures in a row would be a loss, as they should be (the test before this one).
      if (random.next() >= 0.4 || (what === "read" && lastRead === "failed")) {
        if (what === "read") lastRead = "well";
        return undefined;
      }
      if (what === "read") lastRead = "failed";
      failed[what]++;
      return new Error("input/output error");
    };
    for (let i = 0; i < 40; i++) {
      await put(a, owner, i);
      const some = Math.floor(random.next() * (i + 1));
      expect([i, await read(a, some)]).toEqual([i, "intact"]);
      a.raylet.objects.check();
    }
    expect(failed.write).toBeGreaterThan(5);
    expect(failed.read).toBeGreaterThan(5);
    expect(counted(a, "tray_object_store_spill_failures_total")).toBe(failed.write);
    for (let i = 0; i < 40; i++) expect([i, await read(a, i)]).toEqual([i, "intact"]);
    a.raylet.objects.delete(Array.from({ length: 40 }, (_, i) => idOf(i)));
    await until(() => a.spill.itemCount === 0 && a.raylet.objects.usedBytes === 0);
  });

  it("a slow disk: creates and reads take their time and are answered in order, what is deleted meanwhile is not kept", async () => {
    const a = await nodeOf("a", 1);
    const owner = new FakeOwner(world, "o");
    a.spill.options.durationMs = () => 3_000; // longer than creates wait for a disk that fails
    const raylet = owner.to(a.address);
    const done: number[] = [];
    const create = async (i: number): Promise<void> => {
      const { offset } = await raylet.createObject({ objectId: idOf(i), size: sizeOf, owner: addressOf(owner, a) });
      a.arena.write(offset, sizeOf).fill(i + 1);
      await raylet.sealObject({ objectId: idOf(i), abort: false });
      done.push(i);
    };
    const creates = Array.from({ length: 20 }, (_, i) => create(i));
    await world.clock.complete(Promise.all(creates), 120_000);
    expect(done).toEqual(Array.from({ length: 20 }, (_, i) => i)); // O4
    const reads = [0, 5, 11, 2].map((i) => ({ i, value: read(a, i) }));
    for (const { i, value } of reads) expect([i, await value]).toEqual([i, "intact"]);

    // While its bytes are being read, and being written.
    const lost = get(a, 1, ++pins);
    await world.clock.advance(1_000);
    a.raylet.objects.delete([idOf(1)]);
    expect(await world.clock.complete(lost, 30_000)).toMatchObject({ found: false });
    const more = Array.from({ length: 10 }, (_, i) => create(20 + i));
    const spilling = (): string[] =>
      a.raylet.objects
        .list()
        .filter((info) => info.spilling)
        .map((info) => info.objectId);
    await until(() => spilling().length > 0);
    const writing = spilling();
    a.raylet.objects.delete(writing);
    await world.clock.complete(Promise.all(more), 120_000);
    expect(a.raylet.objects.list().filter((info) => !info.deleted && writing.includes(info.objectId))).toEqual([]);
    a.raylet.objects.check();
    a.raylet.objects.delete(a.raylet.objects.list().map((info) => info.objectId));
    await until(() => a.spill.itemCount === 0 && a.raylet.objects.usedBytes === 0);
  });

  it("readers of deleted objects are asked to collect garbage when somebody waits for their room", async () => {
    const a = await nodeOf("a", 1);
    const owner = new FakeOwner(world, "o");
    const asked: string[] = [];
    const reader = new FakeOwner(world, "r");
    const views: { objectId: string; offset: number; pin: number }[] = [];
    reader.endpoint.serve(StoreReaderService, {
      collectGarbage: () => {
        asked.push("reader");
        for (const { objectId, offset, pin } of views.splice(0))
          reader.to(a.address).releaseObjects({ objectIds: [objectId], offsets: [offset], pins: [pin] });
      },
    });
    await reader.register(a, 4711);
    for (let i = 0; i < 5; i++) {
      await put(a, owner, i);
      const wanted = { objectId: idOf(i), locations: none, owner: addressOf(owner, a), pin: i + 1 };
      const { objects } = await world.clock.complete(reader.to(a.address).getObjects({ objects: [wanted], purpose: ObjectPurpose.GET }));
      const { offset } = objects[0] as GetObjectReply;
      views.push({ objectId: idOf(i), offset, pin: i + 1 });
    }
    owner.to(a.address).deleteObjects({ objectIds: views.map(({ objectId }) => objectId) });
    await world.clock.advance(10);
    expect(a.raylet.objects.usage()).toMatchObject({ objects: 0, pinnedBytes: 0, deletedBytes: 5 * 200_704 });
    await put(a, owner, 5);
    expect(asked.length).toBeGreaterThan(0);
    expect(await read(a, 5)).toBe("intact");
  });

  it("ends in the middle of it: nothing is left", async () => {
    const a = await nodeOf("a", 1);
    const owner = new FakeOwner(world, "o");
    for (let i = 0; i < 12; i++) await put(a, owner, i);
    const gets = [0, 1, 2].map((i) => get(a, i, ++pins).catch(() => undefined));
    await world.clock.complete(a.raylet.close("test"), 30_000);
    await world.clock.complete(Promise.all(gets));
    expect(a.spill.itemCount).toBe(0);
  });
});
