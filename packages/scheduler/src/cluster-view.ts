// ClusterView: the nodes as a scheduler sees them.
//
// Owns:     one snapshot per living node, the version, a bounded list of nodes that died.
// Not mine: who is alive (the GCS decides), sending deltas (gcs-server/view), how full this very node is (a raylet knows better).
// Crosses:  in: apply (raylets), put/remove (the GCS).  out: immutable snapshots in a fixed order.
//
// Invariants
//   V1. Snapshots are never mutated: a policy that deducts works on its own copy.
//   V2. A delta whose version is not greater than ours changes nothing; a full view always replaces everything.
//   V3. A node that died does not come back under its id.
import type { NodeView, NodeViewEntry, Resources } from "@tray/protocol";
import type { Labels } from "./label-selector.js";

export interface NodeSnapshot {
  readonly nodeId: string;
  /** host:port of the raylet's rpc endpoint and bulk socket. */
  readonly raylet: string;
  readonly bulk: string;
  readonly total: Resources;
  /** May be negative for a while (a blocked task took its CPU again). */
  readonly available: Resources;
  readonly labels: Labels;
  /** Queued work ahead, in milliseconds of this node's time. */
  readonly estimatedWaitMs: number;
  /** Measured; 0 = unknown. */
  readonly bandwidthBytesPerMs: number;
  /** Tasks that wait there. */
  readonly queued: number;
  readonly isHead: boolean;
}

const deadNodesMax = 1000;

export class ClusterView {
  private readonly byId = new Map<string, NodeSnapshot>();
  private readonly dead = new Set<string>();
  private sorted: readonly NodeSnapshot[] | undefined = [];
  private currentVersion = 0;

  /** Grows with every change that was applied; compare it to know whether anything is new. */
  get version(): number {
    return this.currentVersion;
  }
  get size(): number {
    return this.byId.size;
  }
  /** Living nodes by ascending id: the order that makes policies deterministic. */
  nodes(): readonly NodeSnapshot[] {
    this.sorted ??= [...this.byId.values()].sort((a, b) => (a.nodeId < b.nodeId ? -1 : 1));
    return this.sorted;
  }
  get(nodeId: string): NodeSnapshot | undefined {
    return this.byId.get(nodeId);
  }
  isDead(nodeId: string): boolean {
    return this.dead.has(nodeId);
  }

  /** Takes a view from the GCS. @returns whether anything may have changed. */
  apply(view: NodeView): boolean {
    if (view.full) {
      this.byId.clear();
    } else if (view.version <= this.currentVersion) {
      return false; // V2
    }
    this.currentVersion = view.version;
    this.sorted = undefined;
    for (const entry of view.entries) if (!this.dead.has(entry.nodeId)) this.byId.set(entry.nodeId, snapshotOf(entry)); // V3
    for (const nodeId of view.deadNodeIds) this.bury(nodeId);
    return true;
  }

  /** Sets one node (the GCS's side). */
  put(node: NodeSnapshot): void {
    if (this.dead.has(node.nodeId)) return; // V3
    const before = this.byId.get(node.nodeId);
    this.byId.set(node.nodeId, node);
    this.currentVersion++;
    // The frequent case, a node's new load, keeps the order; a copy, because callers may hold the old array.
    this.sorted = before === undefined ? undefined : this.sorted?.with(this.sorted.indexOf(before), node);
  }
  /** Takes a dead node out (the GCS's side). */
  remove(nodeId: string): void {
    this.bury(nodeId);
    this.currentVersion++;
    this.sorted = undefined;
  }
  /** Everything as a message, to start a peer from. */
  full(): NodeView {
    return { version: this.currentVersion, full: true, entries: this.nodes().map(entryOf), deadNodeIds: [...this.dead] };
  }

  private bury(nodeId: string): void {
    this.byId.delete(nodeId);
    this.dead.delete(nodeId);
    this.dead.add(nodeId);
    if (this.dead.size <= deadNodesMax) return;
    for (const oldest of this.dead) {
      this.dead.delete(oldest);
      return;
    }
  }
}

export function snapshotOf(entry: NodeViewEntry): NodeSnapshot {
  const { nodeId, raylet, bulk, labels, estimatedWaitMs, bandwidthBytesPerMs, queued, isHead } = entry;
  const total = entry.total?.amounts ?? {};
  return { nodeId, raylet, bulk, labels, estimatedWaitMs, bandwidthBytesPerMs, queued, isHead, total, available: entry.available?.amounts ?? {} };
}

export function entryOf(node: NodeSnapshot): NodeViewEntry {
  return { ...node, labels: { ...node.labels }, total: { amounts: { ...node.total } }, available: { amounts: { ...node.available } } };
}
