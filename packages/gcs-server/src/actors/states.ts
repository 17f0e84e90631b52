// The life cycle of an actor as the cluster sees it.
import type { Edges } from "@tray/common";
import { ActorState } from "@tray/protocol";

export type ActorStateName = "DEPENDENCIES_UNREADY" | "PENDING_CREATION" | "ALIVE" | "RESTARTING" | "DEAD";

export const actorEdges: Edges<ActorStateName> = {
  DEPENDENCIES_UNREADY: ["PENDING_CREATION", "DEAD"],
  // → RESTARTING: the first creation was lost with its worker or node.
  PENDING_CREATION: ["ALIVE", "RESTARTING", "DEAD"],
  ALIVE: ["RESTARTING", "DEAD"],
  // → RESTARTING: a further creation was lost.
  RESTARTING: ["ALIVE", "RESTARTING", "DEAD"],
  DEAD: [],
};

const codes: Record<ActorStateName, ActorState> = {
  DEPENDENCIES_UNREADY: ActorState.DEPENDENCIES_UNREADY,
  PENDING_CREATION: ActorState.PENDING_CREATION,
  ALIVE: ActorState.ALIVE,
  RESTARTING: ActorState.RESTARTING,
  DEAD: ActorState.DEAD,
};
const names = new Map(Object.entries(codes).map(([name, code]) => [code, name as ActorStateName]));

export const codeOf = (name: ActorStateName): ActorState => codes[name];
export const stateNameOf = (code: ActorState): ActorStateName => names.get(code) ?? "DEAD";
