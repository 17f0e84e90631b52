// RoutePolicy: where the tasks of a class may run, by their strategy, labels and arguments.
import type { Resources } from "@tray/protocol";
import { type ClusterView, isFeasible, matches, type NodeSnapshot } from "@tray/scheduler";
import { localityBytesMin, unknownNodeGraceMs } from "../limits.js";
import type { Shape } from "./shape.js";

export interface Route {
  /** "ifPlaced": only what the global scheduler says is to run here. */
  readonly here: "yes" | "no" | "ifPlaced";
  /** Other nodes that could run it if nothing else ran there. */
  readonly feasible: readonly NodeSnapshot[];
  /** It runs there or nowhere (for now): no need to ask. */
  readonly only?: NodeSnapshot;
  /** Why it can never run; `sure`, or after `graceMs` of waiting. */
  readonly never?: string;
  readonly sure: boolean;
  readonly graceMs: number;
}

export interface Here {
  readonly nodeId: string;
  readonly labels: Readonly<Record<string, string>>;
  readonly total: Resources;
}

export function routeOf(shape: Shape, here: Here, view: ClusterView, argBytesByNode: Readonly<Record<string, number>>): Route {
  const labelsFit = matches(shape.labels, here.labels);
  const others = (): NodeSnapshot[] => view.nodes().filter((node) => node.nodeId !== here.nodeId && isFeasible(node, shape.resources, shape.labels));
  const plain = { sure: false, graceMs: 0 };
  const { strategy } = shape;
  if (strategy.kind === "nodeAffinity") {
    if (strategy.nodeId === here.nodeId) {
      if (!strategy.soft) return { here: labelsFit ? "yes" : "no", feasible: [], ...plain };
      return { here: labelsFit ? "yes" : "no", feasible: others(), ...plain };
    }
    const node = view.get(strategy.nodeId);
    if (!strategy.soft) {
      if (node === undefined) {
        const dead = view.isDead(strategy.nodeId);
        return {
          here: "no",
          feasible: [],
          never: `node ${strategy.nodeId} is ${dead ? "dead" : "unknown"} and the affinity to it is hard`,
          sure: dead,
          graceMs: unknownNodeGraceMs,
        };
      }
      return isFeasible(node, shape.resources, shape.labels)
        ? { here: "no", feasible: [node], only: node, ...plain }
        : { here: "no", feasible: [], ...plain };
    }
    // Soft: the global scheduler tries that node first and any other then.
    if (node !== undefined && isFeasible(node, shape.resources, shape.labels))
      return { here: labelsFit ? "ifPlaced" : "no", feasible: others(), ...plain };
    return { here: labelsFit ? "yes" : "no", feasible: others(), ...plain };
  }
  const feasible = others();
  if (!labelsFit) return { here: "no", feasible, ...plain };
  if (feasible.length === 0) return { here: "yes", feasible, ...plain };
  if (strategy.kind === "spread" || argumentsAreElsewhere(here.nodeId, argBytesByNode, view)) return { here: "ifPlaced", feasible, ...plain };
  return { here: "yes", feasible, ...plain };
}

function argumentsAreElsewhere(nodeId: string, bytes: Readonly<Record<string, number>>, view: ClusterView): boolean {
  const mine = bytes[nodeId] ?? 0;
  for (const other in bytes) if ((bytes[other] as number) - mine >= localityBytesMin && view.get(other) !== undefined) return true;
  return false;
}
