// NodeSupervisor: keeps the daemons of one node running and ends them in order.
//
// Owns:     the child processes of this node's daemons, their restarts, supervisor.json.
// Not mine: what daemons do; worker processes (the raylet's); the plan (plan.ts, written by whoever started us).
// Crosses:  in: stop(), starterGone().  out: Report to the starter on fd 3, exit code.
//
// Invariants
//   U1. The raylet is never restarted: its death is the node's. On the head the GCS and the dashboard go on; elsewhere the supervisor ends.
//   U2. A restarted gcs-server or dashboard serves on the port it had.
//   U3. Daemons end in the order raylet, dashboard, gcs-server: each may still talk to the next while it ends.
//   U4. A start that fails leaves nothing of what it started running.
//   U5. No worker, and nothing that one started, outlives the raylet by more than a moment, however the raylet ended.
import { type Clock, type Logger, messageOf, sleep } from "@tray/common";
import { daemonExitCodes, type ProcessAddress } from "@tray/protocol";
import { mkdirSync, rmSync, writeFileSync } from "node:fs";
import { liveDaemon, writeJsonAtomic } from "./address-file.js";
import {
  adoptDaemon,
  awaitServing,
  type DaemonExit,
  type DaemonProcess,
  type DaemonSpec,
  describeExit,
  endDaemon,
  isExit,
  lastWords,
  logEnds,
  startDaemon,
} from "./daemon-process.js";
import {
  addressFileOf,
  configFileOf,
  type DaemonName,
  logFileOf,
  makeNodeDirs,
  nodeLayout,
  type NodeLayout,
  sessionLayout,
  stderrFileOf,
} from "./layout.js";
import { sweepRaylet } from "./leftovers.js";
import type { NodePlan } from "./plan.js";

/** What the starter reads, one JSON line. */
export type Report =
  | {
      readonly kind: "ready";
      readonly gcsAddress: string;
      readonly nodeId: string;
      readonly rayletAddress: string;
      readonly dashboardUrl?: string;
      readonly metricsUrl?: string;
      readonly supervisorPid: number;
    }
  | {
      readonly kind: "failed";
      readonly daemon: DaemonName;
      readonly exitCode: number;
      readonly message: string;
      readonly lines: readonly string[];
      readonly logFile: string;
    };

export interface SupervisorHost {
  readonly clock: Clock;
  readonly logger: Logger;
  readonly pid: number;
  /** For daemons. */
  readonly env: Readonly<Record<string, string>>;
  report(report: Report): void;
}

const backoffMinMs = 50;
const backoffMaxMs = 5_000;
/** A daemon that served this long starts over with the shortest back-off. */
const stableMs = 30_000;

class StartFailure extends Error {
  constructor(readonly report: Report & { kind: "failed" }) {
    super(report.message);
  }
}

export class NodeSupervisor {
  private readonly node: NodeLayout;
  private readonly running = new Map<DaemonName, DaemonProcess>();
  private readonly stopping = new AbortController();
  private ended: Promise<void> | undefined;
  private gcsAddress: string;
  private listen: string | undefined;
  private httpPort: number | undefined;

  constructor(
    private readonly plan: NodePlan,
    private readonly host: SupervisorHost,
  ) {
    this.node = nodeLayout(sessionLayout(plan.dataDir, plan.sessionName), plan.nodeName);
    this.gcsAddress = plan.raylet.gcsAddress;
    this.listen = plan.gcs?.listen;
    this.httpPort = plan.dashboard?.httpPort;
  }

