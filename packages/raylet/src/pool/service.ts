// WorkerPoolService: carries out what the pool decides.
//
// Owns:     the processes, the sessions of workers, what workers run now, the exits that are remembered.
// Not mine: decisions (core.ts), what a worker is used for (WorkerUsers: leases, actors), reports to the GCS (they hear of departures too).
// Crosses:  in: requests for workers, registrations, exits of processes.  out: WorkerUsers.
//
// Invariants
//   S1. Effects are carried out in the order in which they were decided, none from within another.
//   S2. Each process that was spawned is reaped: its exit is awaited, recorded once, and told once.
import { messageOf, TrayError } from "@tray/common";
import { type RegisterWorkerRequest, type WorkerExit, WorkerService } from "@tray/protocol";
import type { Session } from "@tray/rpc";
import { rememberedExitsMax } from "../limits.js";
import type { RayletEnvironment } from "../node.js";
import { type Departed, type PoolEffect, WorkerPoolCore } from "./core.js";
import { exitRecordOf } from "./exit-record.js";
import type { ProcessExit, SpawnedProcess, WorkerSpawner } from "./spawner.js";
import type { PoolWorker, Ticket } from "./worker.js";

/** Those who use workers, and hear of their ends. */
export interface WorkerUsers {
  /** False: it is not needed any more. */
  assigned(ticket: Ticket, worker: PoolWorker): boolean;
  refused(ticket: Ticket, detail: string): void;
  departed(departed: Departed, exit: WorkerExit): void;
  /** Something about workers changed that a status would show, or that makes room. */
  changed(): void;
}

export interface WorkerActivityNow {
  readonly taskName: string;
  readonly meanTaskMs: number;
}

export class WorkerPoolService {
  readonly core: WorkerPoolCore;
  private readonly processes = new Map<string, SpawnedProcess>();
  private readonly sessions = new Map<string, Session>();
  private readonly activities = new Map<string, WorkerActivityNow>();
  private readonly exits = new Map<string, WorkerExit>();
  private readonly exitWaiters = new Map<string, ((exit: WorkerExit) => void)[]>();
  private readonly effects: PoolEffect[] = [];
  private running = false;

  constructor(
    private readonly env: RayletEnvironment,
    private readonly spawner: WorkerSpawner,
    private readonly users: WorkerUsers,
    private readonly rayletAddress: () => string,
    private readonly onLines: (workerId: string, pid: number, isError: boolean, lines: readonly string[]) => void,
  ) {
    const { config, node, random } = env;
    const cpus = Math.max(1, Math.floor((node.total["CPU"] ?? 0) / 10_000));
    const prestart = config.workersPrestart < 0 ? cpus : config.workersPrestart;
    const startsMax = config.workersStartingMax <= 0 ? Math.max(2, cpus) : config.workersStartingMax;
    this.core = new WorkerPoolCore({
      workersMax: config.workersMax < 0 ? Number.MAX_SAFE_INTEGER : config.workersMax,
      startsMax,
      prestartsMax: Math.min(2, startsMax),
      idleKept: Math.max(prestart, cpus),
      idleTimeoutMs: config.workerIdleTimeout,
      startTimeoutMs: config.workerStartTimeout,
      exitGraceMs: config.workerKillGracePeriod,
      newWorkerId: () => random.hex(16),
      newStartToken: () => random.hex(16),
    });
    env.metrics.gauge("tray_raylet_workers", () => this.core.size);
    this.prestartCount = prestart;
  }
  private readonly prestartCount: number;

  private get nowMs(): number {
    return this.env.clock.now();
  }

  /** Has idle workers ready ahead of need. */
  prestart(): void {
    this.run(this.core.prestart(this.prestartCount, this.nowMs));
  }
  request(ticket: Ticket): void {
    this.run(this.core.request(ticket, this.nowMs));
  }
  cancel(ticketId: string): void {
    this.core.cancel(ticketId);
  }
  giveBack(workerId: string): void {
    this.run(this.core.giveBack(workerId, this.nowMs));
  }
  retire(workerId: string, end: Parameters<WorkerPoolCore["retire"]>[1]): void {
    this.run(this.core.retire(workerId, end, this.nowMs));
  }
  tick(): void {
    this.run(this.core.tick(this.nowMs));
  }
  jobFinished(jobId: string, keep: (worker: PoolWorker | Ticket) => boolean): void {
    const { dropped, effects } = this.core.jobFinished(jobId, this.nowMs, keep);
    for (const ticket of dropped) this.users.refused(ticket, `job ${jobId} ended`);
    this.run(effects);
  }

  /** @throws CONFLICT for a process that this raylet does not wait for. */
  register(request: RegisterWorkerRequest, session: Session): void {
    const { refused, effects } = this.core.registered(request.workerId, request.startToken, request.pid, request.endpoint, this.nowMs);
    if (refused !== undefined) throw new TrayError("CONFLICT", `worker ${request.workerId} is refused: ${refused}`);
    if (this.sessions.get(request.workerId) !== session) {
      this.sessions.set(request.workerId, session);
      session.onLost(() => this.lifelineLost(request.workerId, session));
    }
    this.run(effects);
    this.users.changed();
  }

