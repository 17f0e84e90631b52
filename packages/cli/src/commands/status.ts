// tray status: nodes, what they do, and why what waits waits.
import { formatDuration, sleep } from "@tray/common";
import { type ClusterStatus, type Demand, fromFixedPoint, NodeState, type NodeStatus, waitCauses } from "@tray/protocol";
import { type Connection, connect } from "../connection.js";
import { CliFailure, exitCodes } from "../failure.js";
import { findTarget, type Session } from "../globals.js";
import { printValue, renderTable } from "../output/format.js";
import { quantity, rfc3339, usedOfTotal } from "../output/units.js";

export interface StatusOptions {
  watch?: boolean;
  waitNodes?: number;
}

export interface NodeReport {
  nodeId: string;
  nodeName: string;
  address: string;
  state: "ALIVE" | "DEAD";
  isHead: boolean;
  pid: number;
  deathReason: string | null;
  startTime: string | null;
  endTime: string | null;
  idleMs: number | null;
  queued: number;
  workers: number;
  labels: Record<string, string>;
  resources: { total: Record<string, number>; used: Record<string, number> };
  memory: { totalBytes: number; usedBytes: number };
  objectStore: { capacityBytes: number; usedBytes: number; spilledBytes: number };
}

export interface DemandReport {
  shape: Record<string, number>;
  count: number;
  kind: string;
  waitCause: string;
  sinceMs: number;
  infeasible: boolean;
  detail: string;
}

export interface StatusReport {
  sessionName: string;
  gcsAddress: string;
  dashboardUrl: string | null;
  version: string;
  headPid: number | null;
  gcsPid: number;
  supervisorPid: number | null;
  nodes: NodeReport[];
  demand: DemandReport[];
  autoscaler: null;
}

const waitPollMs = 50;
const watchMs = 1_000;

export async function status(session: Session, options: StatusOptions): Promise<void> {
  const target = findTarget(session);
  const connection = await connect(session, target);
  try {
    let report = await readStatus(session, connection);
    if (options.waitNodes !== undefined) report = await waitForNodes(session, connection, options.waitNodes, report);
    await show(session, report);
    while (options.watch === true) {
      await sleep(session.context.clock, watchMs, session.context.interruption);
      const next = await readStatus(session, connection);
      if (session.context.stdout.isTTY && session.format !== "json") session.context.stdout.write("\u001b[H\u001b[2J");
      await show(session, next);
    }
  } finally {
    await connection.close();
  }
}

async function readStatus({ context }: Session, connection: Connection): Promise<StatusReport> {
  return statusReport(await connection.gcs.status({}, { retry: true, timeoutMs: 10_000 }), context.clock.wallMs());
}

async function waitForNodes(session: Session, connection: Connection, wanted: number, first: StatusReport): Promise<StatusReport> {
  const { clock, interruption } = session.context;
  const deadline = session.timeoutMs === undefined ? Number.POSITIVE_INFINITY : clock.now() + session.timeoutMs;
  let report = first;
  for (;;) {
    const alive = report.nodes.filter((n) => n.state === "ALIVE").length;
    if (alive >= wanted) return report;
    if (clock.now() >= deadline)
      throw new CliFailure(
        exitCodes.timeout,
        "TIMEOUT",
        `${alive} of ${wanted} nodes are alive after ${session.flags.timeout}`,
        "add nodes with: tray start --address " + report.gcsAddress,
      );
    await sleep(clock, waitPollMs, interruption);
    report = await readStatus(session, connection);
  }
}

export function statusReport(status: ClusterStatus, nowMs: number): StatusReport {
  const nodes = status.nodes.flatMap((n) => nodeReport(n, nowMs) ?? []);
  nodes.sort(
    (a, b) => Number(b.isHead) - Number(a.isHead) || Number(a.state === "DEAD") - Number(b.state === "DEAD") || (a.nodeName < b.nodeName ? -1 : 1),
  );
  return {
    sessionName: status.sessionName,
    gcsAddress: status.gcsAddress,
    dashboardUrl: status.dashboardUrl || null,
    version: status.version,
    headPid: nodes.find((n) => n.isHead && n.state === "ALIVE")?.pid ?? null,
    gcsPid: status.gcsPid,
    supervisorPid: status.supervisorPid || null,
    nodes,
    demand: status.demand.map((d) => demandReport(d, nowMs)),
    autoscaler: null,
  };
}

function nodeReport(node: NodeStatus, nowMs: number): NodeReport | undefined {
  const { info } = node;
  if (info === undefined) return undefined;
  const total = info.total?.amounts ?? {};
  const available = node.available?.amounts ?? {};
  const used = Object.fromEntries(Object.entries(total).map(([name, amount]) => [name, amount - (available[name] ?? 0)]));
  const alive = info.state === NodeState.ALIVE;
  const heard = alive && node.totalMemoryBytes > 0; // a GCS that was restarted knows a node's load only after its next report
  return {
    nodeId: info.nodeId,
    nodeName: info.nodeName,
    address: info.raylet,
    state: alive ? "ALIVE" : "DEAD",
    isHead: info.isHead,
    pid: info.pid,
    deathReason: info.deathReason || null,
    startTime: rfc3339(info.startWallMs),
    endTime: rfc3339(info.endWallMs),
    idleMs: alive && node.idleSinceWallMs > 0 ? Math.max(0, Math.round(nowMs - node.idleSinceWallMs)) : null,
    queued: node.queued,
    workers: node.workers,
    labels: info.labels,
    resources: { total: fromFixedPoint(total), used: heard ? fromFixedPoint(used) : {} },
    memory: { totalBytes: node.totalMemoryBytes, usedBytes: node.usedMemoryBytes },
    objectStore: { capacityBytes: info.objectStoreBytes, usedBytes: node.objectStoreUsed, spilledBytes: node.objectStoreSpilled },
  };
}

