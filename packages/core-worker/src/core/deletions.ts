// Deletions: tells nodes which copies of owned objects are not needed any more, until they have heard it.
//
// Owns:     what was not told yet, by node.
// Not mine: when an object is freed (reference-table.ts), where its copies are (object-entry.ts).
// Crosses:  in: add, nodeDied. out: raylet.deleteObjects.
//
// Invariants
//   D1. a deletion is repeated until its node has confirmed it or is dead: a node that was out of reach, or whose address answered for the node before
//       it, would keep the copy for ever.
import type { Clock } from "@tray/common";
import { type NodeAddress, RayletService } from "@tray/protocol";
import type { Peers } from "./peers.js";

interface Pending {
  readonly node: NodeAddress;
  objectIds: string[];
  underWay: number;
  scheduled: boolean;
}

const againAfterMs = 1_000;

export class Deletions {
  private readonly pending = new Map<string, Pending>();

  constructor(
    private readonly peers: Peers,
    private readonly clock: Clock,
  ) {}

  add(node: NodeAddress, objectId: string): void {
    let pending = this.pending.get(node.nodeId);
    if (pending === undefined) {
      pending = { node, objectIds: [], underWay: 0, scheduled: false };
      this.pending.set(node.nodeId, pending);
    }
    pending.objectIds.push(objectId);
    this.schedule(pending, 0);
  }

  /** Nothing is left there to delete. */
  nodeDied(nodeId: string): void {
    this.pending.delete(nodeId);
  }

  private schedule(pending: Pending, delayMs: number): void {
    if (pending.scheduled) return;
    pending.scheduled = true;
    const send = (): void => {
      pending.scheduled = false;
      this.send(pending);
    };
    if (delayMs === 0) this.clock.soon(send);
    else this.clock.after(delayMs, send);
  }

  private send(pending: Pending): void {
    const { node, objectIds } = pending;
    if (this.pending.get(node.nodeId) !== pending || objectIds.length === 0) return;
    pending.objectIds = [];
    pending.underWay++;
    this.tell(node, objectIds)
      .catch(() => {
        pending.objectIds.push(...objectIds); // D1
      })
      .finally(() => {
        pending.underWay--;
        if (pending.objectIds.length > 0) this.schedule(pending, againAfterMs);
        else if (pending.underWay === 0 && this.pending.get(node.nodeId) === pending) this.pending.delete(node.nodeId);
      });
  }

  private async tell(node: NodeAddress, objectIds: string[]): Promise<void> {
    const session = this.peers.raylet(node.raylet);
    session.client(RayletService).deleteObjects({ objectIds });
    await session.delivered();
  }
}
