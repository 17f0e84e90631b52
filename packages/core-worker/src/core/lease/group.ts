// LeaseGroup: the queue of one scheduling class at its owner, and the leases that serve it. Pure: decides, and says so through its host.
//
// Owns:     queued tasks, leases and what was pushed to them, the demand level per raylet (docs/decisions/0002).
// Not mine: sessions, encoding, retries (submitter.ts), argument readiness (only ready tasks come here).
// Crosses:  in: enqueue, granted, spillback, rejected, done, leaseUp, leaseEnded, tick. out: LeaseGroupHost.
//
// Invariants
//   L1. a task is in exactly one place: the queue, or one lease's inflight map.
//   L2. a task of a millisecond or more is not left behind another on a busy worker while a worker of the group is idle: it is taken back.
//       Behind a task that does not end, no task is left at all: another worker is asked for, whatever the task was expected to take.
//   L3. wanted + leases being used never asks for more than there is work for; no work → every lease goes back after the linger.
import { Deque } from "@tray/common";
import type { Address, LeaseDemand, LeaseGrant, LeaseReject, Placement, Requirements } from "@tray/protocol";
import type { TaskEntry } from "../task-entry.js";
import { argBytesByNode, heldMax, Locality, take } from "./locality.js";

export interface Lease {
  readonly id: string;
  readonly worker: Address;
  /** host:port of the raylet that granted it. */
  readonly raylet: string;
  /** connecting → up → (draining) → ended. Draining: nothing more is pushed. */
  state: "connecting" | "up" | "draining" | "ended";
  readonly inflight: Map<number, TaskEntry>;
  /** Sum of the expected durations of what is in flight. */
  expectedMs: number;
  /** When the worker last answered, or was given work after being idle. */
  progressMs: number;
  idleSinceMs: number;
  stealing: boolean;
  /** The worker has said that it will end: draining, and no other may have it. */
  leaving: boolean;
  /** What runs there waits, as far as is known, and has lent its processors: nothing is to be put behind it. */
  blocked: boolean;
  readonly grantedMs: number;
}

interface RayletDemand {
  sentWanted: number;
  grantsSeen: number;
  /** Leases this raylet was asked for on another's advice and has not answered. */
  spilled: number;
  /** The raylet must hear the level again, changed or not. */
  stale: boolean;
}

export interface LeaseGroupHost {
  push(lease: Lease, tasks: TaskEntry[]): void;
  steal(lease: Lease): void;
  returnLease(lease: Lease): void;
  demand(raylet: string, demand: LeaseDemand): void;
  /** Dial the worker; then leaseUp or leaseEnded. */
  dial(group: LeaseGroup, lease: Lease): void;
  /** The class can never run. */
  unschedulable(tasks: TaskEntry[], reject: LeaseReject): void;
  localRaylet(): string;
}

export interface LeaseGroupLimits {
  /** Tasks in flight to one worker. */
  readonly depthMax: number;
  /** Expected work in flight to one worker, when its tasks are short. */
  readonly budgetMs: number;
  /** From here on a task is long: never queued behind another while a worker is idle. */
  readonly shortTaskMs: number;
  /** An idle lease is kept this long. */
  readonly lingerMs: number;
  readonly wantedMax: number;
  /** Work that one further worker should be worth, for short tasks. */
  readonly worthMs: number;
  /** An owner with a long queue lets go of a lease after this, so that the raylet can be fair. */
  readonly heldMaxMs: number;
}

export const defaultLeaseLimits: LeaseGroupLimits = {
  depthMax: 1024,
  budgetMs: 4,
  shortTaskMs: 1,
  lingerMs: 40,
  wantedMax: 4096,
  worthMs: 5,
  heldMaxMs: 500,
};

const stalledMs = 4;
/** What waits for this long behind one task, and has nothing before it in the queue, wants a worker of its own. */
const parkedMs = 20;

export class LeaseGroup {
  readonly queue = new Deque<TaskEntry>();
  readonly leases = new Map<string, Lease>();
  private readonly raylets = new Map<string, RayletDemand>();
  private inflightCount = 0;
  /** Tasks that wait for a worker where their arguments lie. */
  private held = 0;
  private readonly locality: Locality;

