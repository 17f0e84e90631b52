import { dashboardUrlKey, internalNamespace, type NodeStatus } from "@tray/protocol";
import type { ActorsCore } from "../actors/core.js";
import type { GcsHandlers } from "../handlers.js";
import type { KvTable } from "../kv/table.js";
import type { NodeRecord, NodesCore } from "../nodes/core.js";
import type { Journal } from "../storage/journal.js";
import { foldDemand } from "./demand.js";

export interface StatusOptions {
  nodes: NodesCore;
  actors: ActorsCore;
  kv: KvTable;
  journal: Journal;
  about: () => {
    clusterId: string;
    sessionName: string;
    sessionDir: string;
    version: string;
    nodeVersion: string;
    gcsPid: number;
    gcsAddress: string;
    supervisorPid: number;
    startWallMs: number;
  };
}

export function statusHandlers(o: StatusOptions): Pick<GcsHandlers, "status" | "listNodes"> {
  return {
    status: async () => {
      await o.journal.durable();
      const records = o.nodes.all();
      const waiting = o.actors.waiting().flatMap((actorId) => o.actors.get(actorId)?.info ?? []);
      const dashboardUrl = o.kv.get(internalNamespace, dashboardUrlKey);
      return {
        ...o.about(),
        dashboardUrl: dashboardUrl === undefined ? "" : Buffer.from(dashboardUrl).toString("utf8"),
        nodes: records.map(statusOf),
        demand: foldDemand(
          records.flatMap((record) => record.heartbeat?.load ?? []),
          waiting,
        ),
      };
    },
    listNodes: async () => {
      await o.journal.durable();
      return { nodes: o.nodes.all().map((record) => record.info) };
    },
  };
}

function statusOf({ info, heartbeat, lastHeardWallMs }: NodeRecord): NodeStatus {
  return {
    info,
    available: heartbeat?.available,
    workers: heartbeat?.workers ?? 0,
    queued: (heartbeat?.load ?? []).reduce((sum, load) => sum + load.queued, 0),
    usedMemoryBytes: heartbeat?.usedMemoryBytes ?? 0,
    totalMemoryBytes: heartbeat?.totalMemoryBytes ?? 0,
    objectStoreUsed: heartbeat?.objectStoreUsed ?? 0,
    objectStoreSpilled: heartbeat?.objectStoreSpilled ?? 0,
    idleSinceWallMs: heartbeat?.idleSinceWallMs ?? 0,
    lastHeartbeatWallMs: lastHeardWallMs,
  };
}
