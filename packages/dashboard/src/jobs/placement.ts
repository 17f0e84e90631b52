// Where the entrypoint of a submitted job runs: the head, unless it asks for something; then the node that offers it with most to spare.
import type { NodeStatus } from "@tray/protocol";
import { covers, NodeState, type Resources, timesFits, toFixedPoint } from "@tray/protocol";
import type { EntrypointNeeds } from "./record.js";

/** In the scheduler's units. */
export function resourcesOf(needs: EntrypointNeeds): Resources {
  return toFixedPoint({ ...needs.resources, CPU: needs.numCpus, GPU: needs.numGpus, memory: needs.memoryBytes });
}

export type Choice =
  | { readonly kind: "node"; readonly nodes: readonly NodeStatus[] }
  | { readonly kind: "wait" }
  | { readonly kind: "infeasible"; readonly detail: string };

/** Nodes to ask, best first. `infeasible`: no living node could ever take it. */
export function choosePlacement(needs: EntrypointNeeds, nodes: readonly NodeStatus[]): Choice {
  const alive = nodes.filter((n) => n.info?.state === NodeState.ALIVE);
  const wanted = resourcesOf(needs);
  const asksNothing = Object.keys(wanted).length === 0 && Object.keys(needs.labelSelector).length === 0;
  if (asksNothing) {
    const head = alive.filter((n) => n.info?.isHead);
    return head.length > 0 ? { kind: "node", nodes: head } : alive.length > 0 ? { kind: "node", nodes: alive } : { kind: "wait" };
  }
  const labelled = alive.filter((n) => matchesLabels(needs.labelSelector, n.info?.labels ?? {}));
  const feasible = labelled.filter((n) => covers(n.info?.total?.amounts ?? {}, wanted));
  if (feasible.length === 0) {
    return { kind: "infeasible", detail: labelled.length === 0 && alive.length > 0 ? "no node has the labels" : "no node has the resources" };
  }
  const free = feasible.filter((n) => covers(n.available?.amounts ?? {}, wanted));
  if (free.length === 0) return { kind: "wait" };
  const spare = (n: NodeStatus): number => timesFits(n.available?.amounts ?? {}, wanted);
  return { kind: "node", nodes: [...free].sort((a, b) => spare(b) - spare(a)) };
}

/** Values: `v`, `!v`, `in(a,b)`, `!in(a,b)`. A label that a node lacks matches only negations. */
export function matchesLabels(selector: Readonly<Record<string, string>>, labels: Readonly<Record<string, string>>): boolean {
  return Object.entries(selector).every(([key, wanted]) => {
    const negated = wanted.startsWith("!");
    const body = negated ? wanted.slice(1) : wanted;
    const list = /^in\((.*)\)$/.exec(body)?.[1];
    const values = list === undefined ? [body] : list.split(",").map((v) => v.trim());
    const has = labels[key] !== undefined && values.includes(labels[key] as string);
    return negated ? !has : has;
  });
}
