// LeaseQueueCore: which demand of which owner gets a lease of this node, and which is sent elsewhere.
//
// Owns:     demand levels per owner and scheduling class (demand.ts), leases, what was spilled where.
// Not mine: whose turn it is (service-order.ts), where a class may run (route.ts), amounts (resources/ledger.ts), processes (pool/core.ts), the cluster
//           (view), messages (service.ts).
// Crosses:  in: level, placed, assigned, refused, giveBack, workerGone, ownerGone, dispatch.  out: LeaseEffects, in order.
//
// The life of a lease: dispatch takes resources and a ticket for a worker (pending) → assigned: granted → given back, or its worker or its owner is gone.
//
// Invariants
//   L1. For each class: pending + grants the owner has not seen + spilled since its last level ≤ wanted at that level, when something is added to them.
//   L2. A lease holds its resources under its id from pending to its end, exactly once.
//   L3. Service goes round between owners, and between the classes of an owner, those waiting longest first; nobody is passed over who could be served.
//   L4. At most one question to the global scheduler per class at a time, at least placeIntervalMs apart.
//   L5. Spilled demand never waits for resources and is never spilled again.
import { invariant } from "@tray/common";
import type { ClusterView, NodeSnapshot } from "@tray/scheduler";
import type { WaitCause } from "@tray/protocol";
import { classesPerOwnerMax, placeIntervalMs, placeRetryMs, spilledForgetMs, wantedPerClassMax } from "../limits.js";
import type { Ticket } from "../pool/worker.js";
import type { ResourceLedger } from "../resources/ledger.js";
import { type DemandClass, type DemandOwner, isIdle, newClass, outstanding, unseen } from "./demand.js";
import { type Route, routeOf } from "./route.js";
import { ServiceOrder } from "./service-order.js";
import type { Shape } from "./shape.js";
import type { LeaseEffect, Level, OwnerKey, PlaceAnswer, QueuedClass } from "./types.js";

export interface LeaseQueueOptions {
  readonly nodeId: string;
  readonly labels: Readonly<Record<string, string>>;
  readonly ledger: ResourceLedger;
  readonly view: ClusterView;
  readonly workers: WorkerTickets;
  readonly newLeaseId: () => string;
}

/** What the lease queue needs of the worker pool. Answers to requests come as assigned() and refused(), never from within request(). */
export interface WorkerTickets {
  /** How many more tickets could ever be served at once. */
  room(): number;
  request(ticket: Ticket): void;
  cancel(leaseId: string): void;
  /** Why a ticket waits. */
  waitOf(leaseId: string): { cause: WaitCause; detail: string } | undefined;
}

interface Lease {
  readonly leaseId: string;
  readonly demand: DemandClass;
  workerId: string | undefined;
}

export class LeaseQueueCore {
  private readonly owners = new Map<OwnerKey, DemandOwner>();
  /** Classes with something outstanding (L3). */
  private readonly order = new ServiceOrder();
  private readonly leases = new Map<string, Lease>();
  /** Classes with something spilled since their last level. */
  private readonly spilling = new Set<DemandClass>();

  constructor(private readonly options: LeaseQueueOptions) {}

  get leaseCount(): number {
    return this.leases.size;
  }

  /** True when this owner's class is known, so that a level may come without requirements. */
  knows(owner: OwnerKey, classKey: string): boolean {
    return this.owners.get(owner)?.classes.has(classKey) ?? false;
  }

  /** The owner's demand for a class is now `level`. `shape` is needed for the first level of a class. False: refused (too many classes, or no shape). */
  level(ownerKey: OwnerKey, classKey: string, shape: Shape | undefined, level: Level, nowMs: number, effects: LeaseEffect[]): boolean {
    const owner = this.owner(ownerKey);
    let demand = owner.classes.get(classKey);
    if (demand === undefined) {
      if (owner.classes.size >= classesPerOwnerMax) this.forgetIdleClasses(owner);
      if (shape === undefined || owner.classes.size >= classesPerOwnerMax) {
        this.forgetOwnerIfIdle(owner);
        return false;
      }
      demand = newClass(owner, classKey, shape, level, nowMs);
      owner.classes.set(classKey, demand);
    }
    const before = outstanding(demand);
    demand.level = level.wanted <= wantedPerClassMax ? level : { ...level, wanted: wantedPerClassMax };
    demand.spilledOut = 0;
    this.spilling.delete(demand);
    this.cancelSurplus(demand);
    if (before === 0) demand.sinceMs = nowMs;
    if (level.spilled) this.serveSpilled(demand, nowMs, effects);
    this.requeue(demand);
    this.dispatch(nowMs, effects);
    return true;
  }

