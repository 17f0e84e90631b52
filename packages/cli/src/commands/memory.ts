// tray memory: every object of the cluster, and what holds it. Asked of all nodes, which ask their processes.
import { formatDuration, formatSize } from "@tray/common";
import { NodeState, type ObjectReferences, type ProcessReferences, type StoredObject } from "@tray/protocol";
import { type Connection, withConnection } from "../connection.js";
import { CliFailure, exitCodes } from "../failure.js";
import { findTarget, type Session } from "../globals.js";
import { type Column, printListing, printValue, renderTable } from "../output/format.js";
import { shortId, usedOfTotal } from "../output/units.js";

/** One reason to keep an object. */
export interface Reference {
  readonly kind: "local" | "pending-task" | "captured" | "borrowed" | "lineage" | "actor-handle" | "pinned";
  readonly count: number;
  readonly nodeId: string;
  /** Empty for a pin: the node knows how many there are. */
  readonly workerId: string;
  readonly pid: number;
}

export interface ObjectReport {
  readonly objectId: string;
  sizeBytes: number;
  ownerId: string;
  ownerPid: number | null;
  readonly nodeIds: string[];
  readonly references: Reference[];
  /** pending, inline, stored, spilled, creating, deleted, failed, freed; or "orphaned": in a store, and its owner does not know it. */
  state: string;
  ageMs: number;
  task: string;
}

interface NodeReport {
  readonly nodeId: string;
  readonly nodeName: string;
  readonly capacityBytes: number;
  readonly usedBytes: number;
  readonly spilledBytes: number;
}

export interface MemoryReport {
  readonly objects: ObjectReport[];
  readonly nodes: NodeReport[];
  /** Processes and nodes that did not answer. */
  readonly unreachable: string[];
  /** Objects that exist, of which `objects` has the first. */
  readonly total: number;
  readonly truncated: boolean;
}

export interface MemoryFlags {
  groupBy?: string;
  limit?: string;
  collect?: boolean;
}

const limitDefault = 10_000;
const answerWithinMs = 5_000;

export async function memory(session: Session, flags: MemoryFlags): Promise<void> {
  const { context, format } = session;
  const groupBy = flags.groupBy ?? "";
  if (!["", "node", "owner"].includes(groupBy))
    throw new CliFailure(exitCodes.usage, "INVALID_ARGUMENT", `--group-by: '${groupBy}' is not a way to group`, "use node or owner");
  const limit = flags.limit === undefined ? limitDefault : Number(flags.limit);
  if (!Number.isInteger(limit) || limit < 1)
    throw new CliFailure(exitCodes.usage, "INVALID_ARGUMENT", `--limit: '${flags.limit}' is not a number of objects`);
  const report = await withConnection(session, findTarget(session), (connection) => readMemory(connection, limit, flags.collect === true));
  if (format === "json" || format === "yaml") return await printValue(context, format, report);
  for (const who of report.unreachable) context.stderr.write(`no answer from ${who}\n`);
  if (groupBy !== "") {
    context.stdout.write(groupBy === "node" ? renderTable(byNode(report), nodeColumns) : renderTable(byOwner(report.objects), ownerColumns));
    return;
  }
  const names = new Map(report.nodes.map((node) => [node.nodeId, node.nodeName]));
  await printListing(context, format, {
    items: report.objects,
    total: report.total,
    columns: objectColumns(names),
    name: (object) => object.objectId,
    none: "no objects",
  });
}

export async function readMemory(connection: Connection, limit: number, collect: boolean): Promise<MemoryReport> {
  const status = await connection.gcs.status({}, { retry: true });
  const alive = status.nodes.filter((node) => node.info?.state === NodeState.ALIVE);
  const gathered = new Gathered();
  const nodes: NodeReport[] = [];
  let total = 0;
  await Promise.all(
    alive.map(async ({ info, objectStoreUsed, objectStoreSpilled }) => {
      const { nodeId = "", nodeName = "", objectStoreBytes = 0, raylet = "" } = info ?? {};
      nodes.push({ nodeId, nodeName, capacityBytes: objectStoreBytes, usedBytes: objectStoreUsed, spilledBytes: objectStoreSpilled });
      try {
        const reply = await connection.raylet(raylet).listObjects({ limit, collect }, { timeoutMs: answerWithinMs });
        for (const process of reply.processes) gathered.process(nodeId, process);
        for (const object of reply.stored) gathered.stored(nodeId, object);
        total +=
          Math.max(0, reply.total - reply.stored.length) + reply.processes.reduce((sum, p) => sum + Math.max(0, p.total - p.references.length), 0);
      } catch {
        gathered.unreachable.push(`node ${nodeName || shortId(nodeId)}`);
      }
    }),
  );
  const objects = gathered.all();
  return {
    objects: objects.slice(0, limit),
    nodes: nodes.sort((a, b) => (a.nodeName < b.nodeName ? -1 : 1)),
    unreachable: gathered.unreachable.sort(),
    total: objects.length + total,
    truncated: total > 0 || objects.length > limit,
  };
}

/** Puts what nodes and processes say of one object together. The owner's word on its state counts, then the store's. */
export class Gathered {
  readonly unreachable: string[] = [];
  private readonly objects = new Map<string, ObjectReport>();
  private readonly ownersSpoke = new Set<string>();

