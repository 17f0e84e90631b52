// place: one request against one view. Pure: the same view, request and random draws give the same answer.
//
// Invariants
//   P1. What is placed on a node fits into what it has available, all placements of the request together.
//   P2. `infeasible` exactly when no living node that the strategy admits covers the request with its total and its labels.
import { invariant, type Random } from "@tray/common";
import type { Resources } from "@tray/protocol";
import { type Candidate, candidatesOf } from "./candidate.js";
import type { ClusterView, NodeSnapshot } from "./cluster-view.js";
import { type LabelCondition, parseLabelSelector } from "./label-selector.js";
import { hybrid } from "./policy/hybrid.js";
import { nodeAffinity } from "./policy/node-affinity.js";
import type { Policy } from "./policy/policy.js";
import { uniform } from "./policy/random.js";
import { spread } from "./policy/spread.js";
import { whyBusy, whyInfeasible } from "./rejection.js";
import type { PlaceRequest, PlaceResult, Strategy } from "./request.js";

/** Workers placed by one call; the rest of a larger request waits for the next. */
const placedPerCallMax = 4096;

const policies: Record<Strategy["kind"], Policy> = { default: hybrid, spread, random: uniform, nodeAffinity };

/** @throws INVALID_ARGUMENT for a label selector that cannot be read. */
export function place(view: ClusterView, request: PlaceRequest, random: Random): PlaceResult {
  const labels = parseLabelSelector(request.labelSelector);
  const cursor = request.spreadCursor ?? 0;
  const unschedulable = whyUnschedulable(view, request.strategy);
  if (unschedulable !== undefined) return { placements: [], infeasible: true, unschedulable: true, detail: unschedulable, spreadCursor: cursor };

  const admitted = admittedNodes(view, request.strategy);
  const candidates = candidatesOf(admitted, request.resources, labels);
  if (candidates.length === 0)
    return { placements: [], infeasible: true, unschedulable: false, detail: infeasibleDetail(admitted, request, labels), spreadCursor: cursor };

  for (const candidate of candidates) if (request.avoidNodeIds?.includes(candidate.node.nodeId) === true) candidate.room = 0;
  const wanted = Math.min(request.count, placedPerCallMax);
  const choose = policyFor(request)(candidates, request, random);
  let placed = 0;
  let last: Candidate | undefined;
  for (; placed < wanted; placed++) {
    const candidate = choose();
    if (candidate === undefined) break;
    invariant(candidate.room >= 1, "a policy chose a node without room"); // P1
    candidate.room--;
    candidate.placed++;
    last = candidate;
  }
  return {
    placements: candidates.filter((c) => c.placed > 0).map((c) => ({ nodeId: c.node.nodeId, count: c.placed })),
    infeasible: false,
    unschedulable: false,
    detail: placed < request.count ? busyDetail(candidates, request) : "",
    spreadCursor: request.strategy.kind === "spread" && last !== undefined ? candidates.indexOf(last) + 1 : cursor,
  };
}

/** What needs nothing has no better node by any measure of load: draw. */
function policyFor(request: PlaceRequest): Policy {
  const anywhere = request.strategy.kind === "default" && request.localNodeId === undefined && Object.keys(request.resources).length === 0;
  return anywhere ? uniform : policies[request.strategy.kind];
}

function admittedNodes(view: ClusterView, strategy: Strategy): readonly NodeSnapshot[] {
  if (strategy.kind !== "nodeAffinity" || strategy.soft) return view.nodes();
  const node = view.get(strategy.nodeId);
  return node === undefined ? [] : [node];
}

function whyUnschedulable(view: ClusterView, strategy: Strategy): string | undefined {
  if (strategy.kind !== "nodeAffinity" || strategy.soft || view.get(strategy.nodeId) !== undefined) return undefined;
  return `node ${strategy.nodeId} is ${view.isDead(strategy.nodeId) ? "dead" : "unknown"} and the affinity to it is hard`;
}

function infeasibleDetail(nodes: readonly NodeSnapshot[], request: PlaceRequest, labels: readonly LabelCondition[]): string {
  const why = whyInfeasible(nodes, request.resources, labels);
  return request.strategy.kind === "nodeAffinity" && !request.strategy.soft
    ? `on node ${request.strategy.nodeId}, to which the affinity is hard: ${why}`
    : why;
}

function busyDetail(candidates: readonly Candidate[], request: PlaceRequest): string {
  const lacking = whyBusy(
    candidates.map((candidate) => leftOn(candidate, request.resources)),
    request.resources,
  );
  return lacking !== "" ? lacking : "more was asked for than is placed at once, or the nodes with room are avoided";
}

function leftOn(candidate: Candidate, resources: Resources): Resources {
  const left: Record<string, number> = {};
  for (const name in resources) left[name] = (candidate.node.available[name] ?? 0) - candidate.placed * (resources[name] as number);
  return left;
}
