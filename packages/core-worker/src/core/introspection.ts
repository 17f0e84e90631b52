// What this process says of the objects that it knows: `tray memory`, `tray list objects`.
import type { ListReferencesReply, ObjectReferences } from "@tray/protocol";
import type { ObjectEntry } from "./object-entry.js";
import type { ReferenceTable } from "./reference-table.js";

/** Up to `limit` objects, those in a node's store first. O(objects). */
export function listReferences(references: ReferenceTable, self: string, nowMs: number, limit: number): ListReferencesReply {
  const stored: ObjectEntry[] = [];
  const others: ObjectEntry[] = [];
  for (const entry of references.all()) {
    const list = entry.state.kind === "stored" ? stored : others;
    if (list.length < limit) list.push(entry);
  }
  return {
    references: [...stored, ...others.slice(0, Math.max(0, limit - stored.length))].map((entry) => describe(entry, self, nowMs)),
    total: references.size,
  };
}

function describe(entry: ObjectEntry, self: string, nowMs: number): ObjectReferences {
  const { state, task } = entry;
  return {
    objectId: entry.id,
    ownerId: entry.owner?.workerId ?? self,
    state: state.kind === "value" ? "inline" : state.kind,
    size: state.kind === "value" ? state.value.length : state.kind === "stored" ? state.size : 0,
    local: entry.handles,
    pendingTasks: entry.uses,
    captured: entry.containers,
    borrowers: entry.borrowers?.size ?? 0,
    lineage: entry.lineage,
    actorHandle: entry.isHandle,
    ageMs: Math.max(0, nowMs - entry.sinceS * 1000),
    task: task?.template.options.name ?? "",
  };
}