  /** Grants what can be granted, and looks elsewhere for the rest. Call after anything that may have changed availability, workers or the view. */
  dispatch(nowMs: number, effects: LeaseEffect[]): void {
    for (let served = true; served; ) {
      served = false;
      for (const owner of this.order.owners()) {
        for (const demand of this.order.classesOf(owner)) {
          if (!this.serveHere(demand, nowMs)) continue;
          served = true;
          this.order.moveToBack(demand, outstanding(demand) > 0); // L3
          break;
        }
      }
    }
    this.recallSpilled(nowMs);
    for (const owner of this.order.owners()) for (const demand of [...this.order.classesOf(owner)]) this.lookElsewhere(demand, nowMs, effects);
  }

  /** The global scheduler answered. */
  placed(ownerKey: OwnerKey, classKey: string, answer: PlaceAnswer | undefined, nowMs: number, effects: LeaseEffect[]): void {
    const demand = this.owners.get(ownerKey)?.classes.get(classKey);
    if (demand === undefined || !demand.placing) return;
    demand.placing = false;
    demand.barrenVersion = this.options.view.version;
    if (answer === undefined) {
      demand.placedHere = outstanding(demand); // nobody to ask: better here than nowhere
    } else {
      const spill: { nodeId: string; raylet: string; count: number }[] = [];
      for (const { nodeId, raylet, count } of answer.placements) {
        if (nodeId === this.options.nodeId) {
          demand.placedHere += count;
          demand.barrenVersion = undefined;
          continue;
        }
        const n = Math.min(count, outstanding(demand)); // L1: the level may have fallen meanwhile
        const seen = this.options.view.get(nodeId);
        if (n <= 0 || seen === undefined) continue;
        this.countSpilled(demand, n, nowMs);
        demand.spilledTo.set(nodeId, { seen, atMs: nowMs });
        spill.push({ nodeId, raylet: raylet || seen.raylet, count: n });
      }
      if (spill.length > 0) {
        demand.barrenVersion = undefined;
        effects.push({ kind: "spillback", owner: ownerKey, classKey, placements: spill });
      }
    }
    this.requeue(demand);
    this.dispatch(nowMs, effects);
  }

  /** A worker was found for a pending lease. False: the lease was cancelled; the worker is not used. */
  assigned(leaseId: string, workerId: string, effects: LeaseEffect[]): boolean {
    const lease = this.leases.get(leaseId);
    if (lease === undefined) return false;
    invariant(lease.workerId === undefined, () => `lease ${leaseId} was assigned twice`);
    lease.workerId = workerId;
    const { demand } = lease;
    demand.pending.delete(leaseId);
    demand.grants++;
    effects.push({ kind: "grant", owner: demand.owner.key, classKey: demand.key, leaseId, workerId, grants: demand.grants });
    return true;
  }

  /** No worker can be started for a pending lease: the owner is told, for the whole class when its environment is to blame. */
  refused(leaseId: string, detail: string, nowMs: number, effects: LeaseEffect[]): void {
    const lease = this.leases.get(leaseId);
    if (lease === undefined || lease.workerId !== undefined) return;
    const { demand } = lease;
    this.endLease(lease);
    if (demand.shape.worker.envHash !== "") {
      const message = `no worker process with the runtime environment could be started: ${detail}`;
      this.reject(demand, { code: "RUNTIME_ENV_SETUP", message }, effects);
    } else if (demand.level.spilled) this.serveSpilled(demand, nowMs, effects);
    this.requeue(demand);
    this.dispatch(nowMs, effects);
  }

