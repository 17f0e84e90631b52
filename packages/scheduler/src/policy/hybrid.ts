// The default policy (Ray's hybrid, with the OSDI'18 estimate): stay local while the local node is not the worse choice, else least
// estimated wait, else least utilised.
import { randomInt } from "@tray/common";
import { type Candidate, utilisation } from "../candidate.js";
import { estimatedWaitMs } from "../estimate.js";
import type { Policy } from "./policy.js";

/** Up to this utilisation nodes count as equally empty: work packs on the local node first. */
const spreadThreshold = 0.5;
/** A local wait longer than the best by no more than this is not worth a hop. */
const localToleranceMs = 2;
/** Estimates closer than this are equal. */
const waitResolutionMs = 1;

interface Ranked {
  readonly candidate: Candidate;
  readonly waitMs: number;
  /** CPU-only work on a GPU node: last among equals, so that GPU work finds room. */
  readonly wastesGpu: boolean;
  utilisation: number;
}

export const hybrid: Policy = (candidates, request, random) => {
  const rank = (candidate: Candidate): number => utilisation(candidate.node, request.resources, candidate.placed + 1);
  const wantsGpu = (request.resources["GPU"] ?? 0) > 0;
  const ranked: Ranked[] = candidates.map((candidate) => ({
    candidate,
    waitMs: Math.floor(estimatedWaitMs(candidate.node, request.argBytesByNode) / waitResolutionMs),
    wastesGpu: !wantsGpu && (candidate.node.total["GPU"] ?? 0) > 0,
    utilisation: rank(candidate),
  }));
  const local = ranked.find((r) => r.candidate.node.nodeId === request.localNodeId);
  const score = (r: Ranked): number => (r.utilisation <= spreadThreshold ? 0 : r.utilisation);

  return () => {
    let best: Ranked[] = [];
    let leastScore = Number.POSITIVE_INFINITY;
    for (const r of ranked) {
      if (r.candidate.room < 1) continue;
      leastScore = Math.min(leastScore, score(r));
      const order = best[0] === undefined ? -1 : compare(r, best[0]);
      if (order < 0) best = [r];
      else if (order === 0) best.push(r);
    }
    if (best[0] === undefined) return undefined;
    const stay = local !== undefined && local.candidate.room >= 1 && score(local) <= leastScore && local.waitMs <= best[0].waitMs + localToleranceMs;
    const chosen = stay ? local : (best[best.length === 1 ? 0 : randomInt(random, best.length)] as Ranked);
    chosen.utilisation = utilisation(chosen.candidate.node, request.resources, chosen.candidate.placed + 2); // as it will be for the next one
    return chosen.candidate;
  };
};

function compare(a: Ranked, b: Ranked): number {
  if (a.waitMs !== b.waitMs) return a.waitMs - b.waitMs;
  if (a.wastesGpu !== b.wastesGpu) return a.wastesGpu ? 1 : -1;
  return a.utilisation - b.utilisation;
}
