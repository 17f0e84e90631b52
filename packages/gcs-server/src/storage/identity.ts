// Who this cluster is. Lives as long as the tables; read before anything is served.
import type { Random } from "@tray/common";
import { type Store, WriteBatch } from "@tray/storage";

export interface ClusterIdentity {
  readonly clusterId: string;
  readonly sessionName: string;
  /** Starts of the GCS on these tables, from 1. Orders what two lives of it published. */
  readonly epoch: number;
}

/** Reads the identity, or makes it, and counts this start. `sessionName` is taken for a new cluster only. */
export async function openIdentity(store: Store, random: Random, sessionName: string): Promise<ClusterIdentity> {
  const table = store.open("cluster");
  const text = (key: string): string | undefined => {
    const bytes = table.get(key);
    return bytes === undefined ? undefined : Buffer.from(bytes).toString("utf8");
  };
  const identity: ClusterIdentity = {
    clusterId: text("clusterId") ?? random.hex(16),
    sessionName: text("sessionName") ?? sessionName,
    epoch: Number(text("epoch") ?? "0") + 1,
  };
  const batch = new WriteBatch();
  for (const [key, value] of Object.entries(identity)) batch.put(table, key, Buffer.from(String(value), "utf8"));
  await store.commit(batch);
  return identity;
}
