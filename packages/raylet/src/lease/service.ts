// LeaseService: leases on the wire.
//
// Owns:     the sessions of owners, the way of messages in and out.
// Not mine: decisions (core.ts), workers (pool), resources (ledger).
import { messageOf, type Timer } from "@tray/common";
import {
  type Address,
  type ClassLoad,
  type Client,
  ErrorInfo,
  type LeaseDemand,
  LeaseHolderService,
  type LeaseReturn,
  type Resources,
  type WorkerExit,
} from "@tray/protocol";
import type { Session } from "@tray/rpc";
import type { ClusterView } from "@tray/scheduler";
import type { GcsLink } from "../gcs/link.js";
import { placeTimeoutMs, reportedClassesMax } from "../limits.js";
import type { RayletEnvironment } from "../node.js";
import type { WorkerPoolService } from "../pool/service.js";
import type { PoolWorker, Ticket } from "../pool/worker.js";
import type { ResourceLedger } from "../resources/ledger.js";
import { LeaseQueueCore } from "./core.js";
import { type Shape, shapeOf } from "./shape.js";
import type { LeaseEffect, OwnerKey } from "./types.js";

const ownerKeySymbol = Symbol("lease owner");
const retickMs = 100;

export class LeaseService {
  readonly core: LeaseQueueCore;
  private readonly owners = new Map<OwnerKey, Session>();
  private ownersSeen = 0;
  /** Requests for workers that the present step has made: they go to the pool when the core is done, since the pool may answer at once. */
  private asked: Ticket[] = [];
  private retick: Timer | undefined;

  constructor(
    private readonly env: RayletEnvironment,
    private readonly ledger: ResourceLedger,
    view: ClusterView,
    private readonly pool: () => WorkerPoolService,
    private readonly gcs: () => GcsLink,
    private readonly changed: () => void,
  ) {
    this.core = new LeaseQueueCore({
      nodeId: env.node.nodeId,
      labels: env.node.labels,
      ledger,
      view,
      workers: {
        room: () => this.pool().core.room() - this.asked.length,
        request: (ticket) => void this.asked.push(ticket),
        cancel: (leaseId) => this.cancel(leaseId),
        waitOf: (leaseId) => this.pool().core.waitOf(leaseId),
      },
      newLeaseId: () => env.random.hex(16),
    });
  }

  demand(message: LeaseDemand, session: Session): void {
    const owner = this.ownerOf(session);
    let shape: Shape | undefined;
    try {
      shape = message.requirements === undefined || this.core.knows(owner, message.classKey) ? undefined : shapeOf(message.requirements);
    } catch (error) {
      this.send(owner).leaseRejected({
        classKey: message.classKey,
        count: message.wanted,
        unschedulable: errorOf("TASK_UNSCHEDULABLE", messageOf(error)),
      });
      return;
    }
    const known = this.step((effects) => this.core.level(owner, message.classKey, shape, message, this.env.clock.now(), effects));
    if (!known) {
      this.env.logger.error("lease demand for a class that was never described", { classKey: message.classKey, peer: session.peer?.id });
      this.send(owner).leaseRejected({
        classKey: message.classKey,
        count: message.wanted,
        unschedulable: errorOf("SYSTEM", "the raylet does not know this scheduling class"),
      });
    }
  }

  giveBack({ leaseId, workerBroken, workerLeaving }: LeaseReturn, session: Session): void {
    const owner = this.ownerOf(session);
    const lease = this.core.leaseOf(leaseId);
    // Its own word of it may still be on its way: it must not become an actor meanwhile.
    if (workerLeaving && lease?.owner === owner && lease.workerId !== undefined)
      this.pool().retire(lease.workerId, { reason: "intended", detail: "it takes no more work", graceful: true, graceMs: 0 });
    this.step((effects) => this.core.giveBack(owner, leaseId, workerBroken, this.env.clock.now(), effects));
  }

  /** A worker's task waits for others, or goes on. */
  blocked(holder: string, blocked: boolean): void {
    if (blocked ? this.ledger.block(holder) : this.ledger.unblock(holder)) this.dispatch();
  }

  /** Call after anything that may have made room here or elsewhere. */
  dispatch(): void {
    this.step((effects) => this.core.dispatch(this.env.clock.now(), effects));
  }

  assigned(leaseId: string, worker: PoolWorker): boolean {
    return this.step((effects) => this.core.assigned(leaseId, worker.workerId, effects));
  }
  refused(ticket: Ticket, detail: string): void {
    this.step((effects) => this.core.refused(ticket.id, detail, this.env.clock.now(), effects));
  }
  /** The worker of a lease is gone; its owner is told how. */
  workerGone(leaseId: string, exit: WorkerExit): void {
    const owner = this.step((effects) => this.core.workerGone(leaseId, this.env.clock.now(), effects));
    if (owner !== undefined) this.send(owner).leaseEnded({ leaseId, exit });
  }

