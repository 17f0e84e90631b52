// Cluster over rpc sessions: one to the GCS for good, one to each raylet that was asked lately, one to each job supervisor that is watched.
import type { TrayError } from "@tray/common";
import { type Clock } from "@tray/common";
import { type Client, type ClusterStatus, GcsService, RayletService } from "@tray/protocol";
import type { Endpoint, Session } from "@tray/rpc";
import type { Cluster } from "./cluster.js";

const rayletSessionsMax = 256;
const rayletGiveUpMs = 2_000;
/** A supervisor on a machine that is cut off counts as gone after this long. */
const supervisorGiveUpMs = 30_000;
const statusAgeMaxMs = 250;

export class RpcCluster implements Cluster {
  readonly gcs: Client<typeof GcsService>;
  private readonly raylets = new Map<string, Session>();
  private latest: { atMs: number; status: Promise<ClusterStatus> } | undefined;

  constructor(
    private readonly endpoint: Endpoint,
    private readonly gcsSession: Session,
    private readonly clock: Clock,
  ) {
    this.gcs = gcsSession.client(GcsService);
  }

  opened(): Promise<void> {
    return this.gcsSession.opened();
  }

  raylet(address: string): Client<typeof RayletService> {
    const known = this.raylets.get(address);
    if (known !== undefined && known.state !== "lost" && known.state !== "closed") {
      this.raylets.delete(address); // most recently used last
      this.raylets.set(address, known);
      return known.client(RayletService);
    }
    const session = this.endpoint.connect(address, { reconnect: { giveUpMs: rayletGiveUpMs, refusedMeansGone: true } });
    session.opened().catch(() => undefined); // calls on it fail with the reason
    this.raylets.set(address, session);
    const oldest = this.raylets.entries().next().value;
    if (this.raylets.size > rayletSessionsMax && oldest !== undefined) {
      this.raylets.delete(oldest[0]);
      oldest[1].close("not asked lately");
    }
    return session.client(RayletService);
  }

  watchProcess(address: string, incarnation: string, onGone: (why: string) => void): () => void {
    const session = this.endpoint.connect(address, {
      reconnect: { giveUpMs: supervisorGiveUpMs, refusedMeansGone: true },
      expectIncarnation: incarnation,
    });
    session.opened().catch(() => undefined); // onLost tells
    let watching = true;
    session.onLost((error: TrayError) => {
      if (watching) onGone(error.message);
      watching = false;
    });
    return () => {
      watching = false;
      session.close("no longer watched");
    };
  }

  status(): Promise<ClusterStatus> {
    const nowMs = this.clock.now();
    if (this.latest === undefined || nowMs - this.latest.atMs > statusAgeMaxMs) {
      const status = this.gcs.status({}, { retry: true });
      this.latest = { atMs: nowMs, status };
      status.catch(() => {
        if (this.latest?.status === status) this.latest = undefined; // the next caller asks anew
      });
    }
    return this.latest.status;
  }
}
