// What borrowers ask of an owner, asked again, late, by the dead, or of what is gone; and for how long the dead count.
import { type NodeAddress, OwnerService, RayletService, objectIdOf, type Handlers } from "@tray/protocol";
import { TrayError, silentLogger } from "@tray/common";
import { type CallContext, FaultPlan } from "@tray/rpc";
import { TestNetwork } from "../../test/network.js";
import { Borrowers } from "./borrowers.js";
import { Handovers } from "./handovers.js";
import type { ObjectEntry } from "./object-entry.js";
import { ownerService } from "./owner-service.js";
import { ReferenceTable } from "./reference-table.js";

const id = objectIdOf("0".repeat(32), 1);
const graceMs = 5_000;
const at = (nodeId: string): NodeAddress => ({ nodeId, raylet: `${nodeId}:1`, bulk: "" });
const value = { kind: "value", value: Buffer.from([7]) } as const;
const stored = (...nodes: string[]) => ({ kind: "stored", size: 9, nodes: nodes.map(at) }) as const;
const unused = (): never => {
  throw new Error("not asked in these tests");
};

class Owner {
  readonly net = new TestNetwork();
  readonly clock = this.net.clock;
  readonly freed: string[] = [];
  readonly discarded: string[] = [];
  readonly missing: (readonly string[])[] = [];
  readonly coming = new Set<string>();
  readonly references = new ReferenceTable(
    { freed: (entry) => this.freed.push(entry.id), returned: unused, lineageEnded: unused, lineageValues: () => undefined, streamDropped: unused },
    () => 0,
  );
  readonly handovers = new Handovers(this.references, this.clock, () => graceMs);
  readonly borrowers: Borrowers;
  readonly entry: ObjectEntry = this.references.own(id, undefined, 0);

  constructor() {
    const endpoint = this.net.endpoint("owner", "driver");
    const peers = this.net.peers(endpoint);
    this.borrowers = new Borrowers(
      { gone: (workerId) => this.references.borrowerDied(workerId), raylet: (address) => peers.raylet(address).client(RayletService) },
      this.clock,
      silentLogger,
      () => graceMs,
    );
    endpoint.serve(
      OwnerService,
      ownerService(this.references, this.borrowers, {
        missing: (_entry, nodeIds) => this.missing.push(nodeIds),
        isComing: (objectId) => this.coming.has(objectId),
        discard: (objectId, node) => this.discarded.push(`${objectId} ${node.nodeId}`),
      }),
    );
    void endpoint.listen("owner:1");
    this.references.bind(1, this.entry);
  }
  /** A process that borrows; every one of its calls is made twice when `repeats`: the first reply is lost. */
  client(name: string, repeats = false) {
    const faults = repeats ? new EveryOther() : undefined;
    return this.net
      .peers(this.net.endpoint(name, "worker", { faults }))
      .worker("owner:1")
      .client(OwnerService);
  }
  add(client: ReturnType<Owner["client"]>, nodeId = "n1"): Promise<{ gone: string[] }> {
    return this.clock.complete(client.addBorrower({ objectIds: [id], node: at(nodeId) }, { timeoutMs: 0, retry: true }));
  }
}

class EveryOther extends FaultPlan {
  private calls = 0;
  constructor() {
    super(new Map());
  }
  override draw() {
    return this.calls++ % 2 === 0 ? ({ lose: "reply", delayMs: 0 } as const) : undefined;
  }
}

describe("OwnerService", () => {
  it("a repeated addition counts once; an object that is gone is named, to whoever asks however often", async () => {
    const owner = new Owner();
    owner.references.resolve(owner.entry, value);
    const client = owner.client("b1", true);
    expect(await owner.add(client)).toEqual({ gone: [] });
    owner.references.releaseSlot(1);
    expect(owner.freed).toEqual([]);
    client.removeBorrower({ objectIds: [id] });
    client.removeBorrower({ objectIds: [id] });
    await owner.clock.runUntil(() => owner.freed.length === 1);
    expect(await owner.add(client)).toEqual({ gone: [id] });
    expect(await owner.add(client)).toEqual({ gone: [id] });
    expect([owner.freed, owner.references.size]).toEqual([[id], 0]);
  });

  it("resolve answers all who ask before there is a value, and again after it, repeated or not", async () => {
    const owner = new Owner();
    const [one, two] = [owner.client("b1", true), owner.client("b2")];
    const early = [one, one, two].map((client) => client.resolve({ objectId: id, missingNodeIds: [] }, { timeoutMs: 0, retry: true }));
    await owner.clock.advance(500);
    owner.references.resolve(owner.entry, value);
    const late = two.resolve({ objectId: id, missingNodeIds: [] }, { timeoutMs: 0, retry: true });
    for (const reply of await owner.clock.complete(Promise.all([...early, late])))
      expect(reply.state).toEqual({ $case: "value", value: Buffer.from([7]) });
    owner.references.releaseSlot(1);
    const reply = await owner.clock.complete(two.resolve({ objectId: id, missingNodeIds: [] }, { timeoutMs: 0, retry: true }));
    expect(reply.state).toMatchObject({ $case: "error", value: { code: "OBJECT_LOST" } });
  });

  it("resolve tells the owner once for each question which nodes had no copy", async () => {
    const owner = new Owner();
    owner.references.resolve(owner.entry, stored("n1", "n2"));
    const reply = await owner.clock.complete(owner.client("b1").resolve({ objectId: id, missingNodeIds: ["n1"] }, { timeoutMs: 0, retry: true }));
    expect(owner.missing).toEqual([["n1"]]);
    expect(reply.state).toMatchObject({ $case: "stored" });
  });

  it("a location told twice is one; one of an object that is not made yet is kept for its deletion; one of nothing is deleted", async () => {
    const owner = new Owner();
    const client = owner.client("b1");
    const tell = (nodeId: string, objectId = id): void => client.locationChanged({ objectId, added: at(nodeId), removedNodeId: "" });
    tell("n1");
    tell("n1");
    await owner.clock.advance(100);
    expect(owner.entry.strays).toEqual([at("n1")]);
    owner.references.resolve(owner.entry, stored("n1"));
    for (const nodeId of ["n1", "n2", "n2"]) tell(nodeId);
    await owner.clock.advance(100);
    expect(owner.entry.state).toEqual(stored("n1", "n2"));
    owner.references.releaseSlot(1);
    const item = objectIdOf("0".repeat(32), 2);
    owner.coming.add(item);
    tell("n3");
    tell("n3", item); // its stream sees to it
    await owner.clock.advance(100);
    expect(owner.discarded).toEqual([`${id} n3`]);
  });
});