  constructor(
    readonly key: string,
    readonly requirements: Requirements,
    private readonly name: string,
    private readonly limits: LeaseGroupLimits,
    private readonly host: LeaseGroupHost,
  ) {
    this.locality = new Locality((requirements.strategy?.kind?.$case ?? "default") === "default");
  }

  /** Nothing queued, nothing in flight, no lease: the group may be forgotten. */
  get empty(): boolean {
    return this.queue.length === 0 && this.leases.size === 0;
  }
  /** True when `tick` has something to watch. */
  get active(): boolean {
    return this.leases.size > 0 || this.queue.length > 0;
  }

  enqueue(task: TaskEntry): void {
    task.state = "queued";
    this.queue.push(task);
  }
  enqueueFirst(task: TaskEntry): void {
    task.state = "queued";
    this.queue.unshift(task);
  }
  /** Takes a queued task out (cancel). */
  remove(task: TaskEntry): boolean {
    return this.queue.removeFirst((t) => t === task) !== undefined;
  }

  granted(raylet: string, grant: LeaseGrant, nowMs: number): void {
    const demand = this.demandAt(raylet);
    demand.grantsSeen = Math.max(demand.grantsSeen, grant.grants);
    if (demand.sentWanted > 0) demand.sentWanted--;
    if (demand.spilled > 0) demand.spilled--;
    if (this.leases.has(grant.leaseId) || grant.worker === undefined) return;
    const lease: Lease = {
      id: grant.leaseId,
      worker: grant.worker,
      raylet,
      state: "connecting",
      inflight: new Map(),
      expectedMs: 0,
      progressMs: nowMs,
      idleSinceMs: nowMs,
      stealing: false,
      leaving: false,
      blocked: false,
      grantedMs: nowMs,
    };
    this.leases.set(lease.id, lease);
    this.host.dial(this, lease);
  }

  leaseUp(lease: Lease, nowMs: number): void {
    if (lease.state !== "connecting") return;
    lease.state = "up";
    lease.idleSinceMs = nowMs;
    this.schedule(nowMs);
  }

  /** The worker is gone or was taken back. Answers what was in flight. */
  leaseEnded(lease: Lease): TaskEntry[] {
    if (lease.state === "ended") return [];
    lease.state = "ended";
    this.leases.delete(lease.id);
    const lost = [...lease.inflight.values()];
    this.inflightCount -= lost.length;
    lease.inflight.clear();
    return lost;
  }

  /** The worker said that it will leave after what it has. */
  drain(lease: Lease): void {
    lease.leaving = true;
    if (lease.state === "up") lease.state = "draining";
  }

  spillback(placements: readonly Placement[], nowMs: number): void {
    for (const { raylet, count } of placements) {
      const demand = this.demandAt(raylet);
      const more = Math.min(count, Math.max(0, this.wanted(nowMs) - this.askedElsewhere()));
      if (more <= 0 || raylet === this.host.localRaylet()) continue;
      demand.spilled += more;
      this.send(raylet, demand, demand.spilled, true);
    }
    this.demandAt(this.host.localRaylet()).stale = true; // the raylet counts what it sent elsewhere as gone until it hears the new level
    this.schedule(nowMs);
  }

  rejected(raylet: string, reject: LeaseReject, nowMs: number): void {
    const demand = this.demandAt(raylet);
    if (reject.unschedulable !== undefined) {
      const tasks = [...this.queue];
      this.queue.clear();
      demand.sentWanted = 0;
      this.host.unschedulable(tasks, reject);
      return;
    }
    demand.spilled = Math.max(0, demand.spilled - reject.count);
    this.demandAt(this.host.localRaylet()).stale = true;
    this.schedule(nowMs);
  }

  /** The session with a raylet was made anew: it knows nothing of us. Its leases are gone (the host has ended them). */
  rayletReset(raylet: string): void {
    this.raylets.delete(raylet);
  }

