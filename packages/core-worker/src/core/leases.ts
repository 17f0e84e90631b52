// Leases: the lease groups of this owner and their traffic with raylets and workers.
//
// Owns:     groups by scheduling class, lease ids, sessions with leased workers, which templates each worker session has seen.
// Not mine: deciding (lease/group.ts), results and retries (submitter.ts).
// Crosses:  in: runnable, LeaseHolderService, tasksDone, session losses. out: leaseDemand, leaseReturn, pushTasks, stealTasks.
import { type Clock, type Logger, messageOf, type Timer } from "@tray/common";
import {
  type LeaseEnded,
  type LeaseGrant,
  type LeaseReject,
  type LeaseSpillback,
  RayletService,
  type TaskDone,
  type TasksDone,
  type TaskTemplate,
  type WorkerExit,
  WorkerService,
} from "@tray/protocol";
import type { Session } from "@tray/rpc";
import { errorInfo } from "./failures.js";
import { defaultLeaseLimits, type Lease, LeaseGroup, type LeaseGroupHost, type LeaseGroupLimits } from "./lease/group.js";
import type { Peers } from "./peers.js";
import type { Submitter } from "./submitter.js";
import type { TaskEntry, Template } from "./task-entry.js";

const templatesSent = Symbol("templatesSent");
const leasesOnSession = Symbol("leases");
const tickMs = 5;
const causeWaitMs = 2000;

export class Leases implements LeaseGroupHost {
  /** By class key, as it travels; and by what it stands for. */
  private readonly groups = new Map<string, LeaseGroup>();
  private readonly byRequirements = new Map<string, LeaseGroup>();
  private readonly byLease = new Map<string, { group: LeaseGroup; lease: Lease; session: Session | undefined }>();
  private readonly watched = new Set<string>();
  private readonly dirty = new Set<LeaseGroup>();
  private timer: Timer | undefined;

  constructor(
    private readonly peers: Peers,
    private readonly clock: Clock,
    private readonly logger: Logger,
    private readonly local: string,
    private readonly submitter: () => Submitter,
    private readonly answered: (session: Session, task: TaskEntry, done: TaskDone) => void,
    private limits: LeaseGroupLimits = defaultLeaseLimits,
  ) {}

  /** For groups made from now on: the cluster's settings are known once the raylet has answered. */
  setLimits(limits: Partial<LeaseGroupLimits>): void {
    this.limits = { ...this.limits, ...limits };
  }

  // ── from the submitter ─────────────────────────────────────────────────────────────────────────────────────────────────
  runnable(task: TaskEntry, first: boolean): void {
    const group = this.groupOf(task.template);
    if (first) group.enqueueFirst(task);
    else group.enqueue(task);
    this.touch(group);
  }
  withdraw(task: TaskEntry): void {
    const { group } = task.template;
    if (group?.remove(task) === true) this.touch(group);
  }
  cancelPushed(task: TaskEntry, force: boolean, recursive: boolean): void {
    for (const { lease, session } of this.byLease.values()) {
      if (!lease.inflight.has(task.number)) continue;
      session?.client(WorkerService).cancelTask({ number: task.number, force, recursive });
      return;
    }
  }

  // ── LeaseHolderService ─────────────────────────────────────────────────────────────────────────────────────────────────
  granted(raylet: string, grant: LeaseGrant): void {
    const group = this.groups.get(grant.classKey);
    if (group === undefined) {
      this.sendReturn({ id: grant.leaseId, raylet, leaving: false });
      return;
    }
    group.granted(raylet, grant, this.clock.now());
    this.touch(group); // it may have been idle: somebody must watch the lease, to give it back
  }
  spillback(message: LeaseSpillback): void {
    this.groups.get(message.classKey)?.spillback(message.placements, this.clock.now());
  }
  rejected(raylet: string, message: LeaseReject): void {
    this.groups.get(message.classKey)?.rejected(raylet, message, this.clock.now());
  }
  ended(message: LeaseEnded): void {
    const known = this.byLease.get(message.leaseId);
    if (known !== undefined) this.endLease(known.group, known.lease, message.exit ?? unknownExit(known.lease));
  }

