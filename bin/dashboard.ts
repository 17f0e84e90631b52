// The dashboard daemon: HTTP interface of a cluster.
import { systemClock, systemRandom } from "@tray/common";
import { startDashboard } from "@tray/dashboard";
import { type DashboardProcessConfig, daemonExitCodes, trayVersion } from "@tray/protocol";
import { exitCodeOf, openEndpoint, openLogger, readProcessConfig, removeAddressFile, watchProcess, writeAddressFile } from "./shared/daemon.js";

async function main(): Promise<void> {
  const config = readProcessConfig<DashboardProcessConfig>();
  const logger = openLogger(config);
  process.on("uncaughtException", (error) => {
    logger.error("uncaught exception", { error });
    process.exit(daemonExitCodes.internal);
  });
  try {
    const { endpoint, token, tls } = openEndpoint(config, "dashboard", logger);
    const dashboard = await startDashboard(config, {
      endpoint,
      clock: systemClock,
      random: systemRandom,
      logger,
      pid: process.pid,
      version: trayVersion,
      token,
      tls,
    });
    let stopping = false;
    const stop = (why: string): void => {
      if (stopping) return;
      stopping = true;
      logger.info("stopping", { why });
      removeAddressFile(config.addressFile);
      void dashboard.close().finally(() => process.exit(daemonExitCodes.ok));
    };
    process.on("SIGTERM", () => stop("SIGTERM"));
    process.on("SIGINT", () => stop("SIGINT"));
    watchProcess(config.watchPid, () => stop("the process that this cluster belongs to has ended"));
    writeAddressFile(config.addressFile, dashboard.url);
    logger.info("serving", { url: dashboard.url, pid: process.pid });
  } catch (error) {
    logger.error("cannot start", { error });
    process.exit(exitCodeOf(error));
  }
}

void main();
