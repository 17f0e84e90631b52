import { SeededRandom } from "@tray/common";
import { add, covers, type Resources, toFixedPoint } from "@tray/protocol";
import fc from "fast-check";
import { ClusterView, type NodeSnapshot } from "./cluster-view.js";
import { place } from "./place.js";
import type { PlaceRequest, Strategy } from "./request.js";

interface NodeSpec extends Partial<Omit<NodeSnapshot, "total" | "available">> {
  nodeId: string;
  total: Record<string, number>;
  used?: Record<string, number>;
}

function viewOf(...specs: NodeSpec[]): ClusterView {
  const view = new ClusterView();
  for (const spec of specs) {
    const { used, total, ...rest } = spec;
    const free: Record<string, number> = {};
    for (const name in total) free[name] = (total[name] as number) - (used?.[name] ?? 0);
    view.put({
      raylet: "",
      bulk: "",
      labels: {},
      estimatedWaitMs: 0,
      bandwidthBytesPerMs: 0,
      queued: 0,
      isHead: false,
      ...rest,
      total: toFixedPoint(total),
      available: toFixedPoint(free),
    });
  }
  return view;
}

function request(resources: Record<string, number>, more: Partial<PlaceRequest> = {}): PlaceRequest {
  return { resources: toFixedPoint(resources), strategy: { kind: "default" }, labelSelector: {}, count: 1, ...more };
}

const placed = (view: ClusterView, req: PlaceRequest, seed = 1): Record<string, number> =>
  Object.fromEntries(place(view, req, new SeededRandom(seed)).placements.map((p) => [p.nodeId, p.count]));
const why = (view: ClusterView, req: PlaceRequest): { infeasible: boolean; unschedulable: boolean; detail: string } => {
  const { infeasible, unschedulable, detail } = place(view, req, new SeededRandom(1));
  return { infeasible, unschedulable, detail };
};

describe("default policy", () => {
  const cases: [name: string, view: ClusterView, request: PlaceRequest, expected: Record<string, number>][] = [
    [
      "stays local below the threshold",
      viewOf({ nodeId: "a", total: { CPU: 4 } }, { nodeId: "b", total: { CPU: 4 }, used: { CPU: 1 } }),
      request({ CPU: 1 }, { localNodeId: "b" }),
      { b: 1 },
    ],
    [
      "leaves a local node past the threshold for an emptier one",
      viewOf({ nodeId: "a", total: { CPU: 4 } }, { nodeId: "b", total: { CPU: 4 }, used: { CPU: 2 } }),
      request({ CPU: 1 }, { localNodeId: "b" }),
      { a: 1 },
    ],
    [
      "fills the local node, then the others",
      viewOf({ nodeId: "a", total: { CPU: 2 } }, { nodeId: "b", total: { CPU: 2 } }),
      request({ CPU: 1 }, { localNodeId: "b", count: 9 }),
      { a: 2, b: 2 },
    ],
    [
      "takes the least wait before the least utilised",
      viewOf({ nodeId: "a", total: { CPU: 4 }, estimatedWaitMs: 500 }, { nodeId: "b", total: { CPU: 4 }, used: { CPU: 3 }, estimatedWaitMs: 20 }),
      request({ CPU: 1 }),
      { b: 1 },
    ],
    [
      "takes the least utilised of equals",
      viewOf({ nodeId: "a", total: { CPU: 4 }, used: { CPU: 2 } }, { nodeId: "b", total: { CPU: 4 }, used: { CPU: 1 } }),
      request({ CPU: 1 }),
      { b: 1 },
    ],
    [
      "goes where the arguments are",
      viewOf({ nodeId: "a", total: { CPU: 4 } }, { nodeId: "b", total: { CPU: 4 }, used: { CPU: 2 } }),
      request({ CPU: 1 }, { localNodeId: "a", argBytesByNode: { b: 1e9 } }),
      { b: 1 },
    ],
    [
      "weighs transfer against queue",
      viewOf({ nodeId: "a", total: { CPU: 4 }, bandwidthBytesPerMs: 1e6 }, { nodeId: "b", total: { CPU: 4 }, estimatedWaitMs: 60_000 }),
      request({ CPU: 1 }, { argBytesByNode: { b: 1e9 } }),
      { a: 1 },
    ],
    [
      "keeps CPU work off GPU nodes",
      viewOf({ nodeId: "a", total: { CPU: 8, GPU: 1 } }, { nodeId: "b", total: { CPU: 4 }, used: { CPU: 1 } }),
      request({ CPU: 1 }),
      { b: 1 },
    ],
    ["places fractions", viewOf({ nodeId: "a", total: { GPU: 1 } }), request({ GPU: 0.25 }, { count: 9 }), { a: 4 }],
    ["places nothing where availability is negative", viewOf({ nodeId: "a", total: { CPU: 1 }, used: { CPU: 1 } }), request({ CPU: 1 }), {}],
  ];
  it.each(cases)("%s", (_name, view, req, expected) => expect(placed(view, req)).toEqual(expected));

  it("draws uniformly for what needs nothing", () => {
    const view = viewOf({ nodeId: "a", total: { CPU: 1 }, used: { CPU: 1 } }, { nodeId: "b", total: { CPU: 9 } });
    const counts = placed(view, request({}, { count: 1000 }));
    expect(counts["a"]).toBeGreaterThan(400);
    expect(counts["b"]).toBeGreaterThan(400);
  });
});

