// Why something was not placed, in one sentence for people. Every waiting thing carries it.
import { formatResources, type Resources, resourceUnit } from "@tray/protocol";
import type { NodeSnapshot } from "./cluster-view.js";
import { holds, type LabelCondition, matches } from "./label-selector.js";

/** For a request that no node of `nodes` could ever run. */
export function whyInfeasible(nodes: readonly NodeSnapshot[], resources: Resources, labels: readonly LabelCondition[]): string {
  if (nodes.length === 0) return "no node is alive";
  const reasons: string[] = [];
  for (const condition of labels) {
    const count = nodes.filter((node) => holds(condition, node.labels)).length;
    if (count === 0) reasons.push(`label ${condition.text} on 0 of ${nodes.length} nodes`);
  }
  const labelled = nodes.filter((node) => matches(labels, node.labels));
  if (labelled.length === 0)
    return reasons.length > 0 ? reasons.join("; ") : `labels ${labels.map((l) => l.text).join(", ")} together on 0 of ${nodes.length} nodes`;
  for (const name of Object.keys(resources).sort()) {
    const want = resources[name] as number;
    const most = Math.max(...labelled.map((node) => node.total[name] ?? 0));
    if (most >= want) continue;
    const where = labels.length > 0 ? "no node with these labels" : "no node";
    reasons.push(most === 0 ? `${where} has ${name}` : `${where} has ${want / resourceUnit} ${name} (most: ${most / resourceUnit})`);
  }
  if (reasons.length === 0) reasons.push(`no single node has ${formatResources(resources)}`);
  return reasons.join("; ");
}

/** For a request that some node could run, but none (more) can now. `available`: what is left on each of the feasible nodes. */
export function whyBusy(available: readonly Resources[], resources: Resources): string {
  const lacking = new Map<string, number>();
  for (const left of available) {
    for (const name in resources) if ((left[name] ?? 0) < (resources[name] as number)) lacking.set(name, (lacking.get(name) ?? 0) + 1);
  }
  return [...lacking]
    .sort(([a, m], [b, n]) => n - m || (a < b ? -1 : 1))
    .map(([name, count]) => (count === 1 ? `1 node lacks ${name}` : `${count} nodes lack ${name}`))
    .join("; ");
}
