// NodesCore: which nodes there are, and which are dead.
//
// Owns:     the record of every node, when each was last heard of, its last heartbeat.
// Not mine: sessions and probes (links.ts, probe.ts), what follows from a death (../cascade.ts), the view (../view).
// Crosses:  in: register, heartbeat, bury, silent.  out: records to persist and publish.
//
// Invariants
//   N1. DEAD is final for an id: neither a registration nor a heartbeat revives it.
//   N2. After a restart every node that was ALIVE has healthCheckTimeout plus a grace to be heard of.
//   N3. Time in which this process itself did not run counts as nobody's silence.
import { checkEdge, type Edges } from "@tray/common";
import { type Heartbeat, type NodeInfo, NodeState } from "@tray/protocol";
import { History } from "../storage/history.js";

export type NodeStateName = "none" | "alive" | "dead";
export const nodeEdges: Edges<NodeStateName> = { none: ["alive"], alive: ["dead"], dead: [] };

export interface NodeRecord {
  readonly info: NodeInfo;
  readonly heartbeat: Heartbeat | undefined;
  readonly lastHeardMs: number;
  readonly lastHeardWallMs: number;
}

const nameOf = (record: NodeRecord | undefined): NodeStateName =>
  record === undefined ? "none" : record.info.state === NodeState.ALIVE ? "alive" : "dead";

export class NodesCore {
  private readonly records = new Map<string, NodeRecord>();
  private readonly dead: History;
  private lastTickMs: number | undefined;

  constructor(private readonly limits: { historyMax: number; healthCheckTimeoutMs: number; healthCheckPeriodMs: number; rejoinGraceMs: number }) {
    this.dead = new History(limits.historyMax);
  }

  replay(infos: Iterable<NodeInfo>, nowMs: number): void {
    const sorted = [...infos].sort((a, b) => a.endWallMs - b.endWallMs);
    for (const info of sorted) {
      this.records.set(info.nodeId, { info, heartbeat: undefined, lastHeardMs: nowMs + this.limits.rejoinGraceMs, lastHeardWallMs: 0 }); // N2
      if (info.state === NodeState.DEAD) this.dead.add(info.nodeId);
    }
  }

  get(nodeId: string): NodeRecord | undefined {
    return this.records.get(nodeId);
  }
  isAlive(nodeId: string): boolean {
    return nameOf(this.records.get(nodeId)) === "alive";
  }
  isDead(nodeId: string): boolean {
    return nameOf(this.records.get(nodeId)) === "dead";
  }
  all(): NodeRecord[] {
    return [...this.records.values()];
  }

  /** @returns the record (`changed` when it must be stored), or undefined for an id that is dead. */
  register(info: NodeInfo, nowMs: number, wallMs: number): { info: NodeInfo; changed: boolean } | undefined {
    const before = this.records.get(info.nodeId);
    const state = nameOf(before);
    if (state === "dead") return undefined; // N1
    if (state === "none") checkEdge("node", nodeEdges, state, "alive");
    const record: NodeInfo = { ...info, state: NodeState.ALIVE, deathReason: "", startWallMs: before?.info.startWallMs ?? wallMs, endWallMs: 0 };
    const changed = before === undefined || JSON.stringify(before.info) !== JSON.stringify(record);
    this.records.set(info.nodeId, { info: record, heartbeat: before?.heartbeat, lastHeardMs: nowMs, lastHeardWallMs: wallMs });
    return { info: record, changed };
  }

  heartbeat(heartbeat: Heartbeat, nowMs: number, wallMs: number): "taken" | "dead" | "unknown" {
    const record = this.records.get(heartbeat.nodeId);
    const state = nameOf(record);
    if (record === undefined || state === "none") return "unknown";
    if (state === "dead") return "dead"; // N1
    this.records.set(heartbeat.nodeId, { info: record.info, heartbeat, lastHeardMs: nowMs, lastHeardWallMs: wallMs });
    return "taken";
  }

  /** Declares a living node dead. @returns its final record and the dead nodes to forget; undefined when it was not alive. */
  bury(nodeId: string, reason: string, wallMs: number): { info: NodeInfo; forgotten: string[] } | undefined {
    const record = this.records.get(nodeId);
    if (record === undefined || nameOf(record) !== "alive") return undefined;
    checkEdge("node", nodeEdges, "alive", "dead");
    const info: NodeInfo = { ...record.info, state: NodeState.DEAD, deathReason: reason, endWallMs: wallMs };
    this.records.set(nodeId, { ...record, info, heartbeat: undefined });
    const forgotten = this.dead.add(nodeId);
    for (const old of forgotten) this.records.delete(old);
    return { info, forgotten };
  }

  /** The living nodes that were silent for too long. Call it every healthCheckPeriod. */
  silent(nowMs: number): { nodeId: string; silentMs: number }[] {
    const lateMs = this.lastTickMs === undefined ? 0 : nowMs - this.lastTickMs - this.limits.healthCheckPeriodMs;
    this.lastTickMs = nowMs;
    const out: { nodeId: string; silentMs: number }[] = [];
    for (const [nodeId, record] of this.records) {
      if (nameOf(record) !== "alive") continue;
      if (lateMs > this.limits.healthCheckPeriodMs)
        this.records.set(nodeId, { ...record, lastHeardMs: record.lastHeardMs + lateMs }); // N3
      else if (nowMs - record.lastHeardMs > this.limits.healthCheckTimeoutMs) out.push({ nodeId, silentMs: nowMs - record.lastHeardMs });
    }
    return out;
  }
}