  /** Runs until the node is stopped (or, where it is not the head, its raylet has died). @returns the exit code. */
  async run(): Promise<number> {
    makeNodeDirs(this.node);
    mkdirSync(this.node.shmDir, { recursive: true, mode: 0o700 });
    writeJsonAtomic(this.node.supervisorFile, { pid: this.host.pid, address: "", startedAt: this.host.clock.wallMs() } satisfies ProcessAddress);
    try {
      const ready = await this.startAll();
      if (!this.stopping.signal.aborted) this.host.report(ready);
    } catch (error) {
      if (!(error instanceof StartFailure)) throw error;
      this.host.logger.error("start failed", { daemon: error.report.daemon, error: error.message });
      await this.stop(); // U4
      this.host.report(error.report);
      return error.report.exitCode;
    }
    const raylet = this.running.get("raylet");
    const rayletExit = raylet === undefined ? undefined : await Promise.race([raylet.exited, this.whenStopping()]);
    if (rayletExit !== undefined && !this.stopping.signal.aborted) {
      this.host.logger.error(`raylet ${describeExit(rayletExit)}`, { ...rayletExit });
      this.sweep("workers");
      this.running.delete("raylet");
      if (this.plan.isHead && !this.plan.endWithStarter)
        await this.whenStopping(); // U1: the head's GCS serves the other nodes
      else await this.stop();
      await this.ended;
      return 1;
    }
    await this.ended;
    return 0;
  }

  /** Ends the daemons (U3) and removes what the node keeps outside its folder. */
  stop(): Promise<void> {
    this.ended ??= this.endAll();
    return this.ended;
  }

  private async endAll(): Promise<void> {
    this.stopping.abort(new Error("stopping"));
    for (const name of ["raylet", "dashboard", "gcs-server"] as const) {
      const daemon = this.running.get(name);
      if (daemon === undefined) continue;
      await endDaemon(daemon, this.host.clock, this.plan.stopGraceMs);
      rmSync(addressFileOf(this.node, name), { force: true });
    }
    this.sweep("all");
    if (this.plan.isHead) writeFileSync(this.node.session.endedFile, "");
    rmSync(this.node.shmDir, { recursive: true, force: true });
    rmSync(this.node.supervisorFile, { force: true });
  }

  /** U5. Job supervisors end their jobs themselves when the raylet is gone, and tell the GCS; they are spared until the node ends. */
  private sweep(which: "workers" | "all"): void {
    const killed = sweepRaylet(this.node, which);
    if (killed > 0) this.host.logger.warn("killed what the raylet left", { killed });
  }

  private whenStopping(): Promise<undefined> {
    return new Promise((resolve) => {
      if (this.stopping.signal.aborted) resolve(undefined);
      else this.stopping.signal.addEventListener("abort", () => resolve(undefined), { once: true });
    });
  }

  private async startAll(): Promise<Report> {
    // The GCS first, even when its port is known: where the port is taken by another cluster, our raylet must not join that one meanwhile.
    if (this.plan.gcs !== undefined) await this.bringUp("gcs-server");
    const starting = [this.bringUp("raylet"), ...(this.plan.dashboard === undefined ? [] : [this.bringUp("dashboard")])];
    await Promise.allSettled(starting); // U4: what is still starting when another fails must be known before everything is ended
    const [raylet, dashboard] = await Promise.all(starting);
    if (this.plan.gcs !== undefined) this.superviseForever("gcs-server");
    if (this.plan.dashboard !== undefined) this.superviseForever("dashboard");
    return {
      kind: "ready",
      gcsAddress: this.gcsAddress,
      nodeId: raylet?.nodeId ?? "",
      rayletAddress: raylet?.address ?? "",
      ...(this.plan.dashboard === undefined || dashboard === undefined ? {} : { dashboardUrl: dashboard.address }),
      ...(raylet?.metricsUrl === undefined ? {} : { metricsUrl: raylet.metricsUrl }),
      supervisorPid: this.host.pid,
    };
  }

  /** Adopts the daemon if it lives, else starts it; resolves when it serves. */
  private async bringUp(name: DaemonName): Promise<ProcessAddress> {
    if (this.stopping.signal.aborted) throw this.failure(name, undefined, "was not started: the node is being stopped", []);
    const alive = liveDaemon(this.node, name);
    if (alive !== undefined) {
      this.running.set(name, adoptDaemon(alive.pid, this.host.clock));
      this.learn(name, alive);
      return alive;
    }
    const spec = this.specOf(name);
    const since = logEnds(spec);
    const daemon = startDaemon(spec);
    this.running.set(name, daemon);
    const outcome = await awaitServing(daemon, spec.addressFile, this.host.clock, this.plan.startTimeoutMs);
    if (outcome !== undefined && !isExit(outcome)) {
      this.learn(name, outcome);
      return outcome;
    }
    if (outcome !== undefined) this.running.delete(name);
    const what = outcome === undefined ? `did not serve within ${this.plan.startTimeoutMs} ms` : `${describeExit(outcome)} before it served`;
    throw this.failure(name, outcome, what, lastWords(spec, since));
  }

