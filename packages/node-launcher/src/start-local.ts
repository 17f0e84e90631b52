// A cluster for one driver: head and node on loopback with free ports, which ends with the process that started it, however that dies.
import type { Clock, Random } from "@tray/common";
import { type Environment, newToken, writeTokenFile } from "./auth-token.js";
import { defaultDataDir, makeNodeDirs, newSessionName, nodeLayout, sessionLayout } from "./layout.js";
import { commandsIn, planNode } from "./plan.js";
import { sweepDeadNodes } from "./leftovers.js";
import { type KeepSessions, removeOldSessions } from "./old-sessions.js";
import { startNode } from "./start-node.js";
import { liveSessionNames, removeStaleArenas } from "./stop.js";

export interface LocalClusterOptions {
  /** Directory of the daemons' bundles: packages/tray/dist/bin. */
  readonly binDir: string;
  readonly execPath: string;
  readonly env: Environment;
  readonly clock: Clock;
  readonly random: Random;
  /** Pid of the driver: daemons end with it even when their supervisor was killed. */
  readonly pid: number;
  /** Default /tmp/tray, or TRAY_DATA_DIR. */
  readonly dataDir?: string | undefined;
  readonly numCpus?: number | undefined;
  readonly numGpus?: number | undefined;
  readonly memoryBytes?: number | undefined;
  readonly objectStoreBytes?: number | undefined;
  readonly resources?: Readonly<Record<string, number>> | undefined;
  readonly labels?: Readonly<Record<string, string>> | undefined;
  readonly spillDirs?: readonly string[] | undefined;
  /** Default false. */
  readonly dashboard?: boolean | undefined;
  /** How much of ended clusters stays on disk. */
  readonly history: Pick<KeepSessions, "sessionsMax" | "ageMaxMs">;
  readonly systemConfig?: Readonly<Record<string, unknown>> | undefined;
  readonly logLevel?: "debug" | "info" | "warn" | "error" | undefined;
  /** Default 30 000. */
  readonly startTimeoutMs?: number | undefined;
}

export interface LocalClusterHandle {
  readonly gcsAddress: string;
  readonly rayletAddress: string;
  readonly nodeId: string;
  readonly dashboardUrl: string | undefined;
  readonly sessionDir: string;
  readonly sessionName: string;
  /** The token that this cluster demands; made for it alone. */
  readonly token: string;
  readonly tokenFile: string;
  /** Resolves when the cluster has ended, asked or not. */
  readonly exited: Promise<number>;
  /** Ends every process of the cluster; resolves when they are gone. Idempotent. */
  stop(): Promise<void>;
}

/** @throws StartError (a TrayError) when the cluster does not start; nothing is left running then. */
export async function startLocalCluster(options: LocalClusterOptions): Promise<LocalClusterHandle> {
  const dataDir = options.dataDir ?? (options.env["TRAY_DATA_DIR"] || defaultDataDir);
  const live = liveSessionNames();
  removeStaleArenas((name) => live.has(name));
  sweepDeadNodes(dataDir);
  removeOldSessions(dataDir, { ...options.history, nowMs: options.clock.wallMs(), isLive: (name) => live.has(name) });
  const session = sessionLayout(dataDir, newSessionName(options.clock.wallMs(), options.random));
  const node = nodeLayout(session, "local");
  makeNodeDirs(node);
  const token = newToken(options.random);
  writeTokenFile(node.tokenFile, token, { exclusive: true });
  const plan = planNode(
    {
      node,
      commands: commandsIn(options.binDir, options.execPath),
      tokenFile: node.tokenFile,
      logLevel: options.logLevel,
      nodeIp: "127.0.0.1",
      bindHost: "127.0.0.1",
      numCpus: options.numCpus,
      numGpus: options.numGpus,
      memoryBytes: options.memoryBytes,
      objectStoreBytes: options.objectStoreBytes,
      resources: options.resources,
      labels: options.labels,
      spillDirs: options.spillDirs,
      systemConfig: options.systemConfig,
      watchPid: options.pid,
      endWithStarter: true,
      startTimeoutMs: options.startTimeoutMs ?? 30_000,
      stopGraceMs: 3_000,
    },
    { head: { port: 0, dashboard: options.dashboard === true ? { host: "127.0.0.1", port: 0 } : undefined } },
  );
  const started = await startNode(plan, { env: options.env, clock: options.clock });
  started.detach();
  return {
    gcsAddress: started.report.gcsAddress,
    rayletAddress: started.report.rayletAddress,
    nodeId: started.report.nodeId,
    dashboardUrl: started.report.dashboardUrl,
    sessionDir: started.sessionDir,
    sessionName: session.name,
    token,
    tokenFile: node.tokenFile,
    exited: started.exited,
    stop: async () => {
      started.signal("SIGTERM");
      started.hold();
      await started.exited;
    },
  };
}
