// WorkerPoolCore: which worker process serves which lease or actor on this node.
//
// Owns:     worker states, the idle processes, the queue of those who wait for one (tickets), the start-up budget and its back-off.
// Not mine: OS processes (process-spawner.ts), resources (resources/ledger.ts), who deserves a lease (lease/core.ts).
// Crosses:  in: the operations below, with the time.  out: PoolEffects, to be carried out in order.
//
// Invariants
//   W1. A worker serves at most one lease or actor; which one is on its state and nowhere else.
//   W2. starting ≤ startsMax and all ≤ workersMax; what cannot be started for that waits with cause 'worker-start-budget'.
//   W3. 'dead' is final and leaves no record: a registration with an unknown id or a wrong token is refused, never revived.
//   W4. A process serves one runtime environment, and from its first use on one job.
//   W5. No ticket waits while an idle worker of its kind exists.
import { checkEdge, invariant } from "@tray/common";
import type { WaitCause } from "@tray/protocol";
import { startBackoffMaxMs, startBackoffMinMs, startFailuresMax } from "../limits.js";
import { type ExitReason, type PoolWorker, type Ticket, workerEdges, type WorkerState, type WorkerUse } from "./worker.js";

export interface PoolOptions {
  readonly workersMax: number;
  readonly startsMax: number;
  /** Starts at a time that nobody waits for. */
  readonly prestartsMax: number;
  /** Idle workers that are kept however long they idle. */
  readonly idleKept: number;
  readonly idleTimeoutMs: number;
  readonly startTimeoutMs: number;
  /** How long an exiting worker may take before it is killed. */
  readonly exitGraceMs: number;
  readonly newWorkerId: () => string;
  readonly newStartToken: () => string;
}

export type PoolEffect =
  | { readonly kind: "spawn"; readonly workerId: string; readonly startToken: string; readonly envHash: string; readonly envJson: string }
  | { readonly kind: "assign"; readonly ticket: Ticket; readonly worker: PoolWorker }
  /** Nobody can be started for it: the last failure's text. The ticket is gone. */
  | { readonly kind: "refuse"; readonly ticket: Ticket; readonly detail: string }
  /** Ask the process to end by itself. */
  | { readonly kind: "askExit"; readonly worker: PoolWorker; readonly reason: ExitReason }
  | { readonly kind: "kill"; readonly worker: PoolWorker; readonly reason: ExitReason };

interface EnvStarts {
  envJson: string;
  failures: number;
  notBeforeMs: number;
  lastFailure: string;
}

/** What the pool knew of a worker that is gone. */
export interface Departed {
  readonly worker: PoolWorker;
  readonly use: WorkerUse | undefined;
  readonly reason: ExitReason;
  readonly detail: string;
}

export class WorkerPoolCore {
  private readonly workers = new Map<string, PoolWorker>();
  /** Idle workers by kind, the most recently used last: it is the warmest. */
  private readonly idle = new Map<string, PoolWorker[]>();
  private readonly tickets = new Map<string, Ticket>();
  private readonly envs = new Map<string, EnvStarts>();
  private prestartTarget = 0;
  private closing = false;

  constructor(private readonly options: PoolOptions) {}

  get size(): number {
    return this.workers.size;
  }
  get waiting(): number {
    return this.tickets.size;
  }
  get(workerId: string): PoolWorker | undefined {
    return this.workers.get(workerId);
  }
  all(): IterableIterator<PoolWorker> {
    return this.workers.values();
  }
  count(kind: WorkerState["kind"]): number {
    let n = 0;
    for (const worker of this.workers.values()) if (worker.state.kind === kind) n++;
    return n;
  }
  /** How many more tickets could ever be served at once. */
  room(): number {
    if (this.closing) return 0;
    let busy = 0;
    for (const { state } of this.workers.values()) if (state.kind !== "idle" && state.kind !== "starting") busy++;
    return Math.max(0, this.options.workersMax - busy - this.tickets.size);
  }

