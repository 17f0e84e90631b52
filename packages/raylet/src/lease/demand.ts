// DemandClass: what one owner wants of one scheduling class, and what it was given of it. Only LeaseQueueCore changes them.
import type { WaitCause } from "@tray/protocol";
import type { NodeSnapshot } from "@tray/scheduler";
import type { Route } from "./route.js";
import type { Shape } from "./shape.js";
import type { Level, OwnerKey } from "./types.js";

export interface DemandOwner {
  readonly key: OwnerKey;
  readonly classes: Map<string, DemandClass>;
  /** Ids of its leases, pending ones included. */
  readonly leases: Set<string>;
}

export interface DemandClass {
  readonly owner: DemandOwner;
  readonly key: string;
  readonly shape: Shape;
  level: Level;
  /** Sent in this session. */
  grants: number;
  /** Ids of leases that wait for a worker. */
  readonly pending: Set<string>;
  /** Sent elsewhere since the last level: the next one takes it into account. */
  spilledOut: number;
  spilledAtMs: number;
  /** What the global scheduler said to run here. */
  placedHere: number;
  sinceMs: number;
  cause: WaitCause;
  detail: string;
  placing: boolean;
  placedAtMs: number;
  /** The view at the last question that brought nothing. */
  barrenVersion: number | undefined;
  /** The node as it was seen when demand was sent there: not again before that changes, or a while has passed. */
  readonly spilledTo: Map<string, { seen: NodeSnapshot; atMs: number }>;
  route: { readonly version: number; readonly args: Level["argBytesByNode"]; readonly route: Route } | undefined;
}

export function newClass(owner: DemandOwner, key: string, shape: Shape, level: Level, nowMs: number): DemandClass {
  return {
    owner,
    key,
    shape,
    level: { ...level, wanted: 0 },
    grants: level.grantsSeen, // a class that was forgotten meanwhile goes on counting where its owner stands
    pending: new Set(),
    spilledOut: 0,
    spilledAtMs: 0,
    placedHere: 0,
    sinceMs: nowMs,
    cause: "waiting-for-resources",
    detail: "",
    placing: false,
    placedAtMs: Number.NEGATIVE_INFINITY,
    barrenVersion: undefined,
    spilledTo: new Map(),
    route: undefined,
  };
}

/** Grants on their way to the owner when it wrote its level. */
export function unseen(demand: DemandClass): number {
  return Math.max(0, demand.grants - demand.level.grantsSeen);
}

/** What may still be added to pending, grants and spilled (L1 of core.ts). */
export function outstanding(demand: DemandClass): number {
  return Math.max(0, demand.level.wanted - unseen(demand) - demand.pending.size - demand.spilledOut);
}

/** It wants nothing and no grant is on its way: its owner sends the requirements again when it wants something of it. */
export function isIdle(demand: DemandClass): boolean {
  return demand.level.wanted === 0 && demand.pending.size === 0 && !demand.placing && unseen(demand) === 0;
}
