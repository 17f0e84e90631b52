// Any node with room, uniformly: for what needs no resources, where no node is better than another.
import { randomInt } from "@tray/common";
import type { Policy } from "./policy.js";

export const uniform: Policy = (candidates, _request, random) => () => {
  const open = candidates.filter((candidate) => candidate.room >= 1);
  return open.length === 0 ? undefined : open[randomInt(random, open.length)];
};
