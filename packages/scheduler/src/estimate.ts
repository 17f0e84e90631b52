// Estimated wait (Moritz et al., OSDI'18, §4.2.2): queued work ahead × mean duration, plus the bytes that must come ÷ bandwidth.
import { type ClassLoad, type Resources, timesFits } from "@tray/protocol";
import type { NodeSnapshot } from "./cluster-view.js";

/** Taken for tasks that were never measured. */
const unknownTaskMs = 10;
/** Taken for nodes that never transferred: a quiet gigabit link. */
const unknownBandwidthBytesPerMs = 100_000;

/** How long what waits on a node will keep it busy: per class, queue × mean ÷ how many of the class run there at once. */
export function queuedWorkMs(load: readonly ClassLoad[], total: Resources): number {
  let sum = 0;
  for (const { shape, queued, meanTaskMs, infeasible } of load) {
    if (infeasible || queued === 0) continue;
    const parallel = timesFits(total, shape?.amounts ?? {});
    if (!Number.isFinite(parallel) || parallel < 1) continue;
    sum += (queued * (meanTaskMs > 0 ? meanTaskMs : unknownTaskMs)) / parallel;
  }
  return sum;
}

/** Time until `node` has the arguments' bytes that it lacks. */
export function transferMs(node: NodeSnapshot, argBytesByNode: Readonly<Record<string, number>> | undefined): number {
  if (argBytesByNode === undefined) return 0;
  let whole = 0;
  for (const nodeId in argBytesByNode) whole += argBytesByNode[nodeId] as number;
  const missing = whole - (argBytesByNode[node.nodeId] ?? 0);
  return missing / (node.bandwidthBytesPerMs > 0 ? node.bandwidthBytesPerMs : unknownBandwidthBytesPerMs);
}

export const estimatedWaitMs = (node: NodeSnapshot, argBytesByNode: Readonly<Record<string, number>> | undefined): number =>
  node.estimatedWaitMs + transferMs(node, argBytesByNode);
