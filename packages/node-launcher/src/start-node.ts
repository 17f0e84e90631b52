// Starting a supervisor and hearing from it whether its node serves. The channel is fd 3, a socket pair: the supervisor reports on it once, and, where the plan
// says `endWithStarter`, ends its node when our end closes, however we end.
import { type Clock, deferred, TrayError } from "@tray/common";
import { daemonExitCodes } from "@tray/protocol";
import { type ChildProcess, spawn } from "node:child_process";
import { closeSync, openSync } from "node:fs";
import type { Socket } from "node:net";
import { writeJsonAtomic } from "./address-file.js";
import type { Environment } from "./auth-token.js";
import { type DaemonName, linkLatest, makeNodeDirs, nodeLayout, sessionLayout, stderrFileOf } from "./layout.js";
import { daemonEnvironment, type NodePlan } from "./plan.js";
import type { Report } from "./supervisor.js";

/** A supervisor whose node serves. */
export interface StartedNode {
  readonly report: Report & { kind: "ready" };
  readonly sessionDir: string;
  /** Resolves with the supervisor's exit code when it ends. */
  readonly exited: Promise<number>;
  signal(signal: NodeJS.Signals): void;
  /** Lets go of the supervisor: this process may end, and the node goes on. */
  detach(): void;
  /** Takes `detach` back: this process lives until the supervisor has ended. */
  hold(): void;
}

/** Says why a node did not start, with what its log said last. */
export class StartError extends TrayError {
  constructor(
    readonly exitCode: number,
    message: string,
    readonly lines: readonly string[],
    readonly logFile: string,
    daemon?: DaemonName,
  ) {
    const advice = exitCode === daemonExitCodes.conflict ? conflictAdvice(daemon) : "";
    super(codeOf(exitCode), message, { hint: `${advice}see ${logFile}`, details: { logFile } });
  }
}

/**
 * Starts the node of `plan` and waits until it serves. Aborting `signal` before that ends what was started, and rejects with the signal's reason.
 * @throws StartError when it does not; nothing is left running then.
 */
export async function startNode(plan: NodePlan, host: { env: Environment; clock: Clock }, signal?: AbortSignal): Promise<StartedNode> {
  signal?.throwIfAborted();
  const node = nodeLayout(sessionLayout(plan.dataDir, plan.sessionName), plan.nodeName);
  makeNodeDirs(node);
  writeJsonAtomic(node.planFile, plan);
  linkLatest(node.session);
  const [executable, ...args] = plan.commands.supervisor;
  const logFile = stderrFileOf(node, "supervisor");
  const stderr = openSync(logFile, "a", 0o600);
  let child: ChildProcess;
  try {
    child = spawn(executable as string, [...args, node.planFile], {
      detached: true,
      stdio: ["ignore", stderr, stderr, "pipe"],
      env: daemonEnvironment(host.env),
      cwd: node.session.dir,
    });
  } finally {
    closeSync(stderr);
  }
  const channel = child.stdio[3] as Socket;
  const exited = deferred<number>();
  const failed = deferred<never>();
  failed.promise.catch(() => undefined); // may settle when nobody waits any more
  child.on("exit", (code, signal) => {
    exited.resolve(code ?? 70);
    failed.reject(
      new StartError(
        code ?? 70,
        `the supervisor ${signal === null ? `ended with exit code ${code}` : `was killed by ${signal}`} before its node served`,
        [],
        logFile,
      ),
    );
  });
  child.on("error", (error) => failed.reject(new StartError(70, `cannot start the supervisor: ${error.message}`, [], logFile)));
  const onAbort = (): void => void child.kill("SIGTERM");
  signal?.addEventListener("abort", onAbort, { once: true });
  const report = await Promise.race([readReport(channel), failed.promise]).finally(() => signal?.removeEventListener("abort", onAbort));
  if (signal?.aborted) {
    child.kill("SIGTERM");
    await exited.promise;
    throw signal.reason;
  }
  if (report === undefined) return await failed.promise; // the channel ended without a word; its exit says more
  if (report.kind === "failed") {
    await exited.promise;
    channel.destroy();
    throw new StartError(report.exitCode, report.message, report.lines, report.logFile, report.daemon);
  }
  return {
    report,
    sessionDir: node.session.dir,
    exited: exited.promise,
    signal: (signal) => void child.kill(signal),
    detach: () => {
      channel.unref();
      child.unref();
    },
    hold: () => child.ref(),
  };
}

/** The first line on the channel; undefined when it ends before. Leaves the channel open. */
function readReport(channel: Socket): Promise<Report | undefined> {
  return new Promise((resolve) => {
    let text = "";
    channel.setEncoding("utf8");
    channel.on("data", (chunk: string) => {
      text += chunk;
      const end = text.indexOf("\n");
      if (end >= 0) resolve(JSON.parse(text.slice(0, end)) as Report);
    });
    channel.on("close", () => resolve(undefined));
    channel.on("error", () => resolve(undefined));
  });
}

function conflictAdvice(daemon: DaemonName | undefined): string {
  if (daemon === "gcs-server") return "choose another port with --port (a second head needs a --data-dir of its own as well); ";
  return daemon === "dashboard" ? "choose another port with --dashboard-port; " : "";
}

function codeOf(exitCode: number): "CONFIG" | "CONNECTION" | "AUTHENTICATION" | "CONFLICT" | "SYSTEM" {
  switch (exitCode) {
    case daemonExitCodes.config:
      return "CONFIG";
    case daemonExitCodes.unreachable:
      return "CONNECTION";
    case daemonExitCodes.authentication:
      return "AUTHENTICATION";
    case daemonExitCodes.conflict:
      return "CONFLICT";
    default:
      return "SYSTEM";
  }
}
