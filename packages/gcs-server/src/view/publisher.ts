// ViewPublisher: the cluster view, and its deltas on their way to the raylets.
//
// Owns:     the view of the global scheduler, which nodes changed since the last delta.
// Not mine: what nodes report (../nodes), where to send (a function).
//
// Invariants
//   W1. A raylet that got the full view in its registration misses nothing: deltas leave in the order of versions, on the same session.
//   W2. Reservations made here are guesses until the node's next report, which replaces them; they are not told to raylets.
import type { Clock, Timer } from "@tray/common";
import { type Heartbeat, type NodeInfo, type NodeView, type Resources, resourcesKey, subtract } from "@tray/protocol";
import { ClusterView, entryOf, type NodeSnapshot, queuedWorkMs } from "@tray/scheduler";

export class ViewPublisher {
  readonly view = new ClusterView();
  private readonly dirty = new Set<string>();
  private readonly dead = new Set<string>();
  private readonly listeners: (() => void)[] = [];
  private timer: Timer | undefined;

  constructor(
    private readonly clock: Clock,
    private readonly flushMs: number,
    private readonly send: (delta: NodeView) => void,
  ) {}

  /** `fn` runs, at most once a flush interval, when capacity may have changed. */
  onChanged(fn: () => void): void {
    this.listeners.push(fn);
  }

  /** A node as its registration and last report describe it. */
  update(info: NodeInfo, heartbeat: Heartbeat | undefined): void {
    const before = this.view.get(info.nodeId);
    const total = info.total?.amounts ?? {};
    const load = heartbeat?.load ?? [];
    const next: NodeSnapshot = {
      nodeId: info.nodeId,
      raylet: info.raylet,
      bulk: info.bulk,
      total,
      available: heartbeat?.available?.amounts ?? (heartbeat === undefined ? (before?.available ?? total) : {}),
      labels: info.labels,
      estimatedWaitMs: queuedWorkMs(load, total),
      bandwidthBytesPerMs: heartbeat?.bandwidthBytesPerMs ?? 0,
      queued: load.reduce((sum, l) => sum + l.queued, 0),
      isHead: info.isHead,
    };
    if (before !== undefined && same(before, next)) return;
    this.view.put(next);
    this.dirty.add(info.nodeId);
    this.arm();
  }

  remove(nodeId: string): void {
    if (this.view.get(nodeId) === undefined && this.view.isDead(nodeId)) return;
    this.view.remove(nodeId);
    this.dirty.delete(nodeId);
    this.dead.add(nodeId);
    this.arm();
  }

  /** Counts what was just placed, so that the next placement does not take the same room. W2 */
  reserve(nodeId: string, resources: Resources, count = 1): void {
    const node = this.view.get(nodeId);
    if (node === undefined || count === 0) return;
    let { available } = node;
    for (let i = 0; i < count; i++) available = subtract(available, resources, true);
    this.view.put({ ...node, available });
  }

  close(): void {
    this.timer?.cancel();
    this.timer = undefined;
  }

  private arm(): void {
    this.timer ??= this.clock.after(this.flushMs, () => this.flush());
  }

  private flush(): void {
    this.timer = undefined;
    const entries = [...this.dirty].flatMap((nodeId) => {
      const node = this.view.get(nodeId);
      return node === undefined ? [] : [entryOf(node)];
    });
    const deadNodeIds = [...this.dead];
    this.dirty.clear();
    this.dead.clear();
    this.send({ version: this.view.version, full: false, entries, deadNodeIds });
    for (const fn of this.listeners) fn();
  }
}

/** Alike enough that no scheduler would decide otherwise. */
function same(a: NodeSnapshot, b: NodeSnapshot): boolean {
  return (
    a.raylet === b.raylet &&
    a.bulk === b.bulk &&
    a.isHead === b.isHead &&
    resourcesKey(a.total) === resourcesKey(b.total) &&
    resourcesKey(a.available) === resourcesKey(b.available) &&
    close(a.estimatedWaitMs, b.estimatedWaitMs, 5) &&
    close(a.bandwidthBytesPerMs, b.bandwidthBytesPerMs, 1000) &&
    close(a.queued, b.queued, 1) &&
    JSON.stringify(a.labels) === JSON.stringify(b.labels)
  );
}

const close = (a: number, b: number, absolute: number): boolean => Math.abs(a - b) < absolute || (a !== 0 && Math.abs(a - b) <= 0.1 * Math.min(a, b));
