// What a scheduler is asked, and what it answers.
import type { Requirements, Resources } from "@tray/protocol";
import type { Labels } from "./label-selector.js";

export type Strategy =
  | { readonly kind: "default" }
  | { readonly kind: "spread" }
  /** Any node with room, uniformly. */
  | { readonly kind: "random" }
  | { readonly kind: "nodeAffinity"; readonly nodeId: string; readonly soft: boolean };

export interface PlaceRequest {
  /** Of one worker. Empty: fits everywhere. */
  readonly resources: Resources;
  readonly strategy: Strategy;
  readonly labelSelector: Labels;
  /** How many workers. */
  readonly count: number;
  /** Preferred by the default policy while it is not the worse choice. */
  readonly localNodeId?: string | undefined;
  /** Passed over while choosing, though they count as feasible: nodes that gave this back a moment ago. */
  readonly avoidNodeIds?: readonly string[] | undefined;
  /** Bytes of the arguments that each node already has. Their sum is taken for the whole. */
  readonly argBytesByNode?: Readonly<Record<string, number>> | undefined;
  /** Where a round of the spread policy begins: the result's cursor of the round before. Default 0. */
  readonly spreadCursor?: number | undefined;
}

export interface PlacedCount {
  readonly nodeId: string;
  readonly count: number;
}

export interface PlaceResult {
  /** Never more than available resources hold; may be fewer than asked: the rest waits with the asker. */
  readonly placements: readonly PlacedCount[];
  /** No living node could ever run it, as the cluster is now. A new node may change that. */
  readonly infeasible: boolean;
  /** Nothing can change it: hard affinity to a node that is dead or unknown. Implies `infeasible`. */
  readonly unschedulable: boolean;
  /** Why not all of it was placed, for people: "2 nodes lack CPU". Empty when all was. */
  readonly detail: string;
  /** For the next spread request. */
  readonly spreadCursor: number;
}

/** The part of a request that `Requirements` hold. */
export function requestOf(requirements: Requirements | undefined, count: number): PlaceRequest {
  return {
    resources: requirements?.resources?.amounts ?? {},
    strategy: strategyOf(requirements),
    labelSelector: requirements?.labelSelector ?? {},
    count,
  };
}

function strategyOf(requirements: Requirements | undefined): Strategy {
  const kind = requirements?.strategy?.kind;
  switch (kind?.$case) {
    case "spread":
      return { kind: "spread" };
    case "nodeAffinity":
      return { kind: "nodeAffinity", nodeId: kind.value.nodeId, soft: kind.value.soft };
    default:
      return { kind: "default" };
  }
}
