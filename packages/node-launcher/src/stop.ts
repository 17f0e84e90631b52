// Ending nodes: ask their supervisors, wait, then make sure. What a crash left behind (processes without a supervisor, arenas, address files) goes too.
import { type Clock, sleep } from "@tray/common";
import { existsSync, readdirSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { isRunning, listLocalNodes, type LocalNode } from "./discover.js";
import { addressFileOf, type DaemonName, isOwn, shmRoot } from "./layout.js";
import {
  isSameProcess,
  listProcesses,
  planFileOf,
  processConfigOf,
  type ProcessEntry,
  processesUnder,
  readProcess,
  signalProcess,
  withDescendants,
} from "./processes.js";

export interface StopOptions {
  /** Kill at once. */
  readonly force: boolean;
  readonly graceMs: number;
  /** Never signalled: the caller and whoever runs it (a job may stop its own cluster). */
  readonly sparePids: ReadonlySet<number>;
}

export interface StopResult {
  readonly nodes: readonly string[];
  /** Ended because they were asked to. */
  readonly ended: number;
  /** Killed after the grace period, or at once with `force`. */
  readonly killed: number;
  /** Still there: not ours to kill, or stuck in the kernel. */
  readonly survivors: readonly number[];
}

const daemons: readonly DaemonName[] = ["raylet", "dashboard", "gcs-server"];
const pollMs = 10;
/** For processes to follow those that they belong to. */
const afterwardsMs = 1_500;

export async function stopNodes(dataDir: string, clock: Clock, options: StopOptions): Promise<StopResult> {
  const known = listLocalNodes(dataDir);
  const nodes = known.filter(isRunning);
  const all = targets(known, options.sparePids);
  if (!options.force) {
    // A supervisor ends its daemons in order; a daemon without one is asked itself. Workers end with their raylet.
    const asked = new Set(nodes.flatMap((node) => (node.supervisorPid === undefined ? daemonPids(node) : [node.supervisorPid])));
    for (const pid of asked) signalProcess(pid, "SIGTERM");
    await untilGone(
      all.filter((p) => asked.has(p.pid)),
      clock,
      options.graceMs,
    );
    // What ends with them is ending now. What does not, orphans of a node that had died before, waits for nothing.
    await untilGone(all, clock, Math.min(options.graceMs, afterwardsMs));
  }
  // Whoever is left, and whoever was started meanwhile.
  const left = dedupe([...all.filter(isSameProcess), ...targets(known, options.sparePids)]);
  for (const p of left) signalProcess(p.pid, "SIGKILL");
  await untilGone(left, clock, 5_000);
  for (const node of known) clean(node);
  return {
    nodes: nodes.map((n) => n.layout.nodeName),
    ended: all.length - left.filter((p) => all.some((q) => q.pid === p.pid)).length,
    killed: left.length,
    survivors: left.filter(isSameProcess).map((p) => p.pid),
  };
}

/** Kills what is left of one node whose supervisor is gone, e.g. after a start that failed half-way. */
export async function sweepNode(node: LocalNode, clock: Clock): Promise<void> {
  const left = processesUnder(node.layout.dir);
  for (const p of left) signalProcess(p.pid, "SIGKILL");
  await untilGone(left, clock, 5_000);
  clean(node);
}

/** Supervisors, daemons, workers, job supervisors and what descends from them. */
function targets(nodes: readonly LocalNode[], spare: ReadonlySet<number>): ProcessEntry[] {
  const everyone = listProcesses().filter((p) => p.state !== "Z");
  const roots = new Set<number>();
  for (const node of nodes) if (node.supervisorPid !== undefined && readProcess(node.supervisorPid) !== undefined) roots.add(node.supervisorPid);
  for (const dir of new Set(nodes.map((n) => n.layout.session.dir))) for (const p of processesUnder(dir)) roots.add(p.pid);
  return withDescendants(roots, everyone).filter((p) => !spare.has(p.pid));
}

const daemonPids = (node: LocalNode): number[] => [node.raylet?.pid, node.dashboard?.pid, node.gcs?.pid].filter((pid) => pid !== undefined);

async function untilGone(processes: readonly ProcessEntry[], clock: Clock, timeoutMs: number): Promise<void> {
  const deadline = clock.now() + timeoutMs;
  // They are not our children: /proc is all there is to wait on.
  while (clock.now() < deadline && processes.some(isSameProcess)) await sleep(clock, pollMs);
}

function clean(node: LocalNode): void {
  for (const name of daemons) rmSync(addressFileOf(node.layout, name), { force: true });
  rmSync(node.layout.supervisorFile, { force: true });
  rmSync(node.layout.shmDir, { recursive: true, force: true });
  rmSync(node.layout.session.socketsDir, { recursive: true, force: true });
  for (const dir of node.plan.raylet.spillDirs) if (dir.startsWith(`${node.layout.dir}/`)) rmSync(dir, { recursive: true, force: true });
  if (node.plan.isHead && existsSync(node.layout.session.dir)) writeFileSync(node.layout.session.endedFile, "");
}

function dedupe(processes: readonly ProcessEntry[]): ProcessEntry[] {
  return [...new Map(processes.map((p) => [p.pid, p])).values()];
}

/** Removes this user's arenas in /dev/shm whose session has no living process: what machines or `kill -9` left. Those of other data directories are told apart by `isLive`. */
export function removeStaleArenas(isLive: (sessionName: string) => boolean): string[] {
  const removed: string[] = [];
  for (const name of existsSync(shmRoot) ? readdirSync(shmRoot) : []) {
    const session = /^tray_(\d{4}-\d\d-\d\d_\d\d-\d\d-\d\d_[0-9a-f]+)_/.exec(name)?.[1];
    // Another user's processes are not ours to read, so their sessions seem dead.
    if (session === undefined || isLive(session) || !isOwn(join(shmRoot, name))) continue;
    rmSync(join(shmRoot, name), { recursive: true, force: true });
    removed.push(name);
  }
  return removed;
}

/** Names of the sessions that some process on this machine belongs to. */
export function liveSessionNames(): Set<string> {
  const names = new Set<string>();
  for (const { pid, state } of listProcesses()) {
    if (state === "Z") continue;
    const session = /\/session_([^/]+)\//.exec(processConfigOf(pid) ?? planFileOf(pid) ?? "")?.[1];
    if (session !== undefined) names.add(session);
  }
  return names;
}