describe("Borrowers", () => {
  it("W1: what a dead process had sent before is refused", async () => {
    const owner = new Owner();
    owner.references.resolve(owner.entry, value);
    owner.borrowers.workerDied("b1", false);
    owner.borrowers.nodeDied("n2");
    await owner.add(owner.client("b1"));
    await owner.add(owner.client("b2"), "n2");
    owner.references.releaseSlot(1);
    expect(owner.freed).toEqual([id]);
  });

  it.each(["worker", "node"] as const)(
    "W3: after the death of its %s a borrower counts for the grace, in which whom it passed the reference on to is heard",
    async (what) => {
      const owner = new Owner();
      owner.references.resolve(owner.entry, value);
      await owner.add(owner.client("giver"));
      owner.references.releaseSlot(1);
      const die = (): void => (what === "worker" ? owner.borrowers.workerDied("giver", false) : owner.borrowers.nodeDied("n1"));
      die();
      die();
      await owner.clock.advance(graceMs - 100);
      expect(await owner.add(owner.client("taker"), "n2")).toEqual({ gone: [] });
      await owner.clock.advance(graceMs);
      expect(owner.freed).toEqual([]);
      owner.borrowers.workerDied("taker", false);
      await owner.clock.advance(graceMs - 1);
      expect(owner.freed).toEqual([]);
      await owner.clock.advance(1);
      expect(owner.freed).toEqual([id]);
    },
  );

  it("W3: a borrower that left in order counts no longer: it had waited for those whom it passed the reference on to", async () => {
    const owner = new Owner();
    owner.references.resolve(owner.entry, value);
    await owner.add(owner.client("b1"));
    owner.references.releaseSlot(1);
    owner.borrowers.workerDied("b1", true);
    await owner.clock.advance(1);
    expect(owner.freed).toEqual([id]);
  });

  it("W2: after a reset of the GCS the borrowers' nodes are asked, and who is dead there counts no longer than the grace", async () => {
    const owner = new Owner();
    owner.references.resolve(owner.entry, value);
    const raylet = owner.net.endpoint("n1", "raylet");
    const handlers = Object.fromEntries(Object.keys(RayletService.methods).map((name) => [name, unused]));
    raylet.serve(RayletService, {
      ...(handlers as unknown as Handlers<typeof RayletService, CallContext>),
      workerFailure: ({ workerId }) => {
        if (workerId === "living") throw new TrayError("DEADLINE_EXCEEDED", "it has not ended");
        return { known: false, exit: undefined };
      },
    });
    void raylet.listen("n1:1");
    await owner.add(owner.client("living"));
    await owner.add(owner.client("dead"));
    owner.borrowers.verify();
    await owner.clock.advance(graceMs + 2_500);
    expect([...(owner.entry.borrowers ?? [])]).toEqual(["living"]);
  });
});

describe("Handovers", () => {
  it("H1: holds until the taker confirms, once, whatever else it confirms", () => {
    const owner = new Owner();
    owner.references.resolve(owner.entry, value);
    const taker = {};
    owner.handovers.hold(taker, 1, [owner.entry]);
    owner.handovers.hold(taker, "1.0.1", [owner.entry]);
    owner.references.releaseSlot(1);
    for (const key of [2, 1, 1]) owner.handovers.confirmed(taker, key);
    owner.handovers.confirmed({}, "1.0.1");
    expect([owner.freed, owner.handovers.count]).toEqual([[], 1]);
    owner.handovers.confirmed(taker, "1.0.1");
    expect([owner.freed, owner.handovers.count]).toEqual([[id], 0]);
  });

  it("H2: holds for the grace when the taker is gone, and what others held for it when they ask", async () => {
    const owner = new Owner();
    owner.references.resolve(owner.entry, value);
    const taker = {};
    owner.handovers.hold(taker, 1, [owner.entry]);
    owner.references.releaseSlot(1);
    owner.handovers.lost(taker);
    owner.handovers.lost(taker);
    owner.handovers.confirmed(taker, 1); // too late: it is over
    await owner.clock.advance(graceMs - 1);
    owner.handovers.linger([owner.entry]);
    await owner.clock.advance(graceMs - 1);
    expect([owner.freed, owner.handovers.count]).toEqual([[], 1]);
    await owner.clock.advance(1);
    expect([owner.freed, owner.handovers.count]).toEqual([[id], 0]);
  });
});