  /** Asks for a worker; the answer is an `assign` or `refuse` effect, now or later. */
  request(ticket: Ticket, nowMs: number): PoolEffect[] {
    if (this.closing) return [{ kind: "refuse", ticket, detail: "the node shuts down" }];
    invariant(!this.tickets.has(ticket.id), () => `ticket ${ticket.id} waits already`);
    this.tickets.set(ticket.id, ticket);
    const env = this.env(ticket.kind.envHash);
    env.envJson = ticket.kind.envJson;
    return this.settle(nowMs);
  }

  /** Takes back a request that was not answered. */
  cancel(ticketId: string): boolean {
    return this.tickets.delete(ticketId);
  }

  /** Why this ticket waits; undefined when it does not. */
  waitOf(ticketId: string): { cause: WaitCause; detail: string } | undefined {
    const ticket = this.tickets.get(ticketId);
    if (ticket === undefined) return undefined;
    const env = this.envs.get(ticket.kind.envHash);
    if (env !== undefined && env.failures > 0) return { cause: "waiting-for-worker", detail: `worker processes fail to start: ${env.lastFailure}` };
    let starting = this.starting(ticket.kind.envHash);
    for (const other of this.tickets.values()) {
      if (other.kind.envHash !== ticket.kind.envHash) continue;
      if (starting-- <= 0) break;
      if (other === ticket) return { cause: "waiting-for-worker", detail: "a worker process is starting" };
    }
    const full = this.workers.size >= this.options.workersMax;
    return {
      cause: "worker-start-budget",
      detail: full ? `the node runs its ${this.options.workersMax} worker processes` : `${this.options.startsMax} worker processes are starting`,
    };
  }

  /** The process runs. Its id was in a `spawn` effect. */
  spawned(workerId: string, pid: number): void {
    const worker = this.workers.get(workerId);
    if (worker !== undefined) worker.pid = pid;
  }

  /** The process is up and says who it is. A refusal is a sentence. */
  registered(workerId: string, token: string, pid: number, endpoint: string, nowMs: number): { refused?: string; effects: PoolEffect[] } {
    const worker = this.workers.get(workerId);
    if (worker === undefined || worker.startToken !== token)
      return { refused: "this raylet did not start that worker, or has given it up", effects: [] }; // W3
    if (worker.state.kind === "exiting") return { refused: `it came too late: ${worker.state.detail}`, effects: [] };
    if (worker.registered) return { effects: [] }; // repeated
    worker.pid = pid;
    worker.endpoint = endpoint;
    worker.registered = true;
    const env = this.env(worker.envHash);
    env.failures = 0;
    env.notBeforeMs = 0;
    this.become(worker, { kind: "idle", sinceMs: nowMs });
    this.pushIdle(worker);
    return { effects: this.settle(nowMs) };
  }

  /** A lease ended and its worker is fit for the next one. */
  giveBack(workerId: string, nowMs: number): PoolEffect[] {
    const worker = this.workers.get(workerId);
    if (worker?.state.kind !== "leased") return [];
    this.become(worker, { kind: "idle", sinceMs: nowMs });
    this.pushIdle(worker);
    return this.settle(nowMs);
  }

  /**
   * Ends a worker: gracefully (asked, and killed when it takes too long; `graceMs` 0 = as long as it likes) or at once. Why it ends is what the
   * exit will be put down to; the first reason counts.
   */
  retire(workerId: string, end: { reason: ExitReason; detail: string; graceful: boolean; graceMs?: number }, nowMs: number): PoolEffect[] {
    const worker = this.workers.get(workerId);
    if (worker === undefined) return [];
    if (worker.state.kind === "exiting") {
      if (end.graceful) return [];
      worker.state.killAtMs = nowMs + this.options.exitGraceMs; // asked nicely before, or killed and not gone yet: kill (again)
      return [{ kind: "kill", worker, reason: worker.state.reason }];
    }
    const grace = end.graceMs ?? this.options.exitGraceMs;
    const use = useOf(worker.state);
    if (worker.state.kind === "idle") this.dropIdle(worker);
    const graceful = end.graceful && worker.registered;
    this.become(worker, {
      kind: "exiting",
      reason: end.reason,
      detail: end.detail,
      use,
      killAtMs: grace === 0 && graceful ? Number.POSITIVE_INFINITY : nowMs + grace,
    });
    return [graceful ? { kind: "askExit", worker, reason: end.reason } : { kind: "kill", worker, reason: end.reason }];
  }

