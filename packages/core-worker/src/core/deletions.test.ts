// Deletions against nodes that are there, out of reach, replaced and dead.
import { type Handlers, type NodeAddress, RayletService } from "@tray/protocol";
import type { CallContext } from "@tray/rpc";
import { TestNetwork } from "../../test/network.js";
import { Deletions } from "./deletions.js";

class Raylet {
  /** Messages received, each a list of ids. */
  readonly messages: (readonly string[])[] = [];

  constructor(
    private readonly net: TestNetwork,
    readonly host: string,
    id = host,
  ) {
    const none = (): never => {
      throw new Error("not asked in these tests");
    };
    const handlers = Object.fromEntries(Object.keys(RayletService.methods).map((name) => [name, none]));
    this.endpoint = net.endpoint(host, "raylet", { id });
    this.endpoint.serve(RayletService, {
      ...(handlers as unknown as Handlers<typeof RayletService, CallContext>),
      deleteObjects: ({ objectIds }) => void this.messages.push(objectIds),
    });
  }
  private readonly endpoint;
  async start(): Promise<this> {
    await this.net.clock.complete(this.endpoint.listen(`${this.host}:1`));
    return this;
  }
  get deleted(): string[] {
    return this.messages.flat();
  }
}

const at = (host: string, nodeId = host): NodeAddress => ({ nodeId, raylet: `${host}:1`, bulk: `${host}:2` });

function setup(): { net: TestNetwork; clock: TestNetwork["clock"]; deletions: Deletions } {
  const net = new TestNetwork();
  const deletions = new Deletions(net.peers(net.endpoint("owner", "driver")), net.clock);
  return { net, clock: net.clock, deletions };
}

describe("Deletions", () => {
  it("tells a node in one message of all that was freed in one turn, each node of its own", async () => {
    const { net, clock, deletions } = setup();
    const [a, b] = [await new Raylet(net, "a").start(), await new Raylet(net, "b").start()];
    for (const id of ["1", "2", "3"]) deletions.add(at("a"), id);
    deletions.add(at("b"), "4");
    await clock.runUntilIdle();
    expect([a.messages, b.messages]).toEqual([[["1", "2", "3"]], [["4"]]]);
  });

  it("D1: goes on until a node that was not there has heard it, and stops then", async () => {
    const { net, clock, deletions } = setup();
    deletions.add(at("a"), "1");
    await clock.advance(5_500);
    deletions.add(at("a"), "2");
    await clock.advance(4_500);
    const a = await new Raylet(net, "a").start();
    await clock.runUntil(() => a.deleted.length === 2);
    expect([...a.deleted].sort()).toEqual(["1", "2"]);
    await clock.advance(20_000);
    expect(a.deleted).toHaveLength(2);
  });

  it("D1: a partition that outlives the session costs time, not the deletion", async () => {
    const { net, clock, deletions } = setup();
    const a = await new Raylet(net, "a").start();
    deletions.add(at("a"), "before");
    await clock.advance(1_000);
    net.network.partition("owner", "a");
    deletions.add(at("a"), "during");
    net.network.breakLinks("owner", "a");
    await clock.advance(30_000); // far past the session's end
    expect(a.deleted).toEqual(["before"]);
    net.network.heal();
    await clock.runUntil(() => a.deleted.includes("during"));
  });

  it("D1: what went to a session with a process that had died goes to the one that came after it", async () => {
    const { net, clock, deletions } = setup();
    const before = await new Raylet(net, "a").start();
    deletions.add(at("a"), "1");
    await clock.advance(1_000);
    net.network.crash("a");
    deletions.add(at("a"), "2"); // the session does not know yet
    const after = await new Raylet(net, "a", "a-again").start();
    await clock.runUntil(() => after.deleted.length > 0);
    expect([before.deleted, after.deleted]).toEqual([["1"], ["2"]]);
  });

  it("D1: an unconfirmed deletion is repeated; what was added meanwhile does not wait for it", async () => {
    const { net, clock, deletions } = setup();
    const a = await new Raylet(net, "a").start();
    deletions.add(at("a"), "0");
    await clock.advance(1_000);
    net.network.partition("a", "owner", "one-way"); // it hears us; we do not hear it
    deletions.add(at("a"), "1");
    await clock.runUntil(() => a.deleted.includes("1"));
    deletions.add(at("a"), "2");
    await clock.runUntil(() => a.deleted.includes("2"));
    net.network.breakLinks("owner", "a");
    await clock.advance(20_000);
    net.network.heal();
    await clock.runUntil(() => a.deleted.filter((id) => id === "1").length === 2 && a.deleted.filter((id) => id === "2").length === 2);
  });

  it("stops when the node is dead, whoever has its address then", async () => {
    const { net, clock, deletions } = setup();
    deletions.add(at("a", "first"), "1");
    await clock.advance(3_500);
    deletions.nodeDied("first");
    const second = await new Raylet(net, "a", "second").start();
    deletions.add(at("a", "second"), "2");
    await clock.advance(60_000);
    expect(second.deleted).toEqual(["2"]);
  });
});
