// tray memory: every object of the cluster, and what holds it. Asked of all nodes, which ask their processes.
import { formatDuration, formatSize, messageOf } from "@tray/common";
import { NodeState, type ObjectReferences, type ProcessReferences, type StoredObject, waitCauses } from "@tray/protocol";
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
  /** Empty for a pin (the node knows how many there are) and for borrowers that did not answer. */
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
  /** pending, inline, stored, spilled (stored, and nowhere in memory), failed, freed; or "orphaned": in a store, and no process knows it. */
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
  /** What waits for room in its object store; null: nothing does, or it did not answer. */
  waiting: { readonly count: number; readonly bytes: number; readonly oldestMs: number } | null;
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
  for (const line of waitingLines(report)) context.stdout.write(`${line}\n`);
}

/** Why puts, gets and tasks do not go on, where room is the reason. */
export function waitingLines({ nodes }: Pick<MemoryReport, "nodes">): string[] {
  return nodes.flatMap(({ nodeName, waiting }) =>
    waiting === null
      ? []
      : [
          `${nodeName}: ${waiting.count} (${formatSize(waiting.bytes)}) ${waitCauses["waiting-for-object-store"]}, the first for ${formatDuration(waiting.oldestMs)}`,
        ],
  );
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
      const node: NodeReport = {
        nodeId,
        nodeName,
        capacityBytes: objectStoreBytes,
        usedBytes: objectStoreUsed,
        spilledBytes: objectStoreSpilled,
        waiting: null,
      };
      nodes.push(node);
      try {
        const reply = await connection.raylet(raylet).listObjects({ limit, collect }, { timeoutMs: answerWithinMs });
        for (const process of reply.processes) gathered.process(nodeId, process);
        for (const object of reply.stored) gathered.stored(nodeId, object);
        if (reply.waiting !== undefined && reply.waiting.count > 0) node.waiting = reply.waiting;
        total +=
          Math.max(0, reply.total - reply.stored.length) + reply.processes.reduce((sum, p) => sum + Math.max(0, p.total - p.references.length), 0);
      } catch (error) {
        gathered.unreachable.push(`node ${nodeName || shortId(nodeId)}: ${messageOf(error)}`);
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

/** Puts what nodes and processes say of one object together, in whatever order they say it. */
export class Gathered {
  readonly unreachable: string[] = [];
  private readonly objects = new Map<string, Known>();

  process(nodeId: string, { workerId, pid, kind, references, error }: ProcessReferences): void {
    if (error !== "") {
      this.unreachable.push(`${kind} ${pid} on node ${shortId(nodeId)}: ${error}`);
      return;
    }
    for (const known of references) {
      const object = this.objectOf(known.objectId, known.ownerId);
      const isOwner = known.ownerId === workerId;
      const { report } = object;
      if (isOwner) {
        object.ownerState = known.state;
        object.borrowers = known.borrowers;
        report.ownerPid = pid;
        report.task = known.task;
      } else {
        object.borrowerState = known.state;
        object.borrowersHeard++;
      }
      report.sizeBytes = Math.max(report.sizeBytes, known.size);
      report.ageMs = Math.max(report.ageMs, known.ageMs);
      for (const [held, count] of reasons(known, isOwner)) report.references.push({ kind: held, count, nodeId, workerId, pid });
    }
  }

  stored(nodeId: string, { objectId, ownerId, size, state, pins, ageMs }: StoredObject): void {
    const object = this.objectOf(objectId, ownerId);
    const { report } = object;
    object.copies.push(state);
    report.nodeIds.push(nodeId);
    report.sizeBytes = Math.max(report.sizeBytes, size);
    report.ageMs = Math.max(report.ageMs, ageMs);
    if (pins > 0) report.references.push({ kind: "pinned", count: pins, nodeId, workerId: "", pid: 0 });
  }

  /** Largest first. */
  all(): ObjectReport[] {
    const reports = [...this.objects.values()].map((object) => {
      const { report } = object;
      report.state = stateOf(object);
      const silent = object.borrowers - object.borrowersHeard;
      if (silent > 0) report.references.push({ kind: "borrowed", count: silent, nodeId: "", workerId: "", pid: 0 });
      return report;
    });
    return reports.sort((a, b) => b.sizeBytes - a.sizeBytes || (a.objectId < b.objectId ? -1 : 1));
  }

  private objectOf(objectId: string, ownerId: string): Known {
    let object = this.objects.get(objectId);
    if (object === undefined) {
      const report = { objectId, sizeBytes: 0, ownerId, ownerPid: null, nodeIds: [], references: [], state: "", ageMs: 0, task: "" };
      object = { report, ownerState: undefined, borrowerState: undefined, copies: [], borrowers: 0, borrowersHeard: 0 };
      this.objects.set(objectId, object);
    }
    return object;
  }
}

/** What was heard of one object so far. */
interface Known {
  readonly report: ObjectReport;
  ownerState: string | undefined;
  borrowerState: string | undefined;
  /** As the stores call them: creating, sealed, spilled, deleted. */
  readonly copies: string[];
  /** Processes that borrow it, by its owner's word; those that spoke for themselves. */
  borrowers: number;
  borrowersHeard: number;
}

/** The owner's word counts, and the stores' on whether it is in memory. */
function stateOf({ ownerState, borrowerState, copies }: Known): string {
  const state = ownerState ?? borrowerState;
  if (state === undefined) return "orphaned";
  return state === "stored" && copies.length > 0 && copies.every((copy) => copy === "spilled") ? "spilled" : state;
}

/** Borrowers speak for themselves; of those that do not, the owner tells how many there are. */
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
