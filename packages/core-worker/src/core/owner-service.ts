// OwnerService: what borrowers ask of the owner of an object. Every request may come again, late, or of an object that is gone.
import { type Handlers, type NodeAddress, type OwnerService, type ResolveReply } from "@tray/protocol";
import type { CallContext } from "@tray/rpc";
import type { Borrowers } from "./borrowers.js";
import { errorInfo } from "./failures.js";
import type { ObjectEntry } from "./object-entry.js";
import type { ReferenceTable } from "./reference-table.js";

export interface OwnerServiceHost {
  /** These nodes turned out not to have it. Makes it again or fails it; either way the entry becomes ready some time. */
  missing(entry: ObjectEntry, nodeIds: readonly string[]): void;
  /** A copy of an item that its stream may make yet: the stream sees to the copy. */
  isComing(objectId: string, node: NodeAddress): boolean;
  /** Deletes a copy that nobody needs. */
  discard(objectId: string, node: NodeAddress): void;
}

export function ownerService(references: ReferenceTable, borrowers: Borrowers, host: OwnerServiceHost): Handlers<typeof OwnerService, CallContext> {
  return {
    resolve: ({ objectId, missingNodeIds }) => resolveFor(references, host, objectId, missingNodeIds),
    addBorrower: ({ objectIds, node }, { peer }) => {
      const gone: string[] = [];
      if (!borrowers.seen(peer.id, node, peer.kind === "driver")) return { gone };
      for (const objectId of objectIds) {
        const entry = references.get(objectId);
        if (entry === undefined || entry.state.kind === "freed") gone.push(objectId);
        else references.addBorrower(entry, peer.id);
      }
      return { gone };
    },
    removeBorrower: ({ objectIds }, { peer }) => {
      for (const objectId of objectIds) {
        const entry = references.get(objectId);
        if (entry !== undefined) references.removeBorrower(entry, peer.id);
      }
    },
    locationChanged: ({ objectId, added }) => {
      if (added === undefined) return;
      const entry = references.get(objectId);
      if (entry?.state.kind === "stored") {
        if (!entry.state.nodes.some((n) => n.nodeId === added.nodeId)) entry.state.nodes.push(added);
      } else if (entry?.state.kind === "pending") {
        // Left by an attempt of which we have no answer: the next one may make it at the same place, so it goes when the object goes.
        if (entry.strays?.some((n) => n.nodeId === added.nodeId) !== true) entry.strays = [...(entry.strays ?? []), added];
      } else if (entry !== undefined || !host.isComing(objectId, added)) host.discard(objectId, added); // freed meanwhile, or of no use
    },
  };
}

function resolveFor(references: ReferenceTable, host: OwnerServiceHost, objectId: string, missing: readonly string[]): Promise<ResolveReply> {
  const entry = references.get(objectId);
  // Freed, and kept for lineage: its owner alone may have it made again. Who asks let go of it once, and has it in the lineage of its own.
  if (entry === undefined || entry.state.kind === "freed") {
    return Promise.resolve({
      state: { $case: "error", value: errorInfo("OBJECT_LOST", `object ${objectId} is not known to its owner: it was freed`) },
      contained: [],
    });
  }
  if (entry.state.kind === "stored" && (missing.length > 0 || entry.state.nodes.length === 0)) host.missing(entry, missing);
  return new Promise((resolve) => {
    references.whenReady(entry, () => {
      const { state } = entry;
      if (state.kind === "value") resolve({ state: { $case: "value", value: state.value as Buffer }, contained: [] });
      else if (state.kind === "stored") resolve({ state: { $case: "stored", value: { size: state.size, nodes: state.nodes } }, contained: [] });
      else if (state.kind === "failed") resolve({ state: { $case: "error", value: state.error }, contained: [] });
    });
  });
}
