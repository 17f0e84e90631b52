// NodeWatch: finds out that nodes are dead. A broken session is followed by a probe at once; silence is judged by heartbeats.
import { type Clock, formatDuration, type Timer } from "@tray/common";
import type { Endpoint, Session } from "@tray/rpc";
import type { NodesCore } from "./core.js";
import type { NodeLinks } from "./links.js";
import { probe } from "./probe.js";

export interface NodeWatchOptions {
  nodes: NodesCore;
  links: NodeLinks;
  endpoint: Endpoint;
  clock: Clock;
  limits: { healthCheckPeriodMs: number; healthCheckTimeoutMs: number };
  declareDead: (nodeId: string, reason: string) => void;
  run: (name: string, task: (signal: AbortSignal) => Promise<void>) => void;
}

export class NodeWatch {
  private readonly probing = new Set<string>();
  private timer: Timer | undefined;

  constructor(private readonly o: NodeWatchOptions) {}

  start(): void {
    this.timer = this.o.clock.every(this.o.limits.healthCheckPeriodMs, () => this.judgeSilence());
  }
  close(): void {
    this.timer?.cancel();
  }

  private judgeSilence(): void {
    for (const { nodeId, silentMs } of this.o.nodes.silent(this.o.clock.now()))
      this.o.declareDead(nodeId, `heartbeats stopped ${formatDuration(silentMs)} ago`);
  }

  /** The session of a living node broke. */
  suspect(nodeId: string, session: Session): void {
    if (this.probing.has(nodeId) || !this.o.nodes.isAlive(nodeId)) return;
    this.probing.add(nodeId);
    this.o.run("probe", async (signal) => {
      const raylet = this.o.nodes.get(nodeId)?.info.raylet ?? "";
      const why = await probe(this.o.endpoint, raylet, session.peer?.incarnation, this.o.limits.healthCheckTimeoutMs, signal);
      this.probing.delete(nodeId);
      // It may have come back meanwhile, on this session or another.
      if (why === undefined || signal.aborted || this.o.links.session(nodeId)?.state === "up") return;
      this.o.declareDead(nodeId, `its connection broke: ${why}`);
    });
  }
}
