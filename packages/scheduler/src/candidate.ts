// Candidates: the nodes that could run a request, and how many of it each still takes. Policies choose among them; `place` counts down.
import { covers, type Resources, timesFits } from "@tray/protocol";
import type { NodeSnapshot } from "./cluster-view.js";
import { type LabelCondition, matches } from "./label-selector.js";

/** A feasible node during one placement. `room` and `placed` are this placement's own (V1). */
export interface Candidate {
  readonly node: NodeSnapshot;
  /** How many more fit into what is available. Infinity for an empty request. */
  room: number;
  placed: number;
}

/** True when the node could run it if nothing else ran there. */
export const isFeasible = (node: NodeSnapshot, resources: Resources, labels: readonly LabelCondition[]): boolean =>
  matches(labels, node.labels) && covers(node.total, resources);

export function candidatesOf(nodes: readonly NodeSnapshot[], resources: Resources, labels: readonly LabelCondition[]): Candidate[] {
  return nodes
    .filter((node) => isFeasible(node, resources, labels))
    .map((node) => ({ node, room: Math.max(0, timesFits(node.available, resources)), placed: 0 }));
}

/** Count towards a node's utilisation although not asked for. */
const always = ["CPU", "GPU", "memory"];

/** The fullest resource of the node, 0 to 1, when `extra` more of `resources` ran there. */
export function utilisation(node: NodeSnapshot, resources: Resources, extra: number): number {
  let most = 0;
  for (const name of always) most = Math.max(most, share(node, name, extra * (resources[name] ?? 0)));
  for (const name in resources) if (!always.includes(name)) most = Math.max(most, share(node, name, extra * (resources[name] as number)));
  return most;
}

function share(node: NodeSnapshot, name: string, more: number): number {
  const total = node.total[name] ?? 0;
  return total <= 0 ? 0 : (total - (node.available[name] ?? 0) + more) / total;
}
