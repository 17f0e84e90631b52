// ActorPlacement: finds nodes for actors that wait, when something has changed: a new actor, the view, a retry that is due.
//
// Owns:     who is to be tried, the wake-up (once a turn), the retry timer.
// Not mine: the actors (core.ts), the policies (@tray/scheduler), reservations (../view).
import type { Clock, Random, Timer } from "@tray/common";
import { type ActorSpec, resourcesKey } from "@tray/protocol";
import { place, type PlaceRequest, type PlaceResult, requestOf } from "@tray/scheduler";
import type { ViewPublisher } from "../view/publisher.js";
import type { ActorRecord, ActorsCore } from "./core.js";
import type { ActorStep } from "./step.js";

export interface ActorPlacementHost {
  apply(step: ActorStep): void;
  /** The actor waits for a node that does not exist yet: told once, to its job. */
  onInfeasible(record: ActorRecord, detail: string): void;
}

interface Wish {
  readonly request: PlaceRequest;
  /** Actors with the same key want the same. */
  readonly key: string;
}

export class ActorPlacement {
  /** To be tried; the others that wait were tried since capacity last changed. */
  private readonly todo = new Set<string>();
  private readonly wishes = new WeakMap<ActorSpec, Wish>();
  private awake = false;
  private closed = false;
  private timer: Timer | undefined;
  private spreadCursor = 0;

  constructor(
    private readonly core: ActorsCore,
    private readonly publisher: ViewPublisher,
    private readonly clock: Clock,
    private readonly random: Random,
    private readonly host: ActorPlacementHost,
  ) {
    publisher.onChanged(() => this.retryAll());
  }

  /** An actor wants a place: tried at the end of this turn. */
  want(actorId: string): void {
    this.todo.add(actorId);
    this.wake();
  }
  /** Capacity has changed: whoever waits may have a chance. */
  retryAll(): void {
    for (const actorId of this.core.waiting()) this.todo.add(actorId);
    this.wake();
  }

  close(): void {
    this.closed = true;
    this.timer?.cancel();
  }

  private wake(): void {
    if (this.awake || this.closed || this.todo.size === 0) return;
    this.awake = true;
    this.clock.endOfTurn(() => {
      this.awake = false;
      if (!this.closed) this.run();
    });
  }

  private run(): void {
    const nowMs = this.clock.now();
    let nextMs = Number.POSITIVE_INFINITY;
    // Among thousands that want the same, the first that finds no place speaks for all.
    const hopeless = new Map<string, PlaceResult>();
    for (const actorId of [...this.todo]) {
      const record = this.core.get(actorId);
      if (record?.phase.kind === "waiting" && record.phase.notBeforeMs > nowMs) {
        nextMs = Math.min(nextMs, record.phase.notBeforeMs);
        continue;
      }
      this.todo.delete(actorId);
      if (record?.phase.kind !== "waiting" || record.info.spec === undefined) continue;
      const { request, key } = this.wishOf(record.info.spec);
      const result = hopeless.get(key) ?? this.choose({ ...request, spreadCursor: this.spreadCursor }, record.phase.avoidNodeId);
      const chosen = result.placements[0];
      if (chosen === undefined) {
        hopeless.set(key, result);
        this.explain(record, result);
        continue;
      }
      this.spreadCursor = result.spreadCursor;
      this.publisher.reserve(chosen.nodeId, request.resources);
      this.host.apply(this.core.placed(actorId, chosen.nodeId));
    }
    this.timer?.cancel();
    this.timer = Number.isFinite(nextMs) ? this.clock.after(nextMs - nowMs, () => this.wake()) : undefined;
  }

  private wishOf(spec: ActorSpec): Wish {
    let wish = this.wishes.get(spec);
    if (wish === undefined) {
      const request = this.requestFor(spec);
      wish = { request, key: keyOf(request) };
      this.wishes.set(spec, wish);
    }
    return wish;
  }

  /** The owner's node first, as for tasks: its references and its talk are there. */
  private requestFor(spec: ActorSpec): PlaceRequest {
    const request = requestOf(spec.requirements, 1);
    const needsNothing = Object.keys(request.resources).length === 0;
    return { ...request, localNodeId: needsNothing ? undefined : spec.owner?.nodeId };
  }

  private choose(request: PlaceRequest, avoidNodeId: string | undefined): PlaceResult {
    if (avoidNodeId !== undefined) {
      const elsewhere = place(this.publisher.view, { ...request, avoidNodeIds: [avoidNodeId] }, this.random);
      if (elsewhere.placements.length > 0) return elsewhere;
    }
    return place(this.publisher.view, request, this.random);
  }

  private explain(record: ActorRecord, result: PlaceResult): void {
    const { actorId } = record.info;
    if (result.unschedulable) {
      this.host.apply(this.core.unschedulable(actorId, result.detail));
      return;
    }
    const cause = this.publisher.view.size === 0 ? "waiting-for-node" : result.infeasible ? "infeasible" : "waiting-for-resources";
    if (this.core.unplaced(actorId, cause, result.detail) && cause === "infeasible") this.host.onInfeasible(record, result.detail);
  }
}

const keyOf = (request: PlaceRequest): string =>
  `${resourcesKey(request.resources)}|${JSON.stringify(request.strategy)}|${JSON.stringify(request.labelSelector)}|${request.localNodeId ?? ""}`;