  /** The process is gone, or was never there (`failure` of a start). */
  exited(workerId: string, nowMs: number, failure = ""): { departed: Departed | undefined; effects: PoolEffect[] } {
    const worker = this.workers.get(workerId);
    if (worker === undefined) return { departed: undefined, effects: [] };
    const state = worker.state;
    if (state.kind === "idle") this.dropIdle(worker);
    if (state.kind === "starting" || (state.kind === "exiting" && state.reason === "start-failed")) {
      this.startFailed(worker.envHash, failure || (state.kind === "exiting" ? state.detail : "the process ended before it registered"), nowMs);
    }
    const departed: Departed =
      state.kind === "exiting"
        ? { worker, use: state.use, reason: state.reason, detail: state.detail }
        : {
            worker,
            use: useOf(state),
            reason: state.kind === "starting" ? "start-failed" : "crashed",
            detail: state.kind === "starting" ? failure : "",
          };
    this.become(worker, { kind: "dead" });
    this.workers.delete(workerId); // W3
    return { departed, effects: this.settle(nowMs) };
  }

  /** The job is over: its workers are killed and nobody waits for it any more, but for those to `keep` (detached actors). Returns the tickets that were dropped. */
  jobFinished(jobId: string, nowMs: number, keep: (it: PoolWorker | Ticket) => boolean = () => false): { dropped: Ticket[]; effects: PoolEffect[] } {
    const dropped = [...this.tickets.values()].filter((ticket) => ticket.kind.jobId === jobId && !keep(ticket));
    for (const ticket of dropped) this.tickets.delete(ticket.id);
    const effects: PoolEffect[] = [];
    for (const worker of [...this.workers.values()]) {
      if (worker.jobId === jobId && !keep(worker))
        effects.push(...this.retire(worker.workerId, { reason: "job-ended", detail: `job ${jobId} ended`, graceful: false }, nowMs));
    }
    for (const [envHash, env] of this.envs)
      if (env.failures === 0 && this.starting(envHash) === 0 && !this.wanted(envHash)) this.envs.delete(envHash);
    effects.push(...this.settle(nowMs));
    return { dropped, effects };
  }

  /** Wants `count` workers without a job or environment ready ahead of need. */
  prestart(count: number, nowMs: number): PoolEffect[] {
    this.prestartTarget = Math.max(this.prestartTarget, count);
    return this.settle(nowMs);
  }

  /** Deadlines: starts, idle time, exits, back-offs. */
  tick(nowMs: number): PoolEffect[] {
    const effects: PoolEffect[] = [];
    const idle: PoolWorker[] = [];
    for (const worker of [...this.workers.values()]) {
      const { state } = worker;
      if (state.kind === "starting" && nowMs - worker.startedMs >= this.options.startTimeoutMs) {
        effects.push(
          ...this.retire(
            worker.workerId,
            { reason: "start-failed", detail: `it did not register within ${this.options.startTimeoutMs} ms`, graceful: false },
            nowMs,
          ),
        );
      } else if (state.kind === "exiting" && nowMs >= state.killAtMs) {
        effects.push(...this.retire(worker.workerId, { reason: state.reason, detail: state.detail, graceful: false }, nowMs));
      } else if (state.kind === "idle") idle.push(worker);
    }
    const surplus = idle.length - this.options.idleKept;
    if (surplus > 0) {
      idle.sort((a, b) => idleSince(a) - idleSince(b));
      for (const worker of idle.slice(0, surplus)) {
        if (nowMs - idleSince(worker) < this.options.idleTimeoutMs) break;
        // In its own time: others may still need what it owns.
        effects.push(...this.retire(worker.workerId, { reason: "idle", detail: "idle for long", graceful: true, graceMs: 0 }, nowMs));
      }
    }
    effects.push(...this.settle(nowMs));
    return effects;
  }

