// SPREAD: one after the other over the node ids, from where the last round ended; nodes without room are passed over.
import type { Candidate } from "../candidate.js";
import type { Policy } from "./policy.js";

export const spread: Policy = (candidates, request) => {
  let cursor = request.spreadCursor ?? 0;
  return () => {
    for (let i = 0; i < candidates.length; i++) {
      const candidate = candidates[(cursor + i) % candidates.length] as Candidate;
      if (candidate.room < 1) continue;
      cursor += i + 1;
      return candidate;
    }
    return undefined;
  };
};