function demandReport(demand: Demand, nowMs: number): DemandReport {
  const cause = demand.infeasible ? "infeasible" : (demand.wait?.cause ?? "waiting-for-resources");
  return {
    shape: fromFixedPoint(demand.shape?.amounts ?? {}),
    count: demand.count,
    kind: demand.kind || "task",
    waitCause: cause,
    sinceMs: demand.wait === undefined || demand.wait.sinceWallMs <= 0 ? 0 : Math.max(0, Math.round(nowMs - demand.wait.sinceWallMs)),
    infeasible: demand.infeasible,
    detail: demand.wait?.detail ?? "",
  };
}

async function show(session: Session, report: StatusReport): Promise<void> {
  const { context, format, flags } = session;
  if (format === "json" || format === "yaml") return await printValue(context, format, report);
  if (format === "name") return context.stdout.write(report.nodes.map((n) => `${n.nodeName}\n`).join(""));
  context.stdout.write(renderStatus(report, flags.verbose === true || format === "wide", context.clock.wallMs()));
}

/** The table of cli.md; `full`: with ids, addresses, pids and all resources. */
export function renderStatus(report: StatusReport, full: boolean, nowMs: number): string {
  const alive = (n: NodeReport, text: string): string => (n.state === "ALIVE" ? text : "-");
  const table = renderTable(report.nodes, [
    { title: "NODE", value: (n) => n.nodeName },
    { title: "STATE", value: (n) => n.state },
    {
      title: "CPU",
      value: (n) => alive(n, `${n.memory.totalBytes > 0 ? quantity(n.resources.used["CPU"] ?? 0) : "?"}/${quantity(n.resources.total["CPU"] ?? 0)}`),
    },
    { title: "MEMORY", value: (n) => alive(n, usedOfTotal(n.memory.usedBytes, n.memory.totalBytes)) },
    { title: "OBJECTS", value: (n) => alive(n, usedOfTotal(n.objectStore.usedBytes, n.objectStore.capacityBytes)) },
    { title: "WORKERS", value: (n) => alive(n, String(n.workers)) },
    { title: "QUEUED", value: (n) => alive(n, String(n.queued)) },
    ...(full
      ? [
          { title: "OTHER", value: (n: NodeReport) => alive(n, otherResources(n)) },
          { title: "ADDRESS", value: (n: NodeReport) => n.address },
          { title: "PID", value: (n: NodeReport) => String(n.pid) },
          { title: "NODE ID", value: (n: NodeReport) => n.nodeId },
        ]
      : []),
    { title: "IDLE", value: (n) => idle(n, nowMs) },
  ]);
  const demand = report.demand.map((d, i) => `${i === 0 ? "DEMAND" : "      "}      ${describeDemand(d)}\n`).join("");
  const head = full
    ? `session ${report.sessionName}  tray ${report.version}  GCS ${report.gcsAddress} (pid ${report.gcsPid})  dashboard ${report.dashboardUrl ?? "-"}\n\n`
    : "";
  return head + table + demand;
}

function idle(node: NodeReport, nowMs: number): string {
  if (node.state === "DEAD") {
    const ago = node.endTime === null ? "" : ` ${formatDuration(Math.max(0, nowMs - Date.parse(node.endTime)))} ago`;
    return `${node.deathReason ?? "dead"}${ago}`;
  }
  return node.idleMs === null ? "-" : formatDuration(node.idleMs);
}

/** "{CPU: 4} × 12 tasks: waiting for resources 31s". */
export function describeDemand(demand: DemandReport): string {
  const shape = `{${Object.keys(demand.shape)
    .sort()
    .map((name) => `${name}: ${quantity(demand.shape[name] ?? 0)}`)
    .join(", ")}}`;
  const what = `${shape} × ${demand.count} ${demand.kind}${demand.count === 1 ? "" : "s"}`;
  if (demand.infeasible) return `${what}: infeasible${demand.detail === "" ? "" : `, ${demand.detail}`}`;
  const cause = (waitCauses as Readonly<Record<string, string>>)[demand.waitCause] ?? demand.waitCause;
  return `${what}: ${cause}${demand.sinceMs > 0 ? ` ${formatDuration(demand.sinceMs)}` : ""}`;
}

function otherResources(node: NodeReport): string {
  const names = Object.keys(node.resources.total).filter((name) => name !== "CPU" && name !== "memory" && name !== "object_store_memory");
  return names.length === 0
    ? "-"
    : names.map((name) => `${name} ${quantity(node.resources.used[name] ?? 0)}/${quantity(node.resources.total[name] ?? 0)}`).join(" ");
}
