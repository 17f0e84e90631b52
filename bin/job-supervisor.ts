// Runs one submitted job; started by a raylet, outlives the submitter and the dashboard.
import { messageOf, systemClock, systemRandom } from "@tray/common";
import { superviseJob } from "@tray/dashboard";
import { daemonExitCodes, type JobSupervisorProcessConfig } from "@tray/protocol";
import { join } from "node:path";
import { openEndpoint, openLogger, readProcessConfig } from "./shared/daemon.js";

async function main(): Promise<void> {
  const config = readProcessConfig<JobSupervisorProcessConfig>();
  const logger = openLogger({ logLevel: config.logLevel, logFile: join(config.sessionDir, "logs", `job-supervisor-${config.submissionId}.log`) });
  // Timers of the clock do not hold a process; what this one does must.
  const hold = setInterval(() => undefined, 0x3fffffff);
  try {
    const { endpoint, incarnation, token, tls } = openEndpoint(config, "cli", logger);
    await superviseJob(config, {
      endpoint,
      incarnation,
      clock: systemClock,
      random: systemRandom,
      logger,
      env: process.env,
      pid: process.pid,
      token,
      tls,
      execPath: process.execPath,
      packageDir: join(__dirname, "../.."),
      onStop: (fn) => {
        process.on("SIGTERM", fn);
        process.on("SIGINT", fn);
      },
    });
    process.exit(daemonExitCodes.ok);
  } catch (error) {
    logger.error("the job's supervision failed", { error });
    process.stderr.write(`${messageOf(error)}\n`);
    process.exit(daemonExitCodes.internal);
  } finally {
    clearInterval(hold);
  }
}

void main();