  /** The owner does not need the lease any more. False: it is not its lease. */
  giveBack(ownerKey: OwnerKey, leaseId: string, broken: boolean, nowMs: number, effects: LeaseEffect[]): boolean {
    const lease = this.leases.get(leaseId);
    if (lease === undefined || lease.demand.owner.key !== ownerKey || lease.workerId === undefined) return false;
    this.endLease(lease);
    effects.push({ kind: "freeWorker", workerId: lease.workerId, broken, detail: "its owner found it broken" });
    this.dispatch(nowMs, effects);
    return true;
  }

  /** The worker of a lease is gone. Returns the owner to be told. */
  workerGone(leaseId: string, nowMs: number, effects: LeaseEffect[]): OwnerKey | undefined {
    const lease = this.leases.get(leaseId);
    if (lease === undefined) return undefined;
    this.endLease(lease);
    this.dispatch(nowMs, effects);
    return lease.demand.owner.key;
  }

  /** The owner's session is lost: its demand is void, its workers may be in the middle of something that nobody waits for. */
  ownerGone(ownerKey: OwnerKey, nowMs: number, effects: LeaseEffect[]): void {
    const owner = this.owners.get(ownerKey);
    if (owner === undefined) return;
    for (const leaseId of [...owner.leases]) {
      const lease = this.leases.get(leaseId) as Lease;
      this.endLease(lease);
      if (lease.workerId !== undefined)
        effects.push({ kind: "freeWorker", workerId: lease.workerId, broken: true, detail: "the owner of its task is gone" });
    }
    for (const demand of owner.classes.values()) this.spilling.delete(demand);
    this.owners.delete(ownerKey);
    this.order.forget(owner);
    this.dispatch(nowMs, effects);
  }

  /** Which worker serves the lease, and for whom. */
  leaseOf(leaseId: string): { owner: OwnerKey; classKey: string; workerId: string | undefined; name: string } | undefined {
    const lease = this.leases.get(leaseId);
    return lease === undefined
      ? undefined
      : { owner: lease.demand.owner.key, classKey: lease.demand.key, workerId: lease.workerId, name: lease.demand.level.name };
  }

  /** What waits here. A class counts with the tasks behind it, not with the leases that it would use. */
  queued(): QueuedClass[] {
    const out: QueuedClass[] = [];
    for (const owner of this.owners.values()) {
      for (const demand of owner.classes.values()) {
        const open = outstanding(demand) + demand.pending.size;
        if (open === 0) continue;
        const wait = outstanding(demand) > 0 ? { cause: demand.cause, detail: demand.detail } : this.ticketWait(demand);
        out.push({
          shape: demand.shape.resources,
          queued: Math.max(demand.level.backlog, open),
          meanTaskMs: demand.level.meanTaskMs,
          ...wait,
          sinceMs: demand.sinceMs,
        });
      }
    }
    return out;
  }

  /** True when a class waits that only time can help (a grace, a repeated question). */
  get waits(): boolean {
    return !this.order.isEmpty || this.spilling.size > 0;
  }

  /** Throws InvariantError when L2, L3 do not hold. For tests. */
  check(): void {
    for (const [leaseId, lease] of this.leases) {
      invariant(this.options.ledger.heldBy(leaseId) !== undefined, () => `L2: lease ${leaseId} holds nothing`);
      invariant(lease.demand.owner.leases.has(leaseId), () => `lease ${leaseId} is unknown to its owner`);
      invariant((lease.workerId === undefined) === lease.demand.pending.has(leaseId), () => `lease ${leaseId}: pending and worker disagree`);
    }
    for (const owner of this.owners.values()) {
      for (const demand of owner.classes.values()) {
        const waits = outstanding(demand) > 0 && !demand.level.spilled;
        invariant(this.order.has(demand) === waits, () => `L3: turn of ${owner.key}/${demand.key}`);
      }
    }
  }

