// Nodes as they speak to us.
import { type Clock, type Logger, TrayError } from "@tray/common";
import { type JobInfo, type NodeInfo, NodeService } from "@tray/protocol";
import type { ActorsCore } from "../actors/core.js";
import type { ActorStep } from "../actors/step.js";
import type { Cascade } from "../cascade.js";
import { type GcsHandlers, required } from "../handlers.js";
import type { JobsCore } from "../jobs/core.js";
import type { PubSubHub } from "../pubsub/hub.js";
import type { Journal } from "../storage/journal.js";
import type { RecordTable } from "../storage/record-table.js";
import type { ViewPublisher } from "../view/publisher.js";
import type { NodesCore } from "./core.js";
import type { NodeLinks } from "./links.js";

export interface NodeServiceOptions {
  nodes: NodesCore;
  jobs: JobsCore;
  actors: ActorsCore;
  table: RecordTable<NodeInfo>;
  journal: Journal;
  links: NodeLinks;
  hub: PubSubHub;
  publisher: ViewPublisher;
  cascade: Cascade;
  clock: Clock;
  logger: Logger;
  applyActors: (step: ActorStep) => void;
  identity: { clusterId: string; sessionName: string; systemConfigJson: string };
  jobEchoMs: number;
}

export function nodeHandlers(o: NodeServiceOptions): Pick<GcsHandlers, "registerNode" | "unregisterNode" | "heartbeat" | "workerDied"> {
  const died = (nodeId: string): TrayError => {
    const reason = o.nodes.get(nodeId)?.info.deathReason ?? "";
    return new TrayError("NODE_DIED", `node ${nodeId} was declared dead${reason === "" ? "" : `: ${reason}`}`, {
      hint: "start the node anew; it gets another id",
      details: { nodeId },
    });
  };

  /** What a raylet that comes (back) may have missed. Leaves after the reply to its registration. */
  const catchUp = (nodeId: string): void => {
    const sinceWallMs = o.clock.wallMs() - o.jobEchoMs;
    const recent = (job: JobInfo): boolean => job.finished && job.endWallMs >= sinceWallMs;
    for (const job of o.jobs.all().filter(recent)) o.cascade.tellFinished(nodeId, job);
    o.applyActors(o.actors.resume(nodeId));
  };

  return {
    registerNode: async ({ node }, { session }) => {
      const wanted = required(node, "node");
      const registered = o.nodes.register(wanted, o.clock.now(), o.clock.wallMs());
      if (registered === undefined) throw died(wanted.nodeId);
      const { info, changed } = registered;
      if (changed) o.table.put(info.nodeId, info);
      await o.journal.durable();
      const record = o.nodes.get(info.nodeId);
      if (record === undefined || !o.nodes.isAlive(info.nodeId)) throw died(info.nodeId);
      if (changed) {
        o.logger.info("node registered", { nodeId: info.nodeId, nodeName: info.nodeName, raylet: info.raylet });
        o.hub.publish("nodes", { $case: "node", value: info });
      }
      o.publisher.update(info, record.heartbeat);
      if (o.links.attach(info.nodeId, session)) o.clock.endOfTurn(() => catchUp(info.nodeId));
      return { ...o.identity, view: o.publisher.view.full() };
    },

    unregisterNode: async ({ nodeId, reason }) => {
      o.cascade.nodeDied(nodeId, reason === "" ? "it was stopped" : reason);
      await o.journal.durable();
      return {};
    },

    heartbeat: (heartbeat, { session }) => {
      const answer = o.nodes.heartbeat(heartbeat, o.clock.now(), o.clock.wallMs());
      const record = o.nodes.get(heartbeat.nodeId);
      if (answer === "taken" && record !== undefined) o.publisher.update(record.info, heartbeat);
      else if (answer === "dead") session.client(NodeService).declaredDead({ nodeId: heartbeat.nodeId, reason: record?.info.deathReason ?? "" });
      else o.logger.warn("heartbeat of a node that never registered", { nodeId: heartbeat.nodeId });
    },

    workerDied: async (report) => {
      const exit = required(report.exit, "exit");
      if (report.actorId !== "") o.applyActors(o.actors.workerDied(report));
      o.cascade.workerDied(exit, report.wasDriver);
      await o.journal.durable();
      return {};
    },
  };
}
