// The dashboard daemon, wired: HTTP in front, the GCS behind, nothing kept in between. It may be killed and restarted at any moment.
import { type Clock, type Logger, type Random, Scope, TrayError } from "@tray/common";
import { parseSystemConfig } from "@tray/config";
import { type DashboardProcessConfig, dashboardUrlKey, internalNamespace } from "@tray/protocol";
import type { Endpoint } from "@tray/rpc";
import type { TlsIdentity } from "@tray/node-launcher";
import { createServer, type Server } from "node:http";
import { createServer as createTlsServer } from "node:https";
import type { AddressInfo } from "node:net";
import { hostname } from "node:os";
import { join } from "node:path";
import { isLoopback } from "./http/access.js";
import { createApp } from "./http/app.js";
import { JobLogs } from "./jobs/job-logs.js";
import { JobLoop } from "./jobs/job-loop.js";
import { JobService } from "./jobs/job-service.js";
import { JobStore } from "./jobs/job-store.js";
import { mountTail } from "./jobs/tail-socket.js";
import { packagesInUse } from "./packages/in-use.js";
import { PackageStore } from "./packages/package-store.js";
import { RpcCluster } from "./rpc-cluster.js";

export interface DashboardHost {
  readonly endpoint: Endpoint;
  readonly clock: Clock;
  readonly random: Random;
  readonly logger: Logger;
  readonly pid: number;
  readonly version: string;
  readonly token: string | undefined;
  /** HTTPS when given. Clients need not show a certificate: browsers and Ray's client have none; the token is what admits them. */
  readonly tls?: TlsIdentity | undefined;
}

export interface RunningDashboard {
  readonly url: string;
  close(): Promise<void>;
}

/** @throws CONFIG for a public address without a token, CONFLICT for a taken port, AUTHENTICATION and CONNECTION from the GCS. */
export async function startDashboard(config: DashboardProcessConfig, host: DashboardHost): Promise<RunningDashboard> {
  const { clock, logger } = host;
  if (!isLoopback(config.httpHost) && host.token === undefined) {
    throw new TrayError("CONFIG", `the dashboard may not listen on ${config.httpHost} without a token: whoever reaches it could run code`, {
      hint: "start the head with a token (the default), or with --dashboard-host 127.0.0.1",
    });
  }
  const system = parseSystemConfig(config.systemConfig);
  const scope = new Scope("dashboard", { clock, onError: (what, error) => logger.error(what, { error }) });
  try {
    const gcs = host.endpoint.connect(config.gcsAddress, { reconnect: "forever" });
    const cluster = new RpcCluster(host.endpoint, gcs, clock);
    scope.defer("rpc", () => host.endpoint.close());
    await cluster.opened();

    let url = "";
    const packagesDir = join(config.jobsDir, "packages");
    const store = new JobStore(cluster.gcs);
    const packages = new PackageStore({
      dir: packagesDir,
      bytesMax: system.packageMaxSize,
      keptBytesMax: system.runtimeEnvCacheSize,
      pid: host.pid,
      clock,
      inUse: async () => packagesInUse(await store.list()),
      onPruneError: (error) => logger.warn("old packages could not be removed", { error }),
    });
    const logs = new JobLogs(cluster, join(config.sessionDir, "logs"), clock);
    const loop = new JobLoop({
      store,
      cluster,
      clock,
      logger,
      startTimeoutMs: system.jobStartTimeout,
      supervisorInput: (record) => ({
        entrypoint: record.entrypoint,
        runtimeEnv: record.runtimeEnv,
        metadata: record.metadata,
        packagesDir,
        dashboardUrl: url,
        stopGraceMs: system.jobStopGracePeriod,
        setupTimeoutMs: system.runtimeEnvSetupTimeout,
        dirsBytesMax: system.runtimeEnvCacheSize,
        hasNeeds: record.needs.numCpus > 0 || record.needs.numGpus > 0,
      }),
    });
    const jobs = new JobService({ store, cluster, loop, logs, clock, random: host.random, agentUrl: () => url });
    const policy = { token: host.token, boundHost: config.httpHost };
    const app = createApp({ cluster, jobs, packages, policy, logger, version: host.version, sessionName: config.sessionName });
    const { tls } = host;
    const server = tls === undefined ? createServer(app) : createTlsServer({ cert: tls.cert, key: tls.key }, app);
    mountTail(server, jobs, policy, scope, logger);
    url = await listen(server, tls === undefined ? "http" : "https", config.httpHost, config.httpPort);
    scope.defer("http", () => {
      server.close();
      server.closeAllConnections();
    });
    // After every reset too: a GCS that lost its tables must learn it anew.
    gcs.onFresh(() => {
      cluster.gcs
        .kvPut({ namespace: internalNamespace, key: dashboardUrlKey, value: Buffer.from(url), overwrite: true }, { retry: true })
        .catch((error: unknown) => logger.warn("cannot publish the address", { error }));
    });
    loop.start(scope);
    return { url, close: () => scope.close() };
  } catch (error) {
    await scope.close();
    throw error;
  }
}

function listen(server: Server, scheme: "http" | "https", host: string, port: number): Promise<string> {
  return new Promise((resolve, reject) => {
    server.once("error", (error: NodeJS.ErrnoException) =>
      reject(
        error.code === "EADDRINUSE"
          ? new TrayError("CONFLICT", `port ${port} of ${host} is taken`, { hint: "choose another one with --dashboard-port", cause: error })
          : new TrayError("CONNECTION", `cannot listen on ${host}:${port}: ${error.message}`, { cause: error }),
      ),
    );
    server.listen(port, host, () => {
      const bound = (server.address() as AddressInfo).port;
      const name = host === "0.0.0.0" || host === "::" ? hostname() : host.includes(":") ? `[${host}]` : host;
      resolve(`${scheme}://${name}:${bound}`);
    });
  });
}