  /** A worker answered for a task. False when it was not in flight there (stale). */
  done(lease: Lease, number: number, nowMs: number): TaskEntry | undefined {
    const task = lease.inflight.get(number);
    if (task === undefined) return undefined;
    lease.inflight.delete(number);
    this.inflightCount--;
    lease.progressMs = nowMs;
    lease.expectedMs = lease.inflight.size === 0 ? 0 : Math.max(0, lease.expectedMs - this.expected(task));
    if (lease.inflight.size === 0) lease.idleSinceMs = nowMs;
    return task;
  }

  /** Gives work to leases, takes back what is parked, states the demand. Called once per turn in which something changed. */
  schedule(nowMs: number): void {
    if (this.queue.length > 0) this.fill(nowMs);
    else {
      this.held = 0;
      this.rescueParked(nowMs);
    }
    this.stateDemand(nowMs);
  }

  /** Every few milliseconds while active: stalls, lingering leases. */
  tick(nowMs: number): void {
    for (const lease of [...this.leases.values()]) {
      if (lease.state === "up" && this.queue.length > 0 && nowMs - lease.grantedMs >= this.limits.heldMaxMs) lease.state = "draining";
      if (lease.state === "draining" && lease.inflight.size === 0) this.giveBack(lease);
      else if (lease.state === "up" && lease.inflight.size === 0 && this.queue.length === 0 && nowMs - lease.idleSinceMs >= this.limits.lingerMs) {
        this.giveBack(lease);
      } else if (lease.inflight.size > 1 && !lease.stealing && nowMs - lease.progressMs >= stalledMs && this.worthStealing(lease)) {
        lease.stealing = true;
        this.host.steal(lease);
      }
    }
    this.schedule(nowMs);
  }

  /** Everything the group holds goes back: the owner shuts down or the raylet is gone. */
  abandon(): void {
    for (const lease of [...this.leases.values()]) this.giveBack(lease);
  }

  private giveBack(lease: Lease): void {
    this.leaseEnded(lease);
    this.host.returnLease(lease);
  }

  private expected(task: TaskEntry): number {
    return task.template.meanMs.value ?? this.limits.shortTaskMs;
  }

  /** How many more tasks a lease may get now; `expected` is the duration of the next one. */
  private roomFor(lease: Lease, expected: number, limited: boolean, nowMs: number): boolean {
    if (lease.state !== "up") return false;
    const count = lease.inflight.size;
    if (count === 0) return true;
    if (lease.blocked || count >= this.limits.depthMax) return false;
    if (nowMs - lease.progressMs >= stalledMs) return count < 2 && !limited; // one ahead, so that its arguments come meanwhile
    if (limited) return false; // its time runs from when the worker has it: never behind another
    return expected < this.limits.shortTaskMs && lease.expectedMs + expected <= this.limits.budgetMs;
  }

  private fill(nowMs: number): void {
    this.held = 0;
    const up = [...this.leases.values()].filter((l) => l.state === "up");
    if (up.length === 0) return;
    up.sort((a, b) => a.inflight.size - b.inflight.size);
    // Short tasks are dealt out in equal shares, so that one worker does not get them all while the others look on.
    const share = Math.max(1, Math.ceil((this.queue.length + this.inflightCount) / up.length));
    for (const lease of up) {
      const batch: TaskEntry[] = [];
      while (this.queue.length > 0 && lease.inflight.size < Math.max(share, 1)) {
        const task = this.locality.nextFor(this.queue, lease.worker.nodeId, nowMs);
        if (task === undefined) {
          this.held = Math.min(this.queue.length, heldMax);
          break;
        }
        const expected = this.expected(task);
        if (!this.roomFor(lease, expected, task.template.options.timeoutMs !== undefined, nowMs)) break;
        take(this.queue, task);
        if (lease.inflight.size === 0) lease.progressMs = nowMs;
        lease.inflight.set(task.number, task); // L1
        lease.expectedMs += expected;
        this.inflightCount++;
        task.state = "pushed";
        batch.push(task);
        if (this.requirements.strategy?.kind?.$case === "spread") break;
      }
      if (batch.length > 0) this.host.push(lease, batch);
      if (this.queue.length === 0) break;
    }
  }

