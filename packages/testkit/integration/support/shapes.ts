// The JSON of the command line that tests read (the contract of docs: cli.md).
export interface StatusNode {
  nodeId: string;
  nodeName: string;
  address: string;
  state: "ALIVE" | "DEAD";
  isHead: boolean;
  pid: number;
  deathReason: string | null;
  idleMs: number | null;
  queued: number;
  workers: number;
  resources: { total: Record<string, number>; used: Record<string, number> };
  memory: { totalBytes: number; usedBytes: number };
  objectStore: { capacityBytes: number; usedBytes: number; spilledBytes: number };
}

export interface Status {
  sessionName: string;
  gcsAddress: string;
  dashboardUrl: string;
  version: string;
  headPid: number | null;
  gcsPid: number;
  supervisorPid: number;
  nodes: StatusNode[];
  demand: { shape: Record<string, number>; count: number; kind: string; waitCause: string; sinceMs: number; infeasible: boolean; detail: string }[];
  autoscaler: unknown;
}

export interface Listing<T> {
  items: T[];
  total: number;
  truncated: boolean;
}

export interface WorkerRow {
  workerId: string;
  nodeId: string;
  pid: number;
  kind: "worker" | "driver" | "actor";
  state: string;
  actorId: string | null;
  taskName: string | null;
  residentBytes: number;
}

export interface ActorRow {
  actorId: string;
  className: string;
  name: string;
  namespace: string;
  state: string;
  nodeId: string | null;
  pid: number | null;
  numRestarts: number;
  jobId: string;
  deathCause: { code: string; message: string } | null;
}

/** Ray's JobDetails. */
export interface JobDetails {
  type: "SUBMISSION" | "DRIVER";
  job_id: string | null;
  submission_id: string | null;
  driver_info: { id: string; node_ip_address: string; pid: string } | null;
  status: "PENDING" | "RUNNING" | "STOPPED" | "SUCCEEDED" | "FAILED";
  entrypoint: string;
  message: string | null;
  error_type: string | null;
  start_time: number | null;
  end_time: number | null;
  metadata: Record<string, string> | null;
  driver_exit_code: number | null;
  driver_node_id: string | null;
}
