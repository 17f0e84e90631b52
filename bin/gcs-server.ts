// The gcs-server daemon: tables from disk, one port, the GcsServer between them.
import { type Logger, messageOf, Metrics, Scope, systemClock, systemRandom, TrayError } from "@tray/common";
import { parseSystemConfig } from "@tray/config";
import { GcsServer } from "@tray/gcs-server";
import { daemonExitCodes, type GcsProcessConfig, trayVersion } from "@tray/protocol";
import type { Endpoint } from "@tray/rpc";
import { LmdbStore } from "@tray/storage";
import { mkdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { exitCodeOf, openEndpoint, openLogger, readProcessConfig, removeAddressFile, watchProcess, writeAddressFile } from "./shared/daemon.js";

async function main(): Promise<void> {
  const config = readProcessConfig<GcsProcessConfig>();
  const logger = openLogger(config);
  const scope = new Scope("gcs-server", { clock: systemClock, onError: (what, error) => logger.error("did not end well", { what, error }) });
  let ending: Promise<void> | undefined;
  const end = (code: number, why: string): void => {
    ending ??= (async () => {
      logger.info("stopping", { why });
      await scope.close();
      process.exit(code);
    })();
  };
  process.on("uncaughtException", (error) => {
    // Memory may be wrong now; what is on disk is not. Whoever supervises us starts us again from there.
    logger.error("uncaught exception", { error });
    process.exit(daemonExitCodes.internal);
  });
  process.on("SIGTERM", () => end(daemonExitCodes.ok, "SIGTERM"));
  process.on("SIGINT", () => end(daemonExitCodes.ok, "SIGINT"));
  watchProcess(config.watchPid, () => end(daemonExitCodes.ok, "the process that this cluster belongs to has ended"));
  try {
    await serve(config, scope, logger);
  } catch (error) {
    logger.error("cannot start", { error, hint: error instanceof TrayError ? error.hint : undefined });
    end(exitCodeOf(error), messageOf(error));
  }
}

async function serve(config: GcsProcessConfig, scope: Scope, logger: Logger): Promise<void> {
  const systemConfig = parseSystemConfig(config.systemConfig);
  lockTables(config.tablesDir, scope);
  const onFlushError = (error: unknown): void => logger.error("tables could not be flushed", { error });
  const store = new LmdbStore({ path: config.tablesDir, clock: systemClock, durability: systemConfig.gcsStorageDurability, onFlushError });
  scope.defer("store", () => store.close());
  const { endpoint } = openEndpoint(config, "gcs", logger);
  scope.defer("endpoint", () => endpoint.close());

  let address = "";
  const server = new GcsServer({
    endpoint,
    store,
    clock: systemClock,
    random: systemRandom,
    logger,
    metrics: new Metrics(),
    config: systemConfig,
    session: { name: config.sessionName, dir: config.sessionDir },
    version: trayVersion,
    nodeVersion: process.versions.node,
    pid: process.pid,
    address: () => address,
    supervisorPid: config.supervisorPid,
  });
  scope.defer("server", () => server.close());
  await server.start();

  const bound = await listen(endpoint, config.listen);
  address = `${config.advertiseHost}:${bound.slice(bound.lastIndexOf(":") + 1)}`;
  endpoint.describeSelf({ address });
  writeAddressFile(config.addressFile, address, { clusterId: server.identity.clusterId });
  scope.defer("address file", () => removeAddressFile(config.addressFile));
  logger.info("serving", { address, bound, pid: process.pid, clusterId: server.identity.clusterId });
}

async function listen(endpoint: Endpoint, address: string): Promise<string> {
  try {
    return await endpoint.listen(address);
  } catch (error) {
    throw new TrayError("CONFLICT", messageOf(error), {
      cause: error,
      hint: "is another head running on this port? choose another one (--port), or stop it (tray stop)",
    });
  }
}

/** LMDB would let two processes in; two GCSs on one set of tables would be two truths. */
function lockTables(tablesDir: string, scope: Scope): void {
  mkdirSync(tablesDir, { recursive: true, mode: 0o700 });
  const file = join(tablesDir, "gcs.pid");
  const holder = holderOf(file);
  if (holder !== undefined) {
    throw new TrayError("CONFLICT", `the tables in ${tablesDir} are in use by the gcs-server with pid ${holder}`, {
      hint: "stop it first (tray stop), or give this head its own --data-dir",
    });
  }
  writeFileSync(file, String(process.pid), { mode: 0o600 });
  scope.defer("lock", () => rmSync(file, { force: true }));
}

/** The living gcs-server that a lock names. A pid alone proves nothing: after a crash another program may have it. */
function holderOf(file: string): number | undefined {
  try {
    const pid = Number(readFileSync(file, "utf8"));
    if (!Number.isInteger(pid) || pid <= 0 || pid === process.pid) return undefined;
    return readFileSync(`/proc/${pid}/cmdline`, "utf8").includes("gcs-server") ? pid : undefined;
  } catch {
    return undefined; // no lock, or no such process
  }
}

void main();
