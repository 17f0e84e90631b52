// The global scheduler: raylets that have no room ask where there is some.
import type { Random } from "@tray/common";
import { place, requestOf } from "@tray/scheduler";
import type { GcsHandlers } from "./handlers.js";
import type { ViewPublisher } from "./view/publisher.js";

export function schedulingHandlers(publisher: ViewPublisher, random: Random): Pick<GcsHandlers, "place"> {
  let spreadCursor = 0;
  return {
    place: ({ requirements, count, fromNodeId, argBytesByNode }) => {
      const request = { ...requestOf(requirements, count), localNodeId: fromNodeId === "" ? undefined : fromNodeId, argBytesByNode, spreadCursor };
      const result = place(publisher.view, request, random);
      spreadCursor = result.spreadCursor;
      for (const { nodeId, count: placed } of result.placements) publisher.reserve(nodeId, request.resources, placed);
      return {
        placements: result.placements.map(({ nodeId, count: placed }) => ({
          nodeId,
          count: placed,
          raylet: publisher.view.get(nodeId)?.raylet ?? "",
        })),
        infeasible: result.infeasible,
        detail: result.detail,
      };
    },
  };
}