  // ── CallerService, normal tasks ────────────────────────────────────────────────────────────────────────────────────────
  /** True when the answers were for leases of this session. */
  tasksDone(session: Session, message: TasksDone): boolean {
    const ids = session.local.get(leasesOnSession) as Set<string> | undefined;
    if (ids === undefined) return false;
    const now = this.clock.now();
    for (const id of ids) {
      const known = this.byLease.get(id);
      if (known === undefined) continue;
      known.lease.stealing = false;
      known.lease.blocked = message.workerBlocked;
      for (const done of message.tasks) {
        const task = known.group.done(known.lease, done.number, now);
        if (task === undefined) continue;
        if (done.durationUs > 0) task.template.meanMs.add(done.durationUs / 1000);
        this.answered(session, task, done);
      }
      if (message.workerExiting) known.group.drain(known.lease);
      this.touch(known.group);
    }
    return true;
  }

  // ── LeaseGroupHost ─────────────────────────────────────────────────────────────────────────────────────────────────────
  localRaylet(): string {
    return this.local;
  }
  demand(raylet: string, demand: Parameters<LeaseGroupHost["demand"]>[1]): void {
    this.raylet(raylet).client(RayletService).leaseDemand(demand);
  }
  returnLease(lease: Lease): void {
    this.forgetLease(lease);
    this.sendReturn(lease);
  }
  push(lease: Lease, tasks: TaskEntry[]): void {
    const session = this.byLease.get(lease.id)?.session;
    if (session === undefined) return;
    const templates = newTemplates(session, tasks);
    const submitter = this.submitter();
    session.client(WorkerService).pushTasks({ templates, tasks: tasks.map((task) => submitter.toWire(task, session)), leaseId: lease.id });
  }
  steal(lease: Lease): void {
    const numbers = [...lease.inflight.keys()]; // the worker knows which of them runs
    this.byLease.get(lease.id)?.session?.client(WorkerService).stealTasks({ numbers });
  }
  dial(group: LeaseGroup, lease: Lease): void {
    const session = this.peers.worker(lease.worker.endpoint);
    this.byLease.set(lease.id, { group, lease, session });
    let ids = session.local.get(leasesOnSession) as Set<string> | undefined;
    if (ids === undefined) {
      ids = new Set();
      session.local.set(leasesOnSession, ids);
      session.onLost(() => this.workerLost(session));
    }
    ids.add(lease.id);
    if (session.state === "up") {
      group.leaseUp(lease, this.clock.now());
      return;
    }
    session.opened().then(
      () => group.leaseUp(lease, this.clock.now()),
      () => undefined, // onLost tells
    );
  }
  unschedulable(tasks: TaskEntry[], reject: LeaseReject): void {
    const error = reject.unschedulable ?? errorInfo("TASK_UNSCHEDULABLE", "no node can ever run it");
    for (const task of tasks) this.submitter().fail(task, error);
  }

  /** Queue lengths and what they wait for, for introspection. */
  *list(): Iterable<LeaseGroup> {
    yield* this.groups.values();
  }

  /** The owner ends: every lease goes back. */
  close(): void {
    this.timer?.cancel();
    for (const group of this.groups.values()) group.abandon();
  }

  private groupOf(template: Template): LeaseGroup {
    if (template.group !== undefined) return template.group;
    const { requirements } = template;
    const key = `${JSON.stringify(requirements.resources?.amounts)}|${JSON.stringify(requirements.strategy)}|${JSON.stringify(requirements.labelSelector)}|${requirements.runtimeEnvHash}`;
    let group = this.byRequirements.get(key);
    if (group === undefined) {
      group = new LeaseGroup(String(this.groups.size + 1), requirements, template.options.name, this.limits, this);
      this.byRequirements.set(key, group);
      this.groups.set(group.key, group);
    }
    template.group = group;
    return group;
  }

