// What the dashboard asks of the cluster: the GCS, and any raylet by its address. Implemented over rpc sessions (rpc-cluster.ts), in tests by a memory network.
import type { Client, ClusterStatus, GcsService, RayletService } from "@tray/protocol";

export interface Cluster {
  readonly gcs: Client<typeof GcsService>;
  raylet(address: string): Client<typeof RayletService>;
  /** Watches a job's supervisor; `onGone` runs once, when its process has ended or cannot be reached for long. @returns a function that ends the watch. */
  watchProcess(address: string, incarnation: string, onGone: (why: string) => void): () => void;
  /** The GCS's answer to `status`, at most a moment old. */
  status(): Promise<ClusterStatus>;
}
