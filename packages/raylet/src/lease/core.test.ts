import { Requirements, toFixedPoint } from "@tray/protocol";
import { ClusterView, type NodeSnapshot } from "@tray/scheduler";
import fc from "fast-check";
import { placeIntervalMs, placeRetryMs, unknownNodeGraceMs } from "../limits.js";
import type { Ticket } from "../pool/worker.js";
import { ResourceLedger } from "../resources/ledger.js";
import { LeaseQueueCore } from "./core.js";
import { type Shape, shapeOf } from "./shape.js";
import type { LeaseEffect, Level } from "./types.js";

const shape = (resources: Record<string, number>, more: Parameters<typeof Requirements.fromPartial>[0] = {}): Shape =>
  shapeOf(Requirements.fromPartial({ resources: { amounts: toFixedPoint(resources) }, jobId: "00000001", ...more }));
const level = (wanted: number, more: Partial<Level> = {}): Level => ({
  wanted,
  grantsSeen: 0,
  backlog: wanted,
  meanTaskMs: 0,
  spilled: false,
  argBytesByNode: {},
  name: "f",
  ...more,
});
const node = (nodeId: string, total: number, available = total, labels: Record<string, string> = {}): NodeSnapshot => ({
  nodeId,
  raylet: `${nodeId}:1`,
  bulk: "",
  total: toFixedPoint({ CPU: total }),
  available: toFixedPoint({ CPU: available }),
  labels,
  estimatedWaitMs: 0,
  bandwidthBytesPerMs: 0,
  queued: 0,
  isHead: false,
});

class Node {
  readonly view = new ClusterView();
  readonly ledger: ResourceLedger;
  readonly tickets = new Map<string, Ticket>();
  readonly core: LeaseQueueCore;
  now = 0;
  room = 1000;
  private leases = 0;
  private workers = 0;

  constructor(cpus: number, labels: Record<string, string> = {}) {
    this.ledger = new ResourceLedger(toFixedPoint({ CPU: cpus }));
    this.view.put(node("here", cpus, cpus, labels));
    this.core = new LeaseQueueCore({
      nodeId: "here",
      labels,
      ledger: this.ledger,
      view: this.view,
      workers: {
        room: () => this.room - this.tickets.size,
        request: (ticket) => void this.tickets.set(ticket.id, ticket),
        cancel: (id) => void this.tickets.delete(id),
        waitOf: () => ({ cause: "waiting-for-worker", detail: "" }),
      },
      newLeaseId: () => `l${++this.leases}`,
    });
  }
  do(act: (effects: LeaseEffect[]) => unknown): string[] {
    const effects: LeaseEffect[] = [];
    act(effects);
    this.core.check();
    this.ledger.check();
    return effects.map(told);
  }
  level(owner: string, key: string, s: Shape, l: Level): string[] {
    return this.do((e) => this.core.level(owner, key, s, l, this.now, e));
  }
  /** Gives every ticket its worker. */
  assign(): string[] {
    return this.do((e) => {
      for (const id of [...this.tickets.keys()]) {
        this.tickets.delete(id);
        this.core.assigned(id, `w${++this.workers}`, e);
      }
    });
  }
  giveBack(owner: string, lease: string): string[] {
    return this.do((e) => this.core.giveBack(owner, lease, false, this.now, e));
  }
  pass(ms: number): string[] {
    this.now += ms;
    return this.do((e) => this.core.dispatch(this.now, e));
  }
  placed(owner: string, key: string, placements: { nodeId: string; raylet: string; count: number }[] | undefined): string[] {
    return this.do((e) => this.core.placed(owner, key, placements === undefined ? undefined : { placements }, this.now, e));
  }
}

function told(e: LeaseEffect): string {
  switch (e.kind) {
    case "grant":
      return `${e.owner}/${e.classKey} ${e.leaseId}`;
    case "spillback":
      return `spill ${e.placements.map((p) => `${p.count}→${p.nodeId}`).join()}`;
    case "reject":
      return `reject ${e.count}${e.unschedulable === undefined ? "" : ` ${e.unschedulable.code}`}`;
    case "askPlace":
      return `place ${e.count}`;
    case "freeWorker":
      return `${e.broken ? "kill" : "free"} ${e.workerId}`;
  }
}

const one = shape({ CPU: 1 });