  private touch(group: LeaseGroup): void {
    if (this.dirty.size === 0) this.clock.soon(() => this.scheduleDirty());
    this.dirty.add(group);
    this.timer ??= this.clock.every(tickMs, () => this.tick());
  }
  private scheduleDirty(): void {
    const now = this.clock.now();
    const groups = [...this.dirty];
    this.dirty.clear();
    for (const group of groups) group.schedule(now);
  }
  private tick(): void {
    const now = this.clock.now();
    let active = false;
    for (const group of this.groups.values()) {
      if (!group.active) continue;
      group.tick(now);
      active ||= group.active;
    }
    if (!active) {
      this.timer?.cancel();
      this.timer = undefined;
    }
  }

  private raylet(address: string): Session {
    const session = this.peers.raylet(address);
    if (!this.watched.has(address)) {
      this.watched.add(address);
      session.onLost(() => this.rayletLost(address));
    }
    return session;
  }

  /** Leases and demand there are void. */
  rayletLost(address: string): void {
    this.watched.delete(address);
    for (const { group, lease } of [...this.byLease.values()]) {
      if (lease.raylet === address)
        this.endLease(group, lease, {
          ...unknownExit(lease),
          reason: "node-died",
          message: `worker ${lease.worker.workerId.slice(0, 8)} died with its node ${lease.worker.nodeId.slice(0, 8)} (raylet at ${address})`,
        });
    }
    for (const group of this.groups.values()) {
      group.rayletReset(address);
      if (group.active) this.touch(group);
    }
  }

  private workerLost(session: Session): void {
    const ids = session.local.get(leasesOnSession) as Set<string>;
    for (const id of [...ids]) {
      const known = this.byLease.get(id);
      if (known === undefined) continue;
      const { group, lease } = known;
      lease.state = "draining"; // nothing more goes there while we learn why
      this.raylet(lease.raylet)
        .client(RayletService)
        .workerFailure({ workerId: lease.worker.workerId }, { timeoutMs: causeWaitMs, retry: true })
        .then(
          ({ exit }) => exit,
          (error: unknown) => {
            this.logger.debug("cause of a worker's death unknown", { error: messageOf(error) });
            return undefined;
          },
        )
        .then((exit) => this.endLease(group, lease, exit ?? unknownExit(lease)))
        .catch((error: unknown) => this.logger.error("ending a lease failed", { error }));
    }
  }

  private endLease(group: LeaseGroup, lease: Lease, exit: WorkerExit): void {
    const lost = group.leaseEnded(lease);
    this.forgetLease(lease);
    for (const task of lost) this.submitter().lost(task, exit);
    this.sendReturn(lease, lost.length > 0); // alive after all, it may still be at them
    this.touch(group);
  }

  private forgetLease(lease: Lease): void {
    const known = this.byLease.get(lease.id);
    this.byLease.delete(lease.id);
    (known?.session?.local.get(leasesOnSession) as Set<string> | undefined)?.delete(lease.id);
  }

  private sendReturn({ id, raylet, leaving }: Pick<Lease, "id" | "raylet" | "leaving">, workerBroken = false): void {
    const session = this.peers.known(raylet);
    session?.client(RayletService).leaseReturn({ leaseId: id, workerBroken, workerLeaving: leaving });
  }
}

/** Templates that the peer of this session has not been told of. */
export function newTemplates(session: Session, tasks: readonly TaskEntry[]): TaskTemplate[] {
  let sent = session.local.get(templatesSent) as Set<number> | undefined;
  if (sent === undefined) {
    sent = new Set();
    session.local.set(templatesSent, sent);
  }
  const fresh: TaskTemplate[] = [];
  let last = -1;
  for (const { template } of tasks) {
    if (template.id === last || sent.has(template.id)) continue;
    last = template.id;
    sent.add(template.id);
    fresh.push(template.wire);
  }
  return fresh;
}

function unknownExit(lease: Lease): WorkerExit {
  return {
    workerId: lease.worker.workerId,
    nodeId: lease.worker.nodeId,
    pid: 0,
    exitCode: undefined,
    signal: "",
    stderrTail: [],
    reason: "crashed",
    wallMs: 0,
    message: `worker ${lease.worker.workerId.slice(0, 8)} on node ${lease.worker.nodeId.slice(0, 8)} ended and the node could not say how`,
  };
}