  private failure(name: DaemonName, exit: DaemonExit | undefined, what: string, lines: readonly string[]): StartFailure {
    // What the daemon itself said is the one line that people need; without it the log's last lines must do.
    const said = lines.find((line) => line.startsWith("error: "))?.slice("error: ".length);
    return new StartFailure({
      kind: "failed",
      daemon: name,
      exitCode: exit === undefined ? daemonExitCodes.internal : exitCodeOf(exit),
      message: said === undefined ? `${name} ${what}` : `${name}: ${said}`,
      lines: said === undefined ? lines : [],
      logFile: logFileOf(this.node, name),
    });
  }

  private learn(name: DaemonName, record: ProcessAddress): void {
    const port = record.address.slice(record.address.lastIndexOf(":") + 1).replace(/\/$/, "");
    if (name === "gcs-server") {
      this.gcsAddress = record.address;
      const bound = this.listen ?? "";
      this.listen = `${bound.slice(0, bound.lastIndexOf(":"))}:${port}`; // U2
    } else if (name === "dashboard") {
      this.httpPort = Number(port);
    }
  }

  private specOf(name: DaemonName): DaemonSpec {
    const { plan, node } = this;
    const config =
      name === "gcs-server"
        ? { ...plan.gcs, listen: this.listen, supervisorPid: this.host.pid }
        : name === "raylet"
          ? { ...plan.raylet, gcsAddress: this.gcsAddress }
          : { ...plan.dashboard, gcsAddress: this.gcsAddress, httpPort: this.httpPort };
    return {
      command: plan.commands[name],
      config,
      configFile: configFileOf(node, name),
      addressFile: addressFileOf(node, name),
      logFile: logFileOf(node, name),
      stderrFile: stderrFileOf(node, name),
      env: this.host.env,
      cwd: node.session.dir,
    };
  }

  private superviseForever(name: "gcs-server" | "dashboard"): void {
    void this.keepRunning(name).catch((error: unknown) => {
      this.host.logger.error(`supervision of ${name} ended`, { error: messageOf(error) });
    });
  }

  private async keepRunning(name: "gcs-server" | "dashboard"): Promise<void> {
    const { clock, logger } = this.host;
    let backoffMs = backoffMinMs;
    while (!this.stopping.signal.aborted) {
      const daemon = this.running.get(name);
      const servingSince = clock.now();
      const exit: DaemonExit | undefined = daemon === undefined ? undefined : await Promise.race([daemon.exited, this.whenStopping()]);
      if (this.stopping.signal.aborted) return;
      this.running.delete(name);
      if (clock.now() - servingSince > stableMs) backoffMs = backoffMinMs;
      logger.warn(`${name} ${exit === undefined ? "is not running" : describeExit(exit)}; restarting`, { backoffMs });
      await sleep(clock, backoffMs, this.stopping.signal).catch(() => undefined); // aborted: the loop's condition ends it
      if (this.stopping.signal.aborted) return;
      backoffMs = Math.min(backoffMs * 2, backoffMaxMs);
      try {
        await this.bringUp(name);
        logger.info(`${name} serves again`);
      } catch (error) {
        if (!(error instanceof StartFailure)) throw error;
        logger.error(`${name} did not come back`, { error: error.message, lines: error.report.lines });
        const late = this.running.get(name);
        if (late !== undefined) await endDaemon(late, clock, this.plan.stopGraceMs); // started but never served
        this.running.delete(name);
      }
    }
  }
}

/** Exit codes of daemons mean what the command line's mean; anything else is an internal error. */
function exitCodeOf(exit: DaemonExit): number {
  const known: readonly (number | null)[] = [
    daemonExitCodes.config,
    daemonExitCodes.unreachable,
    daemonExitCodes.authentication,
    daemonExitCodes.conflict,
  ];
  return known.includes(exit.code) ? (exit.code as number) : daemonExitCodes.internal;
}
