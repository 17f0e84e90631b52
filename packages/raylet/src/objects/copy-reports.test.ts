// CopyReports against owners that are there, out of reach, and dead.
import { type Handlers, type NodeAddress, OwnerService } from "@tray/protocol";
import type { CallContext, Endpoint } from "@tray/rpc";
import { World } from "../testing/world.js";
import { CopyReports } from "./copy-reports.js";

const here: NodeAddress = { nodeId: "n", raylet: "raylet:1", bulk: "raylet:2" };
const addressOf = (host: string): { workerId: string; nodeId: string; endpoint: string } => ({ workerId: host, nodeId: "m", endpoint: `${host}:1` });

let world: World;
let copies: Set<string>;
let reports: CopyReports;
beforeEach(() => {
  world = new World();
  copies = new Set(["1", "2", "3"]);
  reports = new CopyReports(
    { clock: world.clock },
    world.endpoint("raylet", "raylet", "n"),
    () => here,
    (objectId) => copies.has(objectId),
  );
});

class Owner {
  readonly heard: string[] = [];
  readonly endpoint: Endpoint;
  constructor(readonly host: string) {
    const none = (): never => {
      throw new Error("not asked in these tests");
    };
    const handlers = Object.fromEntries(Object.keys(OwnerService.methods).map((name) => [name, none]));
    this.endpoint = world.endpoint(host, "driver", host);
    this.endpoint.serve(OwnerService, {
      ...(handlers as unknown as Handlers<typeof OwnerService, CallContext>),
      locationChanged: ({ objectId, added, removedNodeId }) => {
        expect([added, removedNodeId]).toEqual([here, ""]);
        this.heard.push(objectId);
      },
    });
  }
  async start(): Promise<this> {
    await world.clock.complete(this.endpoint.listen(`${this.host}:1`));
    return this;
  }
}

/** A report under way: whether it has resolved. */
function report(host: string, ids: readonly string[]): { done: boolean; promise: Promise<void> } {
  const state = { done: false, promise: Promise.resolve() };
  state.promise = reports.report(addressOf(host), ids).then(() => void (state.done = true));
  return state;
}

describe("CopyReports", () => {
  it("tells the owner of every copy, resolves when it has them, and leaves no connection", async () => {
    const owner = await new Owner("o").start();
    await world.clock.complete(reports.report(addressOf("o"), ["1", "2", "3"]));
    expect(owner.heard).toEqual(["1", "2", "3"]);
    await world.clock.advance(1_000);
    expect(world.network.linkCount).toBe(0);
  });

  it("C1: is not done while the owner's confirmation is missing, and begins anew when its session ends", async () => {
    const owner = await new Owner("o").start();
    const under = report("o", ["1", "2"]);
    await world.clock.runUntil(() => owner.heard.length === 2);
    world.network.partition("o", "raylet", "one-way"); // its confirmation does not leave any more
    await world.clock.advance(60_000);
    expect([owner.heard, under.done]).toEqual([["1", "2"], false]);
    world.network.heal();
    await world.clock.runUntil(() => under.done);
    expect(owner.heard).toEqual(["1", "2", "1", "2"]);
  });

  it("C1: an owner that cannot be reached for long hears of what is still there", async () => {
    const owner = await new Owner("o").start();
    world.network.partition("o", "raylet");
    const under = report("o", ["1", "2", "3"]);
    await world.clock.advance(35_000);
    copies.delete("2");
    await world.clock.advance(25_000);
    expect([owner.heard, under.done]).toEqual([[], false]);
    world.network.heal();
    await world.clock.runUntil(() => under.done);
    expect(owner.heard).toEqual(["1", "3"]);
  });

  it("C1: ends when nothing is left to tell of: the death of an owner deletes its objects", async () => {
    const under = report("nobody", ["1", "2"]);
    await world.clock.advance(30_000);
    expect(under.done).toBe(false);
    copies.clear();
    await world.clock.runUntil(() => under.done, 2_000);
    await world.clock.runUntilIdle();
  });

  it("ends with the raylet, whatever it waits for", async () => {
    const waiting = report("nobody", ["1"]);
    await world.clock.advance(100); // refused: between two attempts
    world.network.partition("far", "raylet");
    const dialling = report("far", ["2"]);
    await world.clock.advance(100);
    reports.close();
    await world.clock.runUntil(() => waiting.done && dialling.done, 15_000);
  });
});
