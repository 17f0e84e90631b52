import type { NodeViewEntry } from "@tray/protocol";
import { ClusterView } from "./cluster-view.js";
import { queuedWorkMs } from "./estimate.js";

const entry = (nodeId: string, cpu: number): NodeViewEntry => ({
  nodeId,
  raylet: `${nodeId}:1`,
  bulk: "",
  total: { amounts: { CPU: cpu } },
  available: { amounts: { CPU: cpu } },
  labels: {},
  estimatedWaitMs: 0,
  bandwidthBytesPerMs: 0,
  queued: 0,
  isHead: false,
});

describe("ClusterView", () => {
  it("applies deltas in order and ignores old ones", () => {
    const view = new ClusterView();
    expect(view.apply({ version: 5, full: true, entries: [entry("a", 1), entry("b", 1)], deadNodeIds: [] })).toBe(true);
    expect(view.apply({ version: 6, full: false, entries: [entry("b", 2)], deadNodeIds: ["a"] })).toBe(true);
    expect(view.apply({ version: 6, full: false, entries: [entry("b", 3)], deadNodeIds: [] })).toBe(false);
    expect(view.nodes().map((n) => [n.nodeId, n.total["CPU"]])).toEqual([["b", 2]]);
  });
  it("lets no node come back, also after a restart of the GCS with lower versions", () => {
    const view = new ClusterView();
    view.apply({ version: 9, full: true, entries: [entry("a", 1)], deadNodeIds: [] });
    view.remove("a");
    view.apply({ version: 2, full: true, entries: [entry("a", 1), entry("c", 1)], deadNodeIds: [] });
    expect([view.version, view.isDead("a"), view.nodes().map((n) => n.nodeId)]).toEqual([2, true, ["c"]]);
  });
  it("round-trips through a message", () => {
    const view = new ClusterView();
    view.apply({ version: 9, full: true, entries: [entry("b", 1), entry("a", 2)], deadNodeIds: ["x"] });
    const copy = new ClusterView();
    copy.apply(view.full());
    expect(copy.full()).toEqual(view.full());
  });
});

describe("queuedWorkMs", () => {
  const load = { shape: { amounts: { CPU: 10_000 } }, queued: 40, meanTaskMs: 100, wait: undefined, infeasible: false, kind: "task" };
  it("divides a queue by what runs at once", () => expect(queuedWorkMs([load], { CPU: 40_000 })).toBe(1000));
  it("leaves out what can never run here", () =>
    expect(
      queuedWorkMs(
        [
          { ...load, infeasible: true },
          { ...load, shape: { amounts: { GPU: 1 } } },
        ],
        { CPU: 40_000 },
      ),
    ).toBe(0));
});