  sessionOf(workerId: string): Session | undefined {
    return this.sessions.get(workerId);
  }
  activityOf(workerId: string): WorkerActivityNow | undefined {
    return this.activities.get(workerId);
  }
  setActivity(workerId: string, activity: WorkerActivityNow): void {
    if (this.core.get(workerId) !== undefined) this.activities.set(workerId, activity);
  }

  /** How a worker ended: at once when that is known or the worker never was here, else when it has ended. */
  failureOf(workerId: string, signal: AbortSignal): Promise<WorkerExit | undefined> {
    const known = this.exits.get(workerId);
    if (known !== undefined || this.core.get(workerId) === undefined) return Promise.resolve(known);
    return new Promise((resolve) => {
      const waiters = this.exitWaiters.get(workerId) ?? [];
      waiters.push(resolve);
      this.exitWaiters.set(workerId, waiters);
      signal.addEventListener("abort", () => resolve(undefined), { once: true });
    });
  }

  /** Ends every worker: asked first, killed after the grace. Resolves when all are gone. */
  async close(): Promise<void> {
    for (const ticket of this.core.close()) this.users.refused(ticket, "the node shuts down");
    const left = [...this.processes.values()];
    for (const child of left) child.kill("SIGTERM");
    const kill = this.env.clock.after(this.env.config.workerKillGracePeriod, () => {
      for (const child of left) child.kill("SIGKILL");
    });
    await Promise.all(left.map((child) => child.exited));
    kill.cancel();
  }

  private run(effects: readonly PoolEffect[]): void {
    this.effects.push(...effects);
    if (this.running) return; // S1
    this.running = true;
    try {
      for (let effect = this.effects.shift(); effect !== undefined; effect = this.effects.shift()) this.carryOut(effect);
    } finally {
      this.running = false;
    }
  }

  private carryOut(effect: PoolEffect): void {
    switch (effect.kind) {
      case "spawn":
        this.spawn(effect);
        break;
      case "assign":
        if (this.users.assigned(effect.ticket, effect.worker)) break;
        if (effect.worker.state.kind === "leased") this.giveBack(effect.worker.workerId);
        else this.retire(effect.worker.workerId, { reason: "killed", detail: "what it was for is not wanted any more", graceful: true });
        break;
      case "refuse":
        this.env.logger.error("no worker process could be started", { detail: effect.detail, envHash: effect.ticket.kind.envHash });
        this.users.refused(effect.ticket, effect.detail);
        break;
      case "askExit":
        this.sessions.get(effect.worker.workerId)?.client(WorkerService).exit({ reason: effect.reason, graceful: true });
        break;
      case "kill":
        this.processes.get(effect.worker.workerId)?.kill("SIGKILL");
        break;
    }
  }

  private spawn({ workerId, startToken, envHash, envJson }: Extract<PoolEffect, { kind: "spawn" }>): void {
    const onLines = (isError: boolean, lines: readonly string[]): void => this.onLines(workerId, this.core.get(workerId)?.pid ?? 0, isError, lines);
    const child = this.spawner.spawn({ workerId, startToken, envHash, envJson, rayletAddress: this.rayletAddress(), onLines });
    this.processes.set(workerId, child);
    this.core.spawned(workerId, child.pid);
    this.env.metrics.count("tray_raylet_workers_started_total");
    child.exited.then(
      (exit) => this.ended(workerId, exit),
      (error: unknown) => this.ended(workerId, { code: null, signal: "", stderrTail: [], failure: messageOf(error) }),
    );
  }

  /** S2 */
  private ended(workerId: string, exit: ProcessExit): void {
    this.processes.delete(workerId);
    this.activities.delete(workerId);
    const session = this.sessions.get(workerId);
    this.sessions.delete(workerId);
    const failure = exit.failure || [`it ended with ${exit.code ?? exit.signal} before it registered`, ...exit.stderrTail.slice(-3)].join(" | ");
    const { departed, effects } = this.core.exited(workerId, this.nowMs, failure);
    if (departed !== undefined) {
      const record = exitRecordOf(this.env.node.nodeId, departed, exit, this.env.clock.wallMs());
      const level = departed.reason === "crashed" || departed.reason === "start-failed" ? "warn" : "info";
      this.env.logger[level]("worker process ended", { workerId, pid: departed.worker.pid, reason: departed.reason, detail: record.message });
      this.env.metrics.count("tray_raylet_workers_ended_total", { reason: departed.reason });
      this.remember(workerId, record);
      this.users.departed(departed, record);
      for (const told of this.exitWaiters.get(workerId) ?? []) told(record);
      this.exitWaiters.delete(workerId);
    }
    session?.close("the worker process ended");
    this.run(effects);
    this.users.changed();
  }

  /** A worker without its session to us would end by itself; make sure of it. */
  private lifelineLost(workerId: string, session: Session): void {
    if (this.sessions.get(workerId) !== session) return;
    this.retire(workerId, { reason: "crashed", detail: "its session with the raylet was lost", graceful: false });
  }

  private remember(workerId: string, record: WorkerExit): void {
    this.exits.set(workerId, record);
    if (this.exits.size <= rememberedExitsMax) return;
    for (const oldest of this.exits.keys()) {
      this.exits.delete(oldest);
      return;
    }
  }
}