  /** Takes resources and a ticket for one more lease of the class, if it may run here now. Sets the wait cause otherwise. */
  private serveHere(demand: DemandClass, nowMs: number): boolean {
    const { ledger } = this.options;
    const route = this.route(demand);
    if (route.here === "no") return this.waitFor(demand, "waiting-for-node", "the task may not run on this node");
    if (!ledger.feasible(demand.shape.resources)) return this.waitFor(demand, "waiting-for-resources", "this node is too small for it");
    if (route.here === "ifPlaced" && demand.placedHere <= 0)
      return this.waitFor(demand, "waiting-for-resources", "the global scheduler has not placed it yet");
    if (!ledger.fits(demand.shape.resources)) return this.waitFor(demand, "waiting-for-resources", "");
    if (this.options.workers.room() <= 0) return this.waitFor(demand, "worker-start-budget", "the node runs as many worker processes as it may");
    if (demand.placedHere > 0) demand.placedHere--;
    const leaseId = this.options.newLeaseId();
    invariant(ledger.acquire(leaseId, demand.shape.resources), "L2: what fitted could not be acquired");
    this.leases.set(leaseId, { leaseId, demand, workerId: undefined });
    demand.pending.add(leaseId);
    demand.owner.leases.add(leaseId);
    this.options.workers.request({ id: leaseId, kind: demand.shape.worker, use: { kind: "lease", leaseId }, sinceMs: nowMs });
    return true;
  }

  /** Looked up again only when the view or the arguments changed. */
  private route(demand: DemandClass): Route {
    const { nodeId, labels, ledger, view } = this.options;
    const known = demand.route;
    if (known !== undefined && known.version === view.version && known.args === demand.level.argBytesByNode) return known.route;
    const route = routeOf(demand.shape, { nodeId, labels, total: ledger.total }, view, demand.level.argBytesByNode);
    demand.route = { version: view.version, args: demand.level.argBytesByNode, route };
    return route;
  }

  private waitFor(demand: DemandClass, cause: WaitCause, detail: string): false {
    demand.cause = cause;
    demand.detail = detail;
    return false;
  }

  /** L5: as much as fits now, no to the rest. */
  private serveSpilled(demand: DemandClass, nowMs: number, effects: LeaseEffect[]): void {
    demand.placedHere = outstanding(demand); // the global scheduler chose this node
    while (outstanding(demand) > 0 && this.serveHere(demand, nowMs));
    this.reject(demand, undefined, effects);
  }

  private reject(
    demand: DemandClass,
    unschedulable: { code: "RUNTIME_ENV_SETUP" | "TASK_UNSCHEDULABLE"; message: string } | undefined,
    effects: LeaseEffect[],
  ): void {
    const count = outstanding(demand);
    if (count === 0 && unschedulable === undefined) return;
    effects.push({ kind: "reject", owner: demand.owner.key, classKey: demand.key, count, ...(unschedulable === undefined ? {} : { unschedulable }) });
    demand.level = { ...demand.level, wanted: demand.level.wanted - count };
    this.requeue(demand);
  }

  /** What cannot run here now may be able to run elsewhere. */
  private lookElsewhere(demand: DemandClass, nowMs: number, effects: LeaseEffect[]): void {
    if (demand.level.spilled || demand.placing || outstanding(demand) === 0) return;
    const { ledger, view } = this.options;
    const route = this.route(demand);
    if (route.never !== undefined && (route.sure || nowMs - demand.sinceMs >= route.graceMs)) {
      this.reject(demand, { code: "TASK_UNSCHEDULABLE", message: route.never }, effects);
      return;
    }
    if (route.only !== undefined) {
      this.spillTo(demand, route.only, nowMs, effects);
      return;
    }
    const feasibleHere = route.here !== "no" && ledger.feasible(demand.shape.resources);
    if (!feasibleHere && route.feasible.length === 0) {
      if (route.never === undefined) this.waitFor(demand, "infeasible", "no node of the cluster could run it");
      return;
    }
    if (!feasibleHere) this.waitFor(demand, "waiting-for-resources", "the nodes that could run it are busy");
    const roomThere = route.feasible.some((node) => fitsOn(node, demand.shape) && this.maySpillTo(demand, node, nowMs));
    const roomHere = route.here === "ifPlaced" && ledger.fits(demand.shape.resources);
    if (!roomThere && !roomHere) return;
    const sinceAsked = nowMs - demand.placedAtMs;
    if (sinceAsked < placeIntervalMs || (demand.barrenVersion === view.version && sinceAsked < placeRetryMs)) return; // L4
    demand.placing = true;
    demand.placedAtMs = nowMs;
    effects.push({
      kind: "askPlace",
      owner: demand.owner.key,
      classKey: demand.key,
      shape: demand.shape,
      count: outstanding(demand),
      argBytesByNode: demand.level.argBytesByNode,
    });
  }