  /** No more starts, no more assignments; whatever ends from now on ends with the node. */
  close(): Ticket[] {
    this.closing = true;
    for (const worker of this.workers.values()) {
      if (worker.state.kind === "exiting") continue;
      if (worker.state.kind === "idle") this.dropIdle(worker);
      this.become(worker, {
        kind: "exiting",
        reason: "node-died",
        detail: "the node shuts down",
        use: useOf(worker.state),
        killAtMs: Number.POSITIVE_INFINITY,
      });
    }
    const dropped = [...this.tickets.values()];
    this.tickets.clear();
    return dropped;
  }

  /** Throws InvariantError when W1–W5 do not hold. For tests. */
  check(): void {
    let starting = 0;
    const uses = new Set<string>();
    for (const worker of this.workers.values()) {
      if (worker.state.kind === "starting") starting++;
      invariant(worker.state.kind !== "dead", "W3: a dead worker is on record");
      const use = useOf(worker.state);
      const key = use === undefined ? worker.workerId : use.kind === "lease" ? use.leaseId : `${use.actorId}:${use.incarnation}`;
      invariant(!uses.has(key), () => `W1: ${key} is served twice`);
      uses.add(key);
      const listed = (this.idle.get(kindKey(worker.envHash, worker.jobId)) ?? []).includes(worker);
      invariant(listed === (worker.state.kind === "idle"), () => `idle list and state of ${worker.workerId} disagree`);
    }
    invariant(starting <= this.options.startsMax && this.workers.size <= this.options.workersMax, "W2");
    if (!this.closing)
      for (const ticket of this.tickets.values()) invariant(this.idleFor(ticket) === undefined, () => `W5: ${ticket.id} waits beside an idle worker`);
  }

  /** Serves tickets in their order, then starts what is missing. Called after everything that may have changed either side. */
  private settle(nowMs: number): PoolEffect[] {
    if (this.closing) return [];
    const effects: PoolEffect[] = [];
    for (const ticket of this.tickets.values()) {
      const worker = this.idleFor(ticket);
      if (worker === undefined) continue;
      this.tickets.delete(ticket.id);
      this.dropIdle(worker);
      worker.jobId = ticket.kind.jobId; // W4
      this.become(
        worker,
        ticket.use.kind === "lease"
          ? { kind: "leased", leaseId: ticket.use.leaseId }
          : { kind: "actor", actorId: ticket.use.actorId, incarnation: ticket.use.incarnation },
      );
      effects.push({ kind: "assign", ticket, worker });
    }
    this.startMissing(nowMs, effects);
    return effects;
  }

  private startMissing(nowMs: number, effects: PoolEffect[]): void {
    let starting = this.count("starting");
    const missing = new Map<string, number>();
    for (const ticket of this.tickets.values()) missing.set(ticket.kind.envHash, (missing.get(ticket.kind.envHash) ?? 0) + 1);
    for (const [envHash, wanted] of missing) {
      let lacking = wanted - this.starting(envHash);
      const env = this.env(envHash);
      if (env.failures >= startFailuresMax) {
        this.refuseAll(envHash, env, effects);
        continue;
      }
      if (env.failures > 0) lacking = Math.min(lacking, 1); // one at a time until a start succeeds
      for (; lacking > 0 && starting < this.options.startsMax && nowMs >= env.notBeforeMs; lacking--) {
        if (!this.makeRoom(nowMs, effects)) break; // W2
        this.start(envHash, env.envJson, nowMs, effects);
        starting++;
      }
    }
    const plain = this.env("");
    while (this.prestartTarget > 0) {
      const ready = (this.idle.get(kindKey("", ""))?.length ?? 0) + this.starting("");
      if (ready >= this.prestartTarget) this.prestartTarget = this.starting("") === 0 ? 0 : this.prestartTarget;
      if (ready >= this.prestartTarget || starting >= Math.min(this.options.startsMax, this.options.prestartsMax)) break;
      if (this.workers.size >= this.options.workersMax || plain.failures > 0) break;
      this.start("", "", nowMs, effects);
      starting++;
    }
  }