  /** What waits here, by shape and cause, the longest queues first. */
  load(): ClassLoad[] {
    const sums = new Map<string, { shape: Resources; queued: number; ms: number; cause: string; detail: string; sinceMs: number }>();
    for (const { shape, queued, meanTaskMs, cause, detail, sinceMs } of this.core.queued()) {
      const key = `${cause}|${Object.entries(shape).sort().join()}`;
      const sum = sums.get(key);
      if (sum === undefined) sums.set(key, { shape, queued, ms: meanTaskMs * queued, cause, detail, sinceMs });
      else {
        sum.queued += queued;
        sum.ms += meanTaskMs * queued;
        sum.sinceMs = Math.min(sum.sinceMs, sinceMs);
      }
    }
    const toWall = this.env.clock.wallMs() - this.env.clock.now();
    return [...sums.values()]
      .sort((a, b) => b.queued - a.queued)
      .slice(0, reportedClassesMax)
      .map(({ shape, queued, ms, cause, detail, sinceMs }) => ({
        shape: { amounts: { ...shape } },
        queued,
        meanTaskMs: ms / queued,
        wait: { cause, detail, sinceWallMs: sinceMs + toWall },
        infeasible: cause === "infeasible",
        kind: "task",
      }));
  }

  close(): void {
    this.retick?.cancel();
    this.retick = undefined;
  }

  /** One step of the core, and then what follows from it. The effects of nested steps are carried out before the outer step's, which is as they were decided. */
  private step<T>(act: (effects: LeaseEffect[]) => T): T {
    const effects: LeaseEffect[] = [];
    const result = act(effects);
    for (const effect of effects) this.carryOut(effect);
    for (let ticket = this.asked.shift(); ticket !== undefined; ticket = this.asked.shift()) this.pool().request(ticket);
    if (this.core.waits && this.retick === undefined) {
      this.retick = this.env.clock.after(retickMs, () => {
        this.retick = undefined;
        this.dispatch();
      });
    }
    this.changed();
    return result;
  }

  private cancel(leaseId: string): void {
    this.asked = this.asked.filter((ticket) => ticket.id !== leaseId);
    this.pool().cancel(leaseId);
  }

  private carryOut(effect: LeaseEffect): void {
    switch (effect.kind) {
      case "grant": {
        const worker = this.pool().core.get(effect.workerId);
        const address: Address = { workerId: effect.workerId, nodeId: this.env.node.nodeId, endpoint: worker?.endpoint ?? "" };
        this.env.metrics.count("tray_raylet_leases_granted_total");
        this.send(effect.owner).leaseGranted({
          classKey: effect.classKey,
          leaseId: effect.leaseId,
          worker: address,
          grants: effect.grants,
          pid: worker?.pid ?? 0,
        });
        break;
      }
      case "spillback":
        this.env.metrics.count("tray_raylet_spillbacks_total");
        this.send(effect.owner).leaseSpillback({ classKey: effect.classKey, placements: effect.placements.map((p) => ({ ...p })) });
        break;
      case "reject":
        this.send(effect.owner).leaseRejected({
          classKey: effect.classKey,
          count: effect.count,
          unschedulable: effect.unschedulable === undefined ? undefined : errorOf(effect.unschedulable.code, effect.unschedulable.message),
        });
        break;
      case "askPlace":
        void this.askPlace(effect);
        break;
      case "freeWorker":
        if (effect.broken) this.pool().retire(effect.workerId, { reason: "owner-died", detail: effect.detail, graceful: false });
        else this.pool().giveBack(effect.workerId);
        break;
    }
  }

  private async askPlace({ owner, classKey, shape, count, argBytesByNode }: Extract<LeaseEffect, { kind: "askPlace" }>): Promise<void> {
    const gcs = this.gcs();
    // Without a GCS the answer must still not come from within the step that asked.
    const answer = gcs.up
      ? await gcs.client
          .place(
            { requirements: shape.requirements, count, fromNodeId: this.env.node.nodeId, argBytesByNode: { ...argBytesByNode } },
            { timeoutMs: placeTimeoutMs },
          )
          .catch((error: unknown) => {
            this.env.logger.debug("the global scheduler did not answer", { error: messageOf(error) });
            return undefined;
          })
      : await Promise.resolve(undefined);
    this.step((effects) => this.core.placed(owner, classKey, answer, this.env.clock.now(), effects));
  }

  private ownerOf(session: Session): OwnerKey {
    const known = session.local.get(ownerKeySymbol) as OwnerKey | undefined;
    if (known !== undefined) return known;
    const key = `${session.peer?.id ?? session.remote}#${++this.ownersSeen}`;
    session.local.set(ownerKeySymbol, key);
    this.owners.set(key, session);
    session.onLost(() => this.ownerGone(key));
    return key;
  }

  private ownerGone(key: OwnerKey): void {
    if (!this.owners.delete(key)) return;
    this.step((effects) => this.core.ownerGone(key, this.env.clock.now(), effects));
  }

  /** The death of a worker or driver was published: its session may still look well. */
  peerDied(peerId: string): void {
    for (const [key, session] of [...this.owners]) {
      if (session.peer?.id !== peerId) continue;
      this.ownerGone(key);
      session.close("its death was published");
    }
  }

  private send(owner: OwnerKey): Client<typeof LeaseHolderService> {
    return this.owners.get(owner)?.client(LeaseHolderService) ?? nobody;
  }
}

/** Takes what is said to an owner that has just gone. */
const nobody: Client<typeof LeaseHolderService> = {
  leaseGranted: () => undefined,
  leaseSpillback: () => undefined,
  leaseRejected: () => undefined,
  leaseEnded: () => undefined,
};

const errorOf = (code: string, message: string): ErrorInfo => ErrorInfo.fromPartial({ code, message });