describe("spread", () => {
  it("goes round, passing over full nodes, and goes on from its cursor", () => {
    const view = viewOf({ nodeId: "a", total: { CPU: 2 } }, { nodeId: "b", total: { CPU: 2 }, used: { CPU: 2 } }, { nodeId: "c", total: { CPU: 2 } });
    const strategy: Strategy = { kind: "spread" };
    const first = place(view, request({ CPU: 1 }, { strategy }), new SeededRandom(1));
    expect(first.placements).toEqual([{ nodeId: "a", count: 1 }]);
    const second = place(view, request({ CPU: 1 }, { strategy, spreadCursor: first.spreadCursor }), new SeededRandom(1));
    expect(second.placements).toEqual([{ nodeId: "c", count: 1 }]);
    expect(placed(view, request({ CPU: 1 }, { strategy, count: 9, spreadCursor: second.spreadCursor }))).toEqual({ a: 2, c: 2 });
  });
});

describe("node affinity", () => {
  const view = viewOf({ nodeId: "a", total: { CPU: 1 } }, { nodeId: "b", total: { CPU: 4 } });
  const affinity = (nodeId: string, soft: boolean): Strategy => ({ kind: "nodeAffinity", nodeId, soft });
  it("hard: that node or none", () => {
    expect(placed(view, request({ CPU: 1 }, { strategy: affinity("a", false), count: 3 }))).toEqual({ a: 1 });
    expect(why(view, request({ CPU: 2 }, { strategy: affinity("a", false) }))).toEqual({
      infeasible: true,
      unschedulable: false,
      detail: "on node a, to which the affinity is hard: no node has 2 CPU (most: 1)",
    });
  });
  it("hard to a dead or unknown node: never", () => {
    const gone = viewOf({ nodeId: "a", total: { CPU: 1 } }, { nodeId: "b", total: { CPU: 4 } });
    gone.remove("b");
    expect(why(gone, request({ CPU: 1 }, { strategy: affinity("b", false) }))).toMatchObject({
      unschedulable: true,
      infeasible: true,
      detail: "node b is dead and the affinity to it is hard",
    });
    expect(why(gone, request({ CPU: 1 }, { strategy: affinity("z", false) }))).toMatchObject({
      unschedulable: true,
      detail: expect.stringContaining("unknown") as string,
    });
  });
  it("soft: goes on elsewhere", () => {
    expect(placed(view, request({ CPU: 1 }, { strategy: affinity("a", true), count: 3 }))).toEqual({ a: 1, b: 2 });
    expect(placed(view, request({ CPU: 1 }, { strategy: affinity("gone", true) }))).toEqual({ b: 1 });
  });
});

describe("labels and reasons", () => {
  const view = viewOf(
    { nodeId: "a", total: { CPU: 4 }, labels: { zone: "a", tier: "1" } },
    { nodeId: "b", total: { CPU: 4, GPU: 1 }, labels: { zone: "b" } },
    { nodeId: "c", total: { CPU: 2 }, used: { CPU: 2 }, labels: {} },
  );
  it.each([
    [{ zone: "a" }, ["a"]],
    [{ zone: "!a" }, ["b", "c"]],
    [{ zone: "in(a, b)" }, ["a", "b"]],
    [{ zone: "!in(a,b)" }, ["c"]],
    [{ zone: "in(a,b)", tier: "!1" }, ["b"]],
  ])("%j", (labelSelector, expected) => {
    expect(Object.keys(placed(view, request({}, { labelSelector, count: 500 }))).sort()).toEqual(expected);
  });
  it("refuses what it cannot read", () => {
    for (const text of ["", "in(", "in()", "a b", "!", "in(a,,b)"]) {
      expect(() => place(view, request({}, { labelSelector: { zone: text } }), new SeededRandom(1))).toThrow(/label selector zone=/);
    }
  });
  it.each<[Record<string, number>, Record<string, string>, boolean, string]>([
    [{ TPU: 1 }, {}, true, "no node has TPU"],
    [{ GPU: 2 }, {}, true, "no node has 2 GPU (most: 1)"],
    [{ CPU: 5, TPU: 1 }, {}, true, "no node has 5 CPU (most: 4); no node has TPU"],
    [{ GPU: 1 }, { zone: "a" }, true, "no node with these labels has GPU"],
    [{ CPU: 1 }, { zone: "q" }, true, "label zone=q on 0 of 3 nodes"],
    [{ CPU: 1 }, { zone: "b", tier: "1" }, true, "labels tier=1, zone=b together on 0 of 3 nodes"],
    [{ CPU: 2 }, { zone: "!in(a,b)" }, false, "1 node lacks CPU"],
    [{ CPU: 1 }, { zone: "a" }, false, ""],
  ])("%j with %j → %s, '%s'", (resources, labelSelector, infeasible, detail) => {
    expect(why(view, request(resources, { labelSelector }))).toEqual({ infeasible, unschedulable: false, detail });
  });
  it("says that there is no node", () => expect(why(new ClusterView(), request({}))).toMatchObject({ infeasible: true, detail: "no node is alive" }));
  it("says that no single node has it together", () => {
    const apart = viewOf({ nodeId: "a", total: { CPU: 4 } }, { nodeId: "b", total: { GPU: 1 } });
    expect(why(apart, request({ CPU: 1, GPU: 1 }))).toMatchObject({ infeasible: true, detail: "no single node has {CPU: 1, GPU: 1}" });
  });
});

