// NodePlan: everything a supervisor needs to run the daemons of one node. Written to plan.json; what a later `tray start`, `stop` or `status` reads too.
import { resolve } from "node:path";
import type { DashboardProcessConfig, GcsProcessConfig, RayletProcessConfig } from "@tray/protocol";
import type { Environment } from "./auth-token.js";
import { addressFileOf, type DaemonName, logFileOf, type NodeLayout } from "./layout.js";

/** Command lines: [executable, …arguments]. */
export interface Commands {
  readonly "gcs-server": readonly string[];
  readonly raylet: readonly string[];
  readonly dashboard: readonly string[];
  readonly worker: readonly string[];
  readonly jobSupervisor: readonly string[];
  readonly supervisor: readonly string[];
}

export interface NodePlan {
  readonly sessionName: string;
  readonly dataDir: string;
  readonly nodeName: string;
  readonly isHead: boolean;
  readonly commands: Commands;
  readonly gcs?: GcsProcessConfig;
  /** `gcsAddress` is filled in by the supervisor when the plan has a GCS with port 0. */
  readonly raylet: RayletProcessConfig;
  readonly dashboard?: DashboardProcessConfig;
  /** End everything when the process that started the supervisor is gone (its end of fd 3 closed). */
  readonly endWithStarter: boolean;
  readonly startTimeoutMs: number;
  /** How long a daemon may take to end before it is killed. */
  readonly stopGraceMs: number;
}

/** What a user may say about a node; everything absent has a default. */
export interface NodeOptions {
  readonly node: NodeLayout;
  readonly commands: Commands;
  readonly tokenFile?: string | undefined;
  readonly tlsDir?: string | undefined;
  readonly logLevel?: "debug" | "info" | "warn" | "error" | undefined;
  /** Host under which others reach this node. */
  readonly nodeIp: string;
  /** Host to bind rpc and bulk listeners to. */
  readonly bindHost: string;
  readonly numCpus?: number | undefined;
  readonly numGpus?: number | undefined;
  readonly memoryBytes?: number | undefined;
  readonly objectStoreBytes?: number | undefined;
  readonly resources?: Readonly<Record<string, number>> | undefined;
  readonly labels?: Readonly<Record<string, string>> | undefined;
  readonly spillDirs?: readonly string[] | undefined;
  readonly systemConfig?: Readonly<Record<string, unknown>> | undefined;
  /** Port of this node's metrics; 0 picks one. Absent: none. */
  readonly metricsPort?: number | undefined;
  readonly watchPid?: number | undefined;
  readonly endWithStarter: boolean;
  readonly startTimeoutMs: number;
  readonly stopGraceMs: number;
}

export interface HeadOptions {
  /** 0 picks a free port. */
  readonly port: number;
  readonly dashboard?: { readonly host: string; readonly port: number } | undefined;
}

export function planNode(options: NodeOptions, role: { readonly head: HeadOptions } | { readonly gcsAddress: string }): NodePlan {
  const { node } = options;
  const common = (daemon: DaemonName) => ({
    sessionDir: node.session.dir,
    sessionName: node.session.name,
    logFile: logFileOf(node, daemon),
    logLevel: options.logLevel ?? ("info" as const),
    addressFile: addressFileOf(node, daemon),
    ...(options.tokenFile === undefined ? {} : { tokenFile: options.tokenFile }),
    ...(options.tlsDir === undefined ? {} : { tlsDir: options.tlsDir }),
    ...(options.watchPid === undefined ? {} : { watchPid: options.watchPid }),
    systemConfig: options.systemConfig ?? {},
  });
  const head = "head" in role ? role.head : undefined;
  const gcsAddress = "gcsAddress" in role ? role.gcsAddress : `${options.nodeIp}:${role.head.port}`;
  const resources: Record<string, number> = { ...options.resources };
  if (options.numCpus !== undefined) resources["CPU"] = options.numCpus;
  if (options.numGpus !== undefined) resources["GPU"] = options.numGpus;
  if (options.memoryBytes !== undefined) resources["memory"] = options.memoryBytes;
  return {
    sessionName: node.session.name,
    dataDir: node.session.dataDir,
    nodeName: node.nodeName,
    isHead: head !== undefined,
    commands: options.commands,
    ...(head === undefined
      ? {}
      : {
          gcs: {
            ...common("gcs-server"),
            listen: `${options.bindHost}:${head.port}`,
            advertiseHost: options.nodeIp,
            tablesDir: node.session.tablesDir,
          },
        }),
    raylet: {
      ...common("raylet"),
      gcsAddress,
      bindHost: options.bindHost,
      advertiseHost: options.nodeIp,
      port: 0,
      bulkPort: 0,
      ...(options.metricsPort === undefined ? {} : { metricsPort: options.metricsPort }),
      nodeName: node.nodeName,
      isHead: head !== undefined,
      resources,
      labels: options.labels ?? {},
      ...(options.objectStoreBytes === undefined ? {} : { objectStoreBytes: options.objectStoreBytes }),
      shmDir: node.shmDir,
      spillDirs: spillDirsOf(options),
      workerCommand: options.commands.worker,
      jobSupervisorCommand: options.commands.jobSupervisor,
    },
    ...(head?.dashboard === undefined
      ? {}
      : {
          dashboard: {
            ...common("dashboard"),
            gcsAddress,
            httpHost: head.dashboard.host,
            httpPort: head.dashboard.port,
            jobsDir: node.session.jobsDir,
          },
        }),
    endWithStarter: options.endWithStarter,
    startTimeoutMs: options.startTimeoutMs,
    stopGraceMs: options.stopGraceMs,
  };
}

/** The flag, else the setting, else the node's own directory. */
function spillDirsOf({ spillDirs, systemConfig, node }: NodeOptions): string[] {
  const setting = systemConfig?.["objectSpillingDirectory"];
  const given = spillDirs ?? (typeof setting === "string" ? [setting] : Array.isArray(setting) ? (setting as string[]) : []);
  if (given.length === 0) return [`${node.dir}/spill`];
  return given.map((place) => (place.includes("://") ? place : resolve(place)));
}

/** Command lines of the bundles in `binDir` (packages/tray/dist/bin), run by this Node. */
export function commandsIn(binDir: string, execPath: string): Commands {
  const run = (name: string, ...args: string[]): string[] => [execPath, `${binDir}/${name}.cjs`, ...args];
  return {
    "gcs-server": run("gcs-server"),
    raylet: run("raylet"),
    dashboard: run("dashboard"),
    worker: run("worker-host"),
    jobSupervisor: run("job-supervisor"),
    supervisor: run("tray", "__supervise"),
  };
}

/** Variables that belong to the starter alone: hooks of its Node, the job it runs in, the configuration it was itself given. */
const privateVariables =
  /^(NODE_OPTIONS|NODE_CHANNEL_.*|NODE_UNIQUE_ID|TRAY_PROCESS_CONFIG|TRAY_JOB_.*|TRAY_AUTH_TOKEN|TRAY_TLS_DIR|RAY_JOB_CONFIG_JSON_ENV_VAR|TRAY_ADDRESS)$/;

/** The environment of daemons (and, through the raylet, of workers). */
export function daemonEnvironment(env: Environment): Record<string, string> {
  const out: Record<string, string> = {};
  for (const [name, value] of Object.entries(env)) if (value !== undefined && !privateVariables.test(name)) out[name] = value;
  return out;
}
