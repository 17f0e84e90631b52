// Registrar against an owner that answers late, twice, or not at all.
import { OwnerService } from "@tray/protocol";
import { FaultPlan } from "@tray/rpc";
import { TestNetwork } from "../../test/network.js";
import type { ObjectEntry } from "./object-entry.js";
import { ReferenceTable } from "./reference-table.js";
import { Registrar } from "./registrar.js";

const owner = { workerId: "owner", nodeId: "n", endpoint: "owner:1" };
const node = { nodeId: "n", raylet: "r:1", bulk: "" };
const id = "a".repeat(40);
const unused = (): never => {
  throw new Error("not asked in these tests");
};

type FaultDraw = NonNullable<ReturnType<FaultPlan["draw"]>>;

/** The first calls go as told, the rest well. */
class Script extends FaultPlan {
  constructor(private readonly fates: FaultDraw[]) {
    super(new Map());
  }
  override draw(): FaultDraw | undefined {
    return this.fates.shift();
  }
}

async function setup(gone: string[] = [], ...fates: FaultDraw[]) {
  const net = new TestNetwork();
  const heard: string[] = [];
  const endpoint = net.endpoint("owner", "worker");
  endpoint.serve(OwnerService, {
    resolve: unused,
    addBorrower: ({ objectIds }) => {
      heard.push(`add ${objectIds.length}`);
      return { gone };
    },
    removeBorrower: ({ objectIds }) => void heard.push(`remove ${objectIds.length}`),
    locationChanged: unused,
  });
  await net.clock.complete(endpoint.listen(owner.endpoint));
  const peers = net.peers(net.endpoint("borrower", "worker", { faults: new Script(fates) }));
  const table: ReferenceTable = new ReferenceTable(
    { freed: unused, returned: (entry) => registrar.returned(entry), lineageEnded: unused, lineageValues: () => undefined, streamDropped: unused },
    () => 0,
  );
  const registrar = new Registrar(
    () => table,
    peers,
    net.clock,
    () => node,
  );
  let slot = 0;
  const take = (objectId = id): { entry: ObjectEntry; drop: () => void } => {
    const entry = table.borrow(objectId, owner);
    registrar.adopted(entry);
    const mine = ++slot;
    table.bind(mine, entry);
    return { entry, drop: () => table.releaseSlot(mine) };
  };
  return { net, clock: net.clock, heard, registrar, table, take };
}

describe("Registrar", () => {
  it("B1: is settled when the owner has confirmed what arrived, however often it had to be told", async () => {
    const { clock, heard, registrar, take } = await setup([], { lose: "request", delayMs: 0 }, { lose: "reply", delayMs: 0 });
    take();
    take(); // one object, one borrower
    take("b".repeat(40));
    let settled = false;
    void registrar.settled()?.then(() => (settled = true));
    await clock.runUntil(() => heard.length === 1);
    expect(settled).toBe(false); // the reply is lost on its way
    await clock.runUntil(() => settled);
    expect(heard).toEqual(["add 2", "add 2"]);
    expect(registrar.settled()).toBeUndefined();
  });

  it("B1: a reference held twice in turn is told of once more only after it was returned", async () => {
    const { clock, heard, take } = await setup();
    const first = take();
    await clock.runUntilIdle();
    const second = take();
    first.drop();
    await clock.runUntilIdle();
    expect(heard).toEqual(["add 1"]);
    second.drop();
    await clock.runUntilIdle();
    take();
    await clock.runUntilIdle();
    expect(heard).toEqual(["add 1", "remove 1", "add 1"]);
  });

  it("B2: a removal leaves after the last repetition of the addition before it", async () => {
    const { clock, heard, table, take } = await setup([], { lose: "reply", delayMs: 5 }, { lose: "reply", delayMs: 5 });
    const { drop } = take();
    await clock.runUntil(() => heard.length === 1);
    drop();
    expect(table.size).toBe(0);
    await clock.runUntilIdle();
    expect(heard).toEqual(["add 1", "add 1", "add 1", "remove 1"]);
  });

  it("B2: what is taken up again while its removal waits is not removed", async () => {
    const { clock, heard, take } = await setup([], { lose: "reply", delayMs: 5 });
    const { drop } = take();
    await clock.runUntil(() => heard.length === 1);
    drop();
    await clock.advance(1);
    take();
    await clock.runUntilIdle();
    expect(heard.filter((word) => word.startsWith("remove"))).toEqual([]);
    expect(heard.at(-1)).toBe("add 1");
  });

  it("B3: a removal arrives though the owner was out of reach for longer than a session lives; one to an owner that is gone is given up", async () => {
    const { net, clock, heard, take } = await setup();
    const { drop } = take();
    await clock.runUntilIdle();
    net.network.partition("borrower", "owner");
    net.network.breakLinks("borrower", "owner");
    drop();
    await clock.advance(30_000);
    expect(heard).toEqual(["add 1"]);
    net.network.heal();
    await clock.runUntil(() => heard.length > 1);
    expect(heard).toEqual(["add 1", "remove 1"]);
    const again = take();
    await clock.advance(10_000);
    net.network.crash("owner");
    again.drop();
    await clock.runUntilIdle();
    expect(net.network.linkCount).toBe(0);
  });

  it("an object that its owner had freed fails here; one whose owner is gone is settled, and said to be lost when it is used", async () => {
    const lost = await setup([id]);
    const { entry } = lost.take();
    await lost.clock.runUntilIdle();
    expect(entry.state).toMatchObject({ kind: "failed", error: { code: "OBJECT_LOST" } });

    const dead = await setup();
    dead.net.network.crash("owner");
    const borrowed = dead.take();
    await dead.clock.complete(dead.registrar.settled() as Promise<void>);
    expect(borrowed.entry.state.kind).toBe("pending");
    borrowed.drop();
    await dead.clock.runUntilIdle();
    expect(dead.table.size).toBe(0);
  });
});