describe("properties", () => {
  const amounts = fc.record({ CPU: fc.integer({ min: 0, max: 8 }), GPU: fc.integer({ min: 0, max: 2 }) });
  const nodes = fc.array(fc.record({ total: amounts, used: amounts, zone: fc.constantFrom("a", "b"), wait: fc.integer({ min: 0, max: 50 }) }), {
    maxLength: 6,
  });
  const strategies = fc.constantFrom<Strategy>(
    { kind: "default" },
    { kind: "spread" },
    { kind: "random" },
    { kind: "nodeAffinity", nodeId: "n0", soft: true },
    { kind: "nodeAffinity", nodeId: "n1", soft: false },
  );
  const worlds = fc.record({
    nodes,
    strategy: strategies,
    want: amounts,
    count: fc.integer({ min: 1, max: 30 }),
    zone: fc.constantFrom("", "a", "!a"),
    local: fc.constantFrom(undefined, "n0", "n2"),
    seed: fc.nat(),
  });
  const build = (specs: { total: Record<string, number>; used: Record<string, number>; zone: string; wait: number }[]): ClusterView => {
    const view = new ClusterView();
    specs.forEach((spec, i) => {
      const total = toFixedPoint(spec.total);
      const available: Record<string, number> = {};
      for (const name in spec.total) available[name] = ((spec.total[name] as number) - (spec.used[name] ?? 0)) * 10_000; // may be debt
      view.put({
        nodeId: `n${i}`,
        raylet: "",
        bulk: "",
        total,
        available,
        labels: { zone: spec.zone },
        estimatedWaitMs: spec.wait,
        bandwidthBytesPerMs: 0,
        queued: 0,
        isHead: false,
      });
    });
    return view;
  };

  it("never over-places, is infeasible exactly when no total covers, leaves no room unused, and is deterministic", () => {
    fc.assert(
      fc.property(worlds, (w) => {
        const view = build(w.nodes);
        const resources: Resources = toFixedPoint(w.want);
        const labelSelector: Record<string, string> = w.zone === "" ? {} : { zone: w.zone };
        const req: PlaceRequest = { resources, strategy: w.strategy, labelSelector, count: w.count, localNodeId: w.local };
        const before = JSON.stringify(view.full());
        const result = place(view, req, new SeededRandom(w.seed));
        expect(place(view, req, new SeededRandom(w.seed))).toEqual(result);
        expect(JSON.stringify(view.full())).toBe(before);

        const hard = w.strategy.kind === "nodeAffinity" && !w.strategy.soft ? w.strategy.nodeId : undefined;
        const labelOk = (zone: string | undefined): boolean => (w.zone === "" ? true : w.zone === "a" ? zone === "a" : zone !== "a");
        const feasible = view
          .nodes()
          .filter((n) => (hard === undefined || n.nodeId === hard) && labelOk(n.labels["zone"]) && covers(n.total, resources));
        expect(result.infeasible).toBe(feasible.length === 0);

        const total = result.placements.reduce((sum, p) => sum + p.count, 0);
        expect(total).toBeLessThanOrEqual(w.count);
        for (const { nodeId, count } of result.placements) {
          const node = feasible.find((n) => n.nodeId === nodeId);
          let need: Resources = {};
          for (let i = 0; i < count; i++) need = add(need, resources);
          expect(node !== undefined && covers(node.available, need)).toBe(true);
        }
        if (total < w.count) {
          expect(result.detail).not.toBe("");
          for (const node of feasible) {
            let need = resources;
            for (let i = 0; i < (result.placements.find((p) => p.nodeId === node.nodeId)?.count ?? 0); i++) need = add(need, resources);
            expect(covers(node.available, need)).toBe(false);
          }
        }
      }),
      { numRuns: 500 },
    );
  });
});