  /** L2: an idle worker and nothing queued, while another has tasks parked behind a long one. */
  private rescueParked(nowMs: number): void {
    let idle = 0;
    for (const lease of this.leases.values()) if (lease.state === "up" && lease.inflight.size === 0) idle++;
    if (idle === 0) return;
    for (const lease of this.leases.values()) {
      if (
        lease.inflight.size > 1 &&
        !lease.stealing &&
        (lease.expectedMs >= this.limits.budgetMs || nowMs - lease.progressMs >= this.limits.shortTaskMs)
      ) {
        lease.stealing = true;
        this.host.steal(lease);
      }
    }
  }

  private worthStealing(lease: Lease): boolean {
    for (const other of this.leases.values()) if (other !== lease && other.state === "up" && other.inflight.size === 0) return true;
    // Parked behind a stalled task: they wait better here, where a new lease can take them. One stays ahead for its arguments.
    return lease.inflight.size > 2;
  }

  /** Leases this group could use beyond those it has. */
  private wanted(nowMs: number): number {
    let connecting = 0;
    let idle = 0;
    for (const lease of this.leases.values()) {
      if (lease.state === "connecting") connecting++;
      else if (lease.state === "up" && lease.inflight.size === 0) idle++;
    }
    let parked = 0;
    for (const lease of this.leases.values())
      if (lease.inflight.size > 1 && (lease.expectedMs >= this.limits.budgetMs || (this.queue.length === 0 && nowMs - lease.progressMs >= parkedMs)))
        parked += lease.inflight.size - 1;
    const waiting = this.queue.length + parked;
    if (waiting === 0) return 0;
    const head = this.queue.peek();
    const meanMs = head === undefined ? this.limits.shortTaskMs : this.expected(head);
    const useful = meanMs < this.limits.shortTaskMs ? Math.ceil((waiting * meanMs) / this.limits.worthMs) : waiting;
    // Workers that are idle elsewhere are of no use to those who wait for one where their arguments lie.
    const more = Math.max(this.held, Math.max(useful, this.leases.size === 0 ? 1 : 0) - idle);
    return Math.min(this.limits.wantedMax, Math.max(0, more - connecting)); // L3
  }

  private askedElsewhere(): number {
    let count = 0;
    for (const demand of this.raylets.values()) count += demand.spilled;
    return count;
  }

  private stateDemand(nowMs: number): void {
    const local = this.host.localRaylet();
    const demand = this.demandAt(local);
    const wanted = Math.max(0, this.wanted(nowMs) - this.askedElsewhere());
    if (wanted === 0 && demand.sentWanted === 0) demand.stale = false;
    // A level that only shrank a little while grants are under way need not be said: surplus grants are returned. Zero always is.
    if (!demand.stale && (wanted === demand.sentWanted || (wanted > 0 && wanted < demand.sentWanted && demand.sentWanted < 2 * wanted))) return;
    demand.stale = false;
    this.send(local, demand, wanted, false);
  }

  private send(raylet: string, demand: RayletDemand, wanted: number, spilled: boolean): void {
    const rising = spilled || demand.sentWanted === 0;
    if (!spilled) demand.sentWanted = wanted;
    this.host.demand(raylet, {
      classKey: this.key,
      requirements: rising ? this.requirements : undefined, // a raylet may have forgotten a class that was idle
      wanted,
      grantsSeen: demand.grantsSeen,
      backlog: this.queue.length,
      meanTaskMs: this.queue.peek()?.template.meanMs.value ?? 0,
      spilled,
      argBytesByNode: wanted === 0 ? {} : argBytesByNode(this.queue),
      name: this.name,
    });
  }

  private demandAt(raylet: string): RayletDemand {
    let demand = this.raylets.get(raylet);
    if (demand === undefined) {
      demand = { sentWanted: 0, grantsSeen: 0, spilled: 0, stale: false };
      this.raylets.set(raylet, demand);
    }
    return demand;
  }
}