describe("LeaseQueueCore", () => {
  it("grants up to the level, counting what is on its way", () => {
    const n = new Node(4);
    n.level("a", "f", one, level(2));
    expect(n.assign()).toEqual(["a/f l1", "a/f l2"]);
    n.level("a", "f", one, level(2, { grantsSeen: 0 })); // written before the grants arrived: not two more
    expect(n.tickets.size).toBe(0);
    n.level("a", "f", one, level(1, { grantsSeen: 2 }));
    expect(n.assign()).toEqual(["a/f l3"]);
    expect(n.ledger.available["CPU"]).toBe(10_000);
  });

  it("takes back pending leases when the level falls", () => {
    const n = new Node(4);
    n.level("a", "f", one, level(3));
    n.level("a", "f", one, level(1));
    expect([...n.tickets.keys()]).toEqual(["l1"]);
    expect(n.ledger.available["CPU"]).toBe(30_000);
    n.level("a", "f", one, level(0));
    expect([n.tickets.size, n.core.leaseCount, n.core.waits]).toEqual([0, 0, false]);
  });

  it("L3: goes round between owners, whatever the length of their queues", () => {
    const n = new Node(1);
    n.level("a", "f", one, level(10));
    n.level("b", "g", one, level(10));
    n.level("b", "h", one, level(10));
    const order: string[] = [];
    let [grant] = n.assign();
    for (let i = 0; i < 7; i++) {
      const [who, lease] = (grant as string).split(" ") as [string, string];
      order.push(who);
      n.giveBack(who.slice(0, 1), lease);
      [grant] = n.assign();
    }
    expect(order).toEqual(["a/f", "a/f", "b/g", "a/f", "b/h", "a/f", "b/g"]); // a waited before b came
  });

  it("L5: grants spilled demand at once as far as it fits and rejects the rest", () => {
    const n = new Node(2);
    expect(n.level("a", "f", one, level(5, { spilled: true }))).toEqual(["reject 3"]);
    expect(n.assign()).toEqual(["a/f l1", "a/f l2"]);
    expect(n.core.waits).toBe(false);
  });

  it("asks the global scheduler only when another node seems to have room, and once", () => {
    const n = new Node(1);
    expect(n.level("a", "f", one, level(3))).toEqual([]);
    n.view.put(node("there", 4));
    expect(n.pass(10)).toEqual(["place 2"]);
    expect(n.pass(10)).toEqual([]); // L4
    expect(n.placed("a", "f", [{ nodeId: "there", raylet: "", count: 2 }])).toEqual(["spill 2→there"]);
    expect(n.pass(placeIntervalMs)).toEqual([]); // nothing is left to place
    expect(n.level("a", "f", one, level(5))).toEqual([]); // not again to a node that looks as it did
    n.view.put(node("there", 4, 2));
    expect(n.pass(placeIntervalMs)).toEqual(["place 4"]);
    n.placed("a", "f", []);
    expect(n.pass(placeIntervalMs)).toEqual([]); // fruitless, and nothing changed
    expect(n.pass(placeRetryMs)).toEqual(["place 4"]);
  });

  it("counts spilled demand here again when its owner stays silent", () => {
    const n = new Node(1);
    n.view.put(node("there", 4));
    n.level("a", "f", one, level(3));
    n.placed("a", "f", [{ nodeId: "there", raylet: "", count: 2 }]);
    n.assign();
    expect(n.core.queued()).toEqual([]);
    n.view.put(node("there", 4, 0));
    n.pass(placeRetryMs);
    expect(n.core.queued()).toMatchObject([{ queued: 3, cause: "waiting-for-resources" }]);
  });

  it("infeasible demand stays, with its cause, until a node comes that can run it", () => {
    const n = new Node(1);
    expect(n.level("a", "f", shape({ GPU: 1 }), level(2))).toEqual([]);
    expect(n.core.queued()).toMatchObject([{ cause: "infeasible", queued: 2, sinceMs: 0 }]);
    n.view.put({ ...node("gpu", 1), total: toFixedPoint({ GPU: 1 }), available: toFixedPoint({ GPU: 1 }) });
    expect(n.pass(1000)).toEqual(["place 2"]);
  });

  it("hard affinity: goes to its node, waits for it, or is unschedulable", () => {
    const to = (nodeId: string, soft = false): Shape => shape({ CPU: 1 }, { strategy: { kind: { $case: "nodeAffinity", value: { nodeId, soft } } } });
    const n = new Node(1);
    n.view.put(node("there", 2));
    expect(n.level("a", "f", to("there"), level(1))).toEqual(["spill 1→there"]);
    n.level("a", "f", to("there"), level(0));
    expect(n.level("a", "g", to("here"), level(1))).toEqual([]);
    expect(n.assign()).toEqual(["a/g l1"]);
    n.view.put(node("there", 2, 0));
    expect(n.level("a", "h", to("there"), level(1))).toEqual([]);
    n.view.remove("there");
    expect(n.pass(1)).toEqual(["reject 1 TASK_UNSCHEDULABLE"]);
    expect(n.level("a", "i", to("unknown"), level(1))).toEqual([]);
    expect(n.pass(unknownNodeGraceMs)).toEqual(["reject 1 TASK_UNSCHEDULABLE"]);
  });

  it("labels: what may not run here goes elsewhere though there is room", () => {
    const n = new Node(4, { zone: "a" });
    n.view.put(node("there", 4, 4, { zone: "b" }));
    expect(n.level("a", "f", shape({ CPU: 1 }, { labelSelector: { zone: "b" } }), level(1))).toEqual(["place 1"]);
    n.level("a", "g", shape({ CPU: 1 }, { labelSelector: { zone: "a" } }), level(1));
    expect(n.assign()).toHaveLength(1);
  });

  it("spread and far arguments ask first, and run here when told so or when nobody answers", () => {
    const spread = shape({ CPU: 1 }, { strategy: { kind: { $case: "spread", value: true } } });
    const n = new Node(4);
    n.view.put(node("there", 4));
    expect(n.level("a", "f", spread, level(3))).toEqual(["place 3"]);
    expect(n.tickets.size).toBe(0);
    expect(
      n.placed("a", "f", [
        { nodeId: "here", raylet: "", count: 2 },
        { nodeId: "there", raylet: "", count: 1 },
      ]),
    ).toEqual(["spill 1→there"]);
    expect(n.assign()).toHaveLength(2);
    expect(n.level("a", "g", one, level(1, { argBytesByNode: { there: 5e6 } }))).toEqual(["place 1"]);
    n.placed("a", "g", undefined);
    expect(n.assign()).toHaveLength(1);
  });

  it("an owner's end frees what it held and kills what may be running", () => {
    const n = new Node(2);
    n.level("a", "f", one, level(2));
    n.assign();
    n.level("a", "f", one, level(2, { grantsSeen: 2 }));
    n.level("b", "f", one, level(1));
    expect(n.do((e) => n.core.ownerGone("a", 0, e))).toEqual(["kill w1", "kill w2"]);
    expect(n.assign()).toEqual(["b/f l3"]);
  });

  it("a refused worker rejects a runtime environment's class for good", () => {
    const n = new Node(1);
    n.level("a", "f", shape({ CPU: 1 }, { runtimeEnvHash: "e" }), level(3));
    expect(n.do((e) => n.core.refused("l1", "no such image", 0, e))).toEqual(["reject 3 RUNTIME_ENV_SETUP"]);
    expect(n.core.waits).toBe(false);
  });

  it("property: leases are conserved, resources never over-granted, nobody who fits waits", () => {
    const step = fc.record({
      act: fc.constantFrom("level", "level", "assign", "giveBack", "ownerGone", "workerGone", "pass", "placed", "view"),
      owner: fc.constantFrom("a", "b", "c"),
      key: fc.constantFrom("f", "g"),
      n: fc.nat(6),
      spilled: fc.boolean(),
    });
    fc.assert(
      fc.property(fc.array(step, { maxLength: 100 }), (steps) => {
        const n = new Node(5);
        const held = new Map<string, string>(); // lease → owner, as the owners see it
        const seen = new Map<string, number>();
        const see = (effects: string[]): void => {
          for (const text of effects) {
            const grant = /^(\w)\/(\w) (l\d+)$/.exec(text);
            if (grant === null) continue;
            held.set(grant[3] as string, grant[1] as string);
            const cls = `${grant[1]}/${grant[2]}`;
            seen.set(cls, (seen.get(cls) ?? 0) + 1);
          }
        };
        for (const { act, owner, key, n: count, spilled } of steps) {
          n.now += 40;
          const lease = [...held].find(([, o]) => o === owner)?.[0];
          const s = key === "f" ? one : shape({ CPU: 2 });
          if (act === "level")
            see(n.level(owner, key, s, level(count, { grantsSeen: seen.get(`${owner}/${key}`) ?? 0, spilled: spilled && owner === "c" })));
          else if (act === "assign") see(n.assign());
          else if (act === "pass") see(n.pass(300));
          else if (act === "view") n.view.put(node("there", 4, count % 5));
          else if (act === "placed") see(n.placed(owner, key, [{ nodeId: "there", raylet: "", count }]));
          else if (act === "ownerGone") {
            see(n.do((e) => n.core.ownerGone(owner, n.now, e)));
            for (const [id, o] of [...held]) if (o === owner) held.delete(id);
            for (const k of ["f", "g"]) seen.delete(`${owner}/${k}`);
          } else if (lease !== undefined) {
            held.delete(lease);
            if (act === "giveBack") see(n.giveBack(owner, lease));
            else see(n.do((e) => n.core.workerGone(lease, n.now, e)));
          }
          expect(n.core.leaseCount).toBe(held.size + n.tickets.size);
          expect(n.ledger.available["CPU"]).toBeGreaterThanOrEqual(0);
          const free = n.ledger.available["CPU"] as number;
          for (const q of n.core.queued())
            if (q.cause === "waiting-for-resources" && (q.shape["CPU"] as number) <= free) throw new Error("somebody who fits waits");
        }
      }),
    );
  });
});
