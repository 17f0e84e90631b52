// What a tray process is told when it is started. The starter (CLI, `init`, a raylet) writes one of these records as JSON to a file of mode 0600 and names
// the file in the environment variable TRAY_PROCESS_CONFIG; the process reads it once, in its composition root (bin/), and nowhere else.
// Secrets travel as paths of files, never as values. Every path is absolute. `systemConfig` holds only what differs from the defaults of @tray/config.

/** Names the JSON file with the process's configuration. */
export const processConfigVariable = "TRAY_PROCESS_CONFIG";
/** A fault plan (JSON, see FaultPlan of @tray/rpc) for chaos tests; inherited by the processes that a process starts. */
export const faultPlanVariable = "TRAY_RPC_FAULTS";

/** What every daemon is told. */
export interface DaemonProcessConfig {
  /** Where this session keeps its logs, sockets and address files: "<dataDir>/session_<name>". */
  readonly sessionDir: string;
  /** "2026-11-23_01-40-12". Of raylets that join by address: taken from the GCS, and this one only names the directory. */
  readonly sessionName: string;
  /** JSON lines go here (appended); the process prints nothing. */
  readonly logFile: string;
  readonly logLevel: "debug" | "info" | "warn" | "error";
  /** Written atomically when the process serves (see ProcessAddress), removed when it ends cleanly. */
  readonly addressFile: string;
  /** File with the cluster's token; absent = no authentication. */
  readonly tokenFile?: string;
  /** Directory with ca.pem, cert.pem and key.pem; absent = no TLS. */
  readonly tlsDir?: string;
  /** Ends when this process ends (a local cluster's driver, `tray start --block`). */
  readonly watchPid?: number;
  /** Keys of SystemConfig that differ from their defaults. */
  readonly systemConfig: Readonly<Record<string, unknown>>;
  /** Fault plan, when not taken from TRAY_RPC_FAULTS. */
  readonly faults?: string;
}

export interface GcsProcessConfig extends DaemonProcessConfig {
  /** "host:port" to bind; port 0 picks a free one. */
  readonly listen: string;
  /** Host under which others reach it (the address that it publishes): an IP or a name. */
  readonly advertiseHost: string;
  /** Directory of the LMDB tables; made when missing. Outlives sessions: a GCS that finds tables here continues their cluster. */
  readonly tablesDir: string;
  /** Pid of the process that restarts daemons, for `tray status`; absent = none. */
  readonly supervisorPid?: number;
}

export interface RayletProcessConfig extends DaemonProcessConfig {
  /** "host:port" of the GCS. */
  readonly gcsAddress: string;
  /** Host to bind both listeners to. */
  readonly bindHost: string;
  /** Host under which others reach this node. */
  readonly advertiseHost: string;
  /** Port of the rpc endpoint; 0 picks one. */
  readonly port: number;
  /** Port of the bulk socket; 0 picks one. */
  readonly bulkPort: number;
  /** Port of GET /metrics, bound like the others; 0 picks one. Absent: this process serves none. */
  readonly metricsPort?: number;
  readonly nodeName?: string;
  readonly isHead: boolean;
  /** User quantities (floats): CPU, GPU, memory (bytes) and custom names. What is absent of CPU, GPU and memory is detected. */
  readonly resources: Readonly<Record<string, number>>;
  readonly labels: Readonly<Record<string, string>>;
  /** Capacity of the arena; absent = detected. */
  readonly objectStoreBytes?: number;
  /** Directory of the arena file, normally /dev/shm. */
  readonly shmDir: string;
  /** Where objects are spilled: directories (made when missing; this raylet makes its own below each), or one s3:// URI. At least one. */
  readonly spillDirs: readonly string[];
  /** Command line of a worker process: [executable, …arguments]. */
  readonly workerCommand: readonly string[];
  /** Command line of a job supervisor (startJob); it gets a JobSupervisorProcessConfig. Absent = this node runs no submitted jobs. */
  readonly jobSupervisorCommand?: readonly string[];
}

/** Given by a raylet to a worker that it spawns. */
export interface WorkerProcessConfig {
  readonly workerId: string;
  readonly nodeId: string;
  /** Ties the process to the pool's record in registerWorker. */
  readonly startToken: string;
  /** "host:port" of its raylet. */
  readonly rayletAddress: string;
  readonly gcsAddress: string;
  readonly bindHost: string;
  readonly advertiseHost: string;
  readonly sessionDir: string;
  readonly sessionName: string;
  readonly logFile: string;
  readonly logLevel: "debug" | "info" | "warn" | "error";
  readonly tokenFile?: string;
  readonly tlsDir?: string;
  /** Pid of the raylet: the worker ends at once when it is gone. */
  readonly watchPid: number;
  /** The job that this process serves first; empty = any. */
  readonly jobId: string;
  /** Canonical JSON of the runtime environment that was set up for it; empty = none. */
  readonly runtimeEnvJson: string;
  readonly systemConfig: Readonly<Record<string, unknown>>;
  readonly faults?: string;
}

export interface DashboardProcessConfig extends DaemonProcessConfig {
  readonly gcsAddress: string;
  /** Host to bind HTTP to; loopback unless the user says otherwise. */
  readonly httpHost: string;
  /** 0 picks a free port. */
  readonly httpPort: number;
  /** Where uploaded working directories and job records that are files live. */
  readonly jobsDir: string;
}

/**
 * Given by a raylet (startJob) to the job supervisor that it spawns. The supervisor ends its job's processes on SIGTERM (stopJob: with grace) and when the
 * raylet is gone; the raylet need only spawn it detached with stdio ignored, keep the resources until it exits, and forget it then.
 */
export interface JobSupervisorProcessConfig {
  readonly submissionId: string;
  /** StartJobRequest.job_json, verbatim. */
  readonly jobJson: string;
  readonly nodeId: string;
  readonly gcsAddress: string;
  /** Host under which others reach this node. */
  readonly advertiseHost: string;
  readonly bindHost: string;
  readonly sessionDir: string;
  readonly logLevel: "debug" | "info" | "warn" | "error";
  readonly tokenFile?: string;
  readonly tlsDir?: string;
  /** Pid of the raylet. */
  readonly watchPid: number;
  readonly faults?: string;
}

/** Content of an address file. */
export interface ProcessAddress {
  readonly pid: number;
  /** "host:port" that others dial; an http:// URL for the dashboard. */
  readonly address: string;
  /** Wall-clock milliseconds. */
  readonly startedAt: number;
  /** GCS: the cluster that its tables hold. */
  readonly clusterId?: string;
  /** Raylets. */
  readonly nodeId?: string;
  /** Raylets that serve metrics: an http:// or https:// URL. */
  readonly metricsUrl?: string;
}

/** Exit codes of daemons, for whoever started them (the command line's table has the rest). */
export const daemonExitCodes = {
  ok: 0,
  /** The configuration file is missing, not JSON, or wrong. */
  config: 2,
  /** The GCS could not be reached. */
  unreachable: 3,
  authentication: 4,
  /** Port taken, tables in use, or version mismatch. */
  conflict: 8,
  internal: 70,
} as const;