  private start(envHash: string, envJson: string, nowMs: number, effects: PoolEffect[]): void {
    const worker: PoolWorker = {
      workerId: this.options.newWorkerId(),
      startToken: this.options.newStartToken(),
      envHash,
      jobId: "",
      pid: 0,
      endpoint: "",
      startedMs: nowMs,
      registered: false,
      state: { kind: "starting" },
    };
    this.workers.set(worker.workerId, worker);
    effects.push({ kind: "spawn", workerId: worker.workerId, startToken: worker.startToken, envHash, envJson });
  }

  /** True when one more process may run. Else the longest idle one is asked to go, so that there will be room. */
  private makeRoom(nowMs: number, effects: PoolEffect[]): boolean {
    if (this.workers.size < this.options.workersMax) return true;
    if (this.count("exiting") > 0) return false; // room is on its way
    let oldest: PoolWorker | undefined;
    for (const worker of this.workers.values()) {
      if (worker.state.kind === "idle" && (oldest === undefined || idleSince(worker) < idleSince(oldest))) oldest = worker;
    }
    if (oldest !== undefined)
      effects.push(...this.retire(oldest.workerId, { reason: "idle", detail: "another kind of worker is needed", graceful: true }, nowMs));
    return false;
  }

  private startFailed(envHash: string, detail: string, nowMs: number): void {
    const env = this.env(envHash);
    env.notBeforeMs = nowMs + Math.min(startBackoffMaxMs, startBackoffMinMs * 2 ** env.failures);
    env.failures++;
    env.lastFailure = detail;
  }

  private refuseAll(envHash: string, env: EnvStarts, effects: PoolEffect[]): void {
    for (const ticket of [...this.tickets.values()]) {
      if (ticket.kind.envHash !== envHash) continue;
      this.tickets.delete(ticket.id);
      effects.push({ kind: "refuse", ticket, detail: env.lastFailure });
    }
    env.failures = 1; // whoever asks next has one more start before it is refused after the usual number
  }

  private idleFor(ticket: Ticket): PoolWorker | undefined {
    const own = this.idle.get(kindKey(ticket.kind.envHash, ticket.kind.jobId));
    if (own !== undefined && own.length > 0) return own[own.length - 1];
    const free = this.idle.get(kindKey(ticket.kind.envHash, ""));
    return free?.[free.length - 1];
  }

  private pushIdle(worker: PoolWorker): void {
    const key = kindKey(worker.envHash, worker.jobId);
    const list = this.idle.get(key);
    if (list === undefined) this.idle.set(key, [worker]);
    else list.push(worker);
  }

  private dropIdle(worker: PoolWorker): void {
    const key = kindKey(worker.envHash, worker.jobId);
    const list = this.idle.get(key) ?? [];
    const at = list.lastIndexOf(worker);
    if (at >= 0) list.splice(at, 1);
    if (list.length === 0) this.idle.delete(key);
  }

  private starting(envHash: string): number {
    let n = 0;
    for (const worker of this.workers.values()) if (worker.state.kind === "starting" && worker.envHash === envHash) n++;
    return n;
  }

  private wanted(envHash: string): boolean {
    for (const ticket of this.tickets.values()) if (ticket.kind.envHash === envHash) return true;
    return false;
  }

  private env(envHash: string): EnvStarts {
    let env = this.envs.get(envHash);
    if (env === undefined) {
      env = { envJson: "", failures: 0, notBeforeMs: 0, lastFailure: "" };
      this.envs.set(envHash, env);
    }
    return env;
  }

  private become(worker: PoolWorker, to: WorkerState): void {
    checkEdge("worker", workerEdges, worker.state.kind, to.kind);
    worker.state = to;
  }
}

const kindKey = (envHash: string, jobId: string): string => `${envHash}|${jobId}`;

function idleSince(worker: PoolWorker): number {
  return worker.state.kind === "idle" ? worker.state.sinceMs : Number.POSITIVE_INFINITY;
}

export function useOf(state: WorkerState): WorkerUse | undefined {
  if (state.kind === "leased") return { kind: "lease", leaseId: state.leaseId };
  if (state.kind === "actor") return { kind: "actor", actorId: state.actorId, incarnation: state.incarnation };
  return state.kind === "exiting" ? state.use : undefined;
}
