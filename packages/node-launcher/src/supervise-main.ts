// The supervisor's process: reads the plan, runs NodeSupervisor, maps signals and the starter's end to stop().
import { createLogger, messageOf, systemClock } from "@tray/common";
import { appendFileSync } from "node:fs";
import { Socket } from "node:net";
import { readJson } from "./address-file.js";
import type { Environment } from "./auth-token.js";
import { logFileOf, makeNodeDirs, nodeLayout, sessionLayout } from "./layout.js";
import { daemonEnvironment, type NodePlan } from "./plan.js";
import { NodeSupervisor, type Report } from "./supervisor.js";

export interface SupervisorProcess {
  readonly pid: number;
  readonly env: Environment;
  onSignal(signal: NodeJS.Signals, fn: () => void): void;
}

const reportFd = 3;

/** @returns the exit code of the process. */
export async function superviseMain(planFile: string, host: SupervisorProcess): Promise<number> {
  const plan = readJson<NodePlan>(planFile, (p) => typeof p.sessionName === "string" && p.raylet !== undefined);
  if (plan === undefined) {
    process.stderr.write(`${planFile} is not a node plan\n`);
    return 2;
  }
  const node = nodeLayout(sessionLayout(plan.dataDir, plan.sessionName), plan.nodeName);
  makeNodeDirs(node);
  const logFile = logFileOf(node, "supervisor");
  const logger = createLogger({
    level: plan.raylet.logLevel,
    write: (line) => appendFileSync(logFile, line, { mode: 0o600 }),
    wallMs: () => systemClock.wallMs(),
  });
  const channel = new Socket({ fd: reportFd, readable: true, writable: true });
  channel.on("error", (error) => logger.debug("starter's channel", { error: messageOf(error) }));
  const report = (r: Report): void => {
    channel.write(`${JSON.stringify(r)}\n`);
    if (!plan.endWithStarter) channel.end(); // from here on the node stands on its own
  };
  const supervisor = new NodeSupervisor(plan, { clock: systemClock, logger, pid: host.pid, env: daemonEnvironment(host.env), report });
  const stop = (why: string) => (): void => {
    logger.info("stopping", { why });
    supervisor.stop().catch((error: unknown) => logger.error("stop failed", { error: messageOf(error) }));
  };
  host.onSignal("SIGTERM", stop("SIGTERM"));
  host.onSignal("SIGINT", stop("SIGINT"));
  if (plan.endWithStarter) channel.on("close", stop("the process that started this node has ended"));
  channel.resume();
  // Clock timers do not hold the process; children, unreferenced or adopted, may not either.
  const hold = setInterval(() => undefined, 0x3fffffff);
  try {
    return await supervisor.run();
  } finally {
    clearInterval(hold);
    channel.destroySoon();
  }
}
