// What lies in this node's store, and what the processes of this node hold: `tray memory`, `tray list objects`.
import { messageOf } from "@tray/common";
import { IntrospectionService, type ListObjectsReply, type ListObjectsRequest, type ProcessReferences, type StoredObject } from "@tray/protocol";
import type { Session } from "@tray/rpc";
import type { ObjectService } from "../objects/service.js";

export interface HoldingProcess {
  readonly workerId: string;
  readonly pid: number;
  readonly kind: string;
  readonly session: Session;
}

/** A process that computes answers all the same: its I/O thread does. */
const answerWithinMs = 2_000;

export async function listObjects(
  objects: ObjectService,
  processes: readonly HoldingProcess[],
  nowMs: () => number,
  { limit, collect }: ListObjectsRequest,
): Promise<ListObjectsReply> {
  // The processes first: what they let go of may be gone from the store then.
  const answers = await Promise.all(processes.map((process) => referencesOf(process, limit, collect)));
  const all = objects.list().sort((a, b) => b.size - a.size);
  const stored = all.slice(0, limit).map(
    (object): StoredObject => ({
      objectId: object.objectId,
      ownerId: object.owner.workerId,
      size: object.size,
      state: object.deleted ? "deleted" : object.state,
      copy: object.copy,
      pins: object.pins,
      ageMs: Math.max(0, nowMs() - object.createdMs),
    }),
  );
  return { stored, total: all.length, processes: answers, waiting: objects.waiting() };
}

async function referencesOf({ workerId, pid, kind, session }: HoldingProcess, limit: number, collect: boolean): Promise<ProcessReferences> {
  const process = { workerId, pid, kind };
  try {
    const { references, total } = await session.client(IntrospectionService).listReferences({ limit, collect }, { timeoutMs: answerWithinMs });
    return { ...process, references, total, error: "" };
  } catch (error) {
    return { ...process, references: [], total: 0, error: messageOf(error) };
  }
}
