// NodeService: what the GCS asks of this node.
import { TrayError } from "@tray/common";
import type { NodeService } from "@tray/protocol";
import type { Handlers } from "@tray/rpc";
import type { Raylet } from "../raylet.js";

export function nodeHandlers(raylet: Raylet): Handlers<typeof NodeService> {
  const { actors, env } = raylet;
  return {
    viewChanged: (view) => {
      if (!raylet.view.apply(view)) return;
      for (const nodeId of view.deadNodeIds) raylet.objects.nodeDied(nodeId);
      raylet.leases.dispatch();
    },
    createActor: ({ spec, incarnation }) => {
      if (spec === undefined) throw new TrayError("INVALID_ARGUMENT", "createActor without a spec");
      actors.create(spec, incarnation);
      return {};
    },
    killActor: ({ actorId, incarnation, graceful, reason }) => {
      actors.kill(actorId, incarnation, graceful, reason);
      return {};
    },
    jobFinished: ({ jobId }) => {
      raylet.jobFinished(jobId);
      return {};
    },
    probe: () => ({}),
    declaredDead: ({ nodeId, reason }) => {
      if (nodeId !== env.node.nodeId) return;
      raylet.end(reason, new TrayError("NODE_DIED", `the cluster has given this node up: ${reason}`));
    },
  };
}
