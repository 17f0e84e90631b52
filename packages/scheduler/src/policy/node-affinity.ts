// Node affinity: the named node; `soft` goes on to the default policy when that node has no room or is gone.
import { invariant } from "@tray/common";
import { hybrid } from "./hybrid.js";
import type { Policy } from "./policy.js";

export const nodeAffinity: Policy = (candidates, request, random) => {
  const { strategy } = request;
  invariant(strategy.kind === "nodeAffinity", "the node affinity policy is for node affinity");
  const named = candidates.find((candidate) => candidate.node.nodeId === strategy.nodeId);
  const fallback = strategy.soft ? hybrid(candidates, request, random) : () => undefined;
  return () => (named !== undefined && named.room >= 1 ? named : fallback());
};