  process(nodeId: string, { workerId, pid, kind, references, error }: ProcessReferences): void {
    if (error !== "") {
      this.unreachable.push(`${kind} ${pid} on node ${shortId(nodeId)}: ${error}`);
      return;
    }
    for (const known of references) {
      const object = this.objectOf(known.objectId, known.ownerId);
      const isOwner = known.ownerId === workerId;
      if (isOwner) {
        this.ownersSpoke.add(known.objectId);
        object.ownerPid = pid;
        object.state = known.state;
        object.task = known.task;
      } else if (!this.ownersSpoke.has(known.objectId) && object.state === "") object.state = known.state;
      object.sizeBytes = Math.max(object.sizeBytes, known.size);
      object.ageMs = Math.max(object.ageMs, known.ageMs);
      for (const [held, count] of reasons(known, isOwner)) object.references.push({ kind: held, count, nodeId, workerId, pid });
    }
  }

  stored(nodeId: string, { objectId, ownerId, size, state, pins, ageMs }: StoredObject): void {
    const object = this.objectOf(objectId, ownerId);
    object.nodeIds.push(nodeId);
    object.sizeBytes = Math.max(object.sizeBytes, size);
    object.ageMs = Math.max(object.ageMs, ageMs);
    if (state !== "sealed" && !this.ownersSpoke.has(objectId)) object.state = state;
    if (pins > 0) object.references.push({ kind: "pinned", count: pins, nodeId, workerId: "", pid: 0 });
  }

  /** Largest first. */
  all(): ObjectReport[] {
    for (const object of this.objects.values()) if (object.state === "") object.state = "orphaned";
    return [...this.objects.values()].sort((a, b) => b.sizeBytes - a.sizeBytes || (a.objectId < b.objectId ? -1 : 1));
  }

  private objectOf(objectId: string, ownerId: string): ObjectReport {
    let object = this.objects.get(objectId);
    if (object === undefined) {
      object = { objectId, sizeBytes: 0, ownerId, ownerPid: null, nodeIds: [], references: [], state: "", ageMs: 0, task: "" };
      this.objects.set(objectId, object);
    }
    return object;
  }
}

/** Borrowers speak for themselves; their owner is only asked for how many they are. */
function reasons(known: ObjectReferences, isOwner: boolean): [Reference["kind"], number][] {
  const handles: Reference["kind"] = known.actorHandle ? "actor-handle" : isOwner ? "local" : "borrowed";
  const all: [Reference["kind"], number][] = [
    [handles, known.local],
    ["pending-task", known.pendingTasks],
    ["captured", known.captured],
    ["lineage", known.lineage],
  ];
  return all.filter(([, count]) => count > 0);
}

const objectColumns = (names: ReadonlyMap<string, string>): Column<ObjectReport>[] => [
  { title: "OBJECT", value: (o) => o.objectId },
  { title: "SIZE", value: (o) => formatSize(o.sizeBytes) },
  { title: "STATE", value: (o) => o.state },
  { title: "NODES", value: (o) => o.nodeIds.map((id) => names.get(id) ?? shortId(id)).join(",") || "-" },
  { title: "OWNER", value: (o) => (o.ownerPid === null ? shortId(o.ownerId) : `pid ${o.ownerPid}`) },
  { title: "AGE", value: (o) => formatDuration(o.ageMs) },
  { title: "HELD BY", value: (o) => o.references.map((r) => `${r.count} ${r.kind}${r.pid === 0 ? "" : ` (pid ${r.pid})`}`).join(", ") || "nothing" },
  { title: "MADE BY", value: (o) => o.task || (o.state === "orphaned" ? "-" : "put"), wide: true },
];

interface NodeTotals extends NodeReport {
  readonly objects: number;
}

const nodeColumns: Column<NodeTotals>[] = [
  { title: "NODE", value: (n) => n.nodeName || shortId(n.nodeId) },
  { title: "STORE", value: (n) => usedOfTotal(n.usedBytes, n.capacityBytes) },
  { title: "SPILLED", value: (n) => formatSize(n.spilledBytes) },
  { title: "OBJECTS", value: (n) => String(n.objects) },
];

const byNode = ({ nodes, objects }: MemoryReport): NodeTotals[] =>
  nodes.map((node) => ({ ...node, objects: objects.filter((object) => object.nodeIds.includes(node.nodeId)).length }));

interface OwnerReport {
  readonly owner: string;
  objects: number;
  bytes: number;
}

const ownerColumns: Column<OwnerReport>[] = [
  { title: "OWNER", value: (o) => o.owner },
  { title: "OBJECTS", value: (o) => String(o.objects) },
  { title: "BYTES", value: (o) => formatSize(o.bytes) },
];

function byOwner(objects: readonly ObjectReport[]): OwnerReport[] {
  const owners = new Map<string, OwnerReport>();
  for (const { ownerId, ownerPid, sizeBytes } of objects) {
    const owner = owners.get(ownerId) ?? { owner: ownerPid === null ? shortId(ownerId) : `pid ${ownerPid}`, objects: 0, bytes: 0 };
    owner.objects++;
    owner.bytes += sizeBytes;
    owners.set(ownerId, owner);
  }
  return [...owners.values()].sort((a, b) => b.bytes - a.bytes);
}
