// Which clusters and nodes run on this machine, as the data directory tells it.
import { readJson, liveDaemon, readAddressFile } from "./address-file.js";
import { listNodeDirs, listSessions, type NodeLayout } from "./layout.js";
import type { NodePlan } from "./plan.js";
import { environmentOf, isAlive, listProcesses, planFileOf, processConfigOf } from "./processes.js";
import { existsSync } from "node:fs";

export interface LocalNode {
  readonly layout: NodeLayout;
  readonly plan: NodePlan;
  readonly supervisorPid: number | undefined;
  readonly gcs: { readonly pid: number; readonly address: string } | undefined;
  readonly raylet: { readonly pid: number; readonly address: string; readonly nodeId: string } | undefined;
  readonly dashboard: { readonly pid: number; readonly address: string } | undefined;
}

export interface LocalCluster {
  readonly gcsAddress: string;
  readonly tokenFile: string | undefined;
  readonly tlsDir: string | undefined;
  readonly node: LocalNode;
}

export function readPlan(layout: NodeLayout): NodePlan | undefined {
  return readJson<NodePlan>(layout.planFile, (p) => typeof p.sessionName === "string" && p.raylet !== undefined && p.commands !== undefined);
}

/** Every node that this data directory knows, newest session first, alive or not. */
export function listLocalNodes(dataDir: string): LocalNode[] {
  return listSessions(dataDir).flatMap((session) => listNodeDirs(session).flatMap((layout) => inspectNode(layout) ?? []));
}

export function inspectNode(layout: NodeLayout): LocalNode | undefined {
  const plan = readPlan(layout);
  if (plan === undefined) return undefined;
  const raylet = liveDaemon(layout, "raylet");
  return {
    layout,
    plan,
    supervisorPid: liveSupervisor(layout),
    gcs: liveDaemon(layout, "gcs-server"),
    raylet: raylet === undefined ? undefined : { ...raylet, nodeId: raylet.nodeId ?? "" },
    dashboard: liveDaemon(layout, "dashboard"),
  };
}

export const isRunning = (node: LocalNode): boolean =>
  node.gcs !== undefined || node.raylet !== undefined || node.dashboard !== undefined || node.supervisorPid !== undefined;

/** The cluster that commands mean when no address is given: the newest one here that lives. */
export function findLocalCluster(dataDir: string): LocalCluster | undefined {
  const nodes = listLocalNodes(dataDir);
  // A head whose GCS is just being restarted still is the cluster; then nodes that joined from here.
  const node =
    nodes.find((n) => n.gcs !== undefined) ??
    nodes.find((n) => n.plan.isHead && n.supervisorPid !== undefined) ??
    nodes.find((n) => n.raylet !== undefined);
  if (node === undefined) return undefined;
  return { gcsAddress: gcsAddressOf(node), ...secretsOf(node), node };
}

/** Where the node's GCS serves, or served last. */
export function gcsAddressOf(node: LocalNode): string {
  return node.gcs?.address ?? readLastAddress(node) ?? node.plan.raylet.gcsAddress;
}

/** With port 0 only the address file knows the port; it is there while the GCS is being restarted. */
function readLastAddress(node: LocalNode): string | undefined {
  return readAddressFile(`${node.layout.dir}/gcs-server.json`)?.address;
}

/** What a node here uses that belongs to the cluster at `address`; undefined when there is none. */
export function secretsFor(dataDir: string, address: string): Secrets | undefined {
  const node = listLocalNodes(dataDir).find((n) => isRunning(n) && gcsAddressOf(n) === address);
  return node === undefined ? undefined : secretsOf(node);
}

/** Files by which this machine proves that it belongs to a cluster. */
export interface Secrets {
  readonly tokenFile: string | undefined;
  /** Undefined: the cluster speaks no TLS. */
  readonly tlsDir: string | undefined;
}

function secretsOf({ plan }: LocalNode): Secrets {
  return { tokenFile: plan.raylet.tokenFile, tlsDir: plan.raylet.tlsDir };
}

/** A pid from supervisor.json counts only while that process has this very plan on its command line. */
function liveSupervisor(layout: NodeLayout): number | undefined {
  const pid = readAddressFile(layout.supervisorFile)?.pid;
  if (pid === undefined || !isAlive(pid)) return undefined;
  return planFileOf(pid) === layout.planFile ? pid : undefined;
}

/** Data directories of every node of this user on the machine, from the environment of its processes. */
export function dataDirsInUse(): string[] {
  const found = new Set<string>();
  for (const { pid, state } of listProcesses()) {
    if (state === "Z" || environmentOf(pid) === undefined) continue;
    for (const file of [processConfigOf(pid), planFileOf(pid)]) {
      // <dataDir>/session_<name>/nodes/<node>/<file>, or a worker's somewhere below the session.
      const match = file === undefined ? null : /^(.*)\/session_[^/]+\//.exec(file);
      if (match?.[1] !== undefined && existsSync(match[1])) found.add(match[1]);
    }
  }
  return [...found];
}