  /** An owner that was refused there may think that its last level still stands: after a while it does. Surplus grants come back. */
  private recallSpilled(nowMs: number): void {
    for (const demand of this.spilling) {
      if (nowMs - demand.spilledAtMs < spilledForgetMs) continue;
      this.spilling.delete(demand);
      demand.spilledOut = 0;
      this.requeue(demand);
    }
  }

  private countSpilled(demand: DemandClass, count: number, nowMs: number): void {
    demand.spilledOut += count;
    demand.spilledAtMs = nowMs;
    this.spilling.add(demand);
  }

  /** Affinity names the node: there is nothing to ask. */
  private spillTo(demand: DemandClass, node: NodeSnapshot, nowMs: number, effects: LeaseEffect[]): void {
    if (!fitsOn(node, demand.shape) || !this.maySpillTo(demand, node, nowMs)) {
      this.waitFor(demand, "waiting-for-resources", `on node ${node.nodeId}`);
      return;
    }
    const count = outstanding(demand);
    this.countSpilled(demand, count, nowMs);
    demand.spilledTo.set(node.nodeId, { seen: node, atMs: nowMs });
    effects.push({
      kind: "spillback",
      owner: demand.owner.key,
      classKey: demand.key,
      placements: [{ nodeId: node.nodeId, raylet: node.raylet, count }],
    });
    this.requeue(demand);
  }

  private maySpillTo(demand: DemandClass, node: NodeSnapshot, nowMs: number): boolean {
    const last = demand.spilledTo.get(node.nodeId);
    return last === undefined || last.seen !== node || nowMs - last.atMs >= placeRetryMs;
  }

  private cancelSurplus(demand: DemandClass): void {
    for (let surplus = demand.pending.size - (demand.level.wanted - unseen(demand)); surplus > 0 && demand.pending.size > 0; surplus--) {
      const newest = [...demand.pending].at(-1) as string;
      this.endLease(this.leases.get(newest) as Lease);
    }
  }

  private endLease(lease: Lease): void {
    invariant(this.options.ledger.release(lease.leaseId), () => `L2: lease ${lease.leaseId} held nothing`);
    this.leases.delete(lease.leaseId);
    if (lease.demand.pending.delete(lease.leaseId)) this.options.workers.cancel(lease.leaseId);
    lease.demand.owner.leases.delete(lease.leaseId);
    this.requeue(lease.demand);
  }

  private requeue(demand: DemandClass): void {
    const { owner } = demand;
    this.order.set(demand, outstanding(demand) > 0 && !demand.level.spilled && this.owners.get(owner.key) === owner);
  }

  private owner(key: OwnerKey): DemandOwner {
    let owner = this.owners.get(key);
    if (owner === undefined) {
      owner = { key, classes: new Map(), leases: new Set() };
      this.owners.set(key, owner);
    }
    return owner;
  }

  private forgetIdleClasses(owner: DemandOwner): void {
    for (const demand of owner.classes.values()) if (isIdle(demand)) owner.classes.delete(demand.key);
  }

  private forgetOwnerIfIdle(owner: DemandOwner): void {
    if (owner.classes.size === 0 && owner.leases.size === 0) this.owners.delete(owner.key);
  }

  private ticketWait(demand: DemandClass): { cause: WaitCause; detail: string } {
    for (const leaseId of demand.pending) {
      const wait = this.options.workers.waitOf(leaseId);
      if (wait !== undefined) return wait;
    }
    return { cause: "waiting-for-worker", detail: "" };
  }
}

function fitsOn(node: NodeSnapshot, shape: Shape): boolean {
  for (const name in shape.resources) if ((node.available[name] ?? 0) < (shape.resources[name] as number)) return false;
  return true;
}
