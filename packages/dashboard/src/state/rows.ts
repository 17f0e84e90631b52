// Rows of Ray's State API from the cluster's own records. Every base column is there; enum columns hold only Ray's literals.
import { type ActorInfo, ActorState, fromFixedPoint, type NodeInfo, NodeState, type WorkerInfo } from "@tray/protocol";
import type { JobDetails } from "../jobs/job-details.js";

export type Row = Readonly<Record<string, unknown>>;

export interface Resource {
  readonly idColumn: string;
  readonly filterable: readonly string[];
  /** Columns only shown with `detail`. */
  readonly detail: readonly string[];
}

export const resources = {
  nodes: { idColumn: "node_id", filterable: ["node_id", "node_ip", "is_head_node", "state", "node_name"], detail: ["start_time_ms", "end_time_ms"] },
  actors: {
    idColumn: "actor_id",
    filterable: ["actor_id", "class_name", "state", "job_id", "name", "node_id", "pid", "ray_namespace"],
    detail: ["death_cause", "is_detached", "num_restarts", "required_resources"],
  },
  workers: {
    idColumn: "worker_id",
    filterable: ["worker_id", "is_alive", "worker_type", "exit_type", "node_id", "ip", "pid"],
    detail: ["start_time_ms"],
  },
  jobs: { idColumn: "submission_id", filterable: ["job_id", "type", "status", "submission_id"], detail: [] },
} as const satisfies Record<string, Resource>;

export function nodeRow(node: NodeInfo): Row {
  return {
    node_id: node.nodeId,
    node_ip: node.host,
    is_head_node: node.isHead,
    state: node.state === NodeState.ALIVE ? "ALIVE" : "DEAD",
    state_message: node.deathReason || null,
    node_name: node.nodeName,
    resources_total: fromFixedPoint(node.total?.amounts ?? {}),
    labels: node.labels,
    start_time_ms: Math.floor(node.startWallMs),
    end_time_ms: Math.floor(node.endWallMs),
  };
}

const actorStates: Readonly<Record<number, string>> = {
  [ActorState.DEPENDENCIES_UNREADY]: "DEPENDENCIES_UNREADY",
  [ActorState.PENDING_CREATION]: "PENDING_CREATION",
  [ActorState.ALIVE]: "ALIVE",
  [ActorState.RESTARTING]: "RESTARTING",
  [ActorState.DEAD]: "DEAD",
};

export function actorRow(actor: ActorInfo): Row {
  const { spec } = actor;
  return {
    actor_id: actor.actorId,
    class_name: spec?.className ?? "",
    state: actorStates[actor.state] ?? "PENDING_CREATION",
    job_id: spec?.jobId ?? "",
    name: spec?.name ?? "",
    node_id: actor.nodeId || null,
    pid: actor.pid || null,
    ray_namespace: spec?.namespace ?? "",
    death_cause: actor.deathCause === undefined ? null : { code: actor.deathCause.code, message: actor.deathCause.message },
    is_detached: spec?.detached ?? false,
    num_restarts: actor.numRestarts,
    required_resources: fromFixedPoint(spec?.lifetimeResources?.amounts ?? {}),
  };
}

export function workerRow(worker: WorkerInfo, ip: string): Row {
  return {
    worker_id: worker.workerId,
    is_alive: true,
    worker_type: worker.kind === "driver" ? "DRIVER" : "WORKER",
    exit_type: null,
    node_id: worker.nodeId,
    ip,
    pid: worker.pid,
    start_time_ms: Math.floor(worker.startWallMs),
  };
}

export const jobRow = (job: JobDetails): Row => ({ ...job });
