// What a raylet that died without a word leaves: workers that have not noticed yet, and what user code in them started and detached. All of it carries, in the
// environment that children inherit, the name of a configuration file in the raylet's own run directory: that is how it is found, and why nothing else ever is.
import { join } from "node:path";
import { listLocalNodes } from "./discover.js";
import { configFileOf, type NodeLayout, runDirOf } from "./layout.js";
import { listProcesses, processConfigOf, type ProcessEntry, signalProcess, withDescendants } from "./processes.js";

/** Kills what is left of a raylet that has ended. "workers" spares job supervisors and their jobs. @returns how many. */
export function sweepRaylet(node: NodeLayout, which: "workers" | "all"): number {
  const prefix = which === "all" ? `${runDirOf(node)}/` : join(runDirOf(node), "worker-");
  const killed = new Set<number>();
  // What was started between the look and the signal is found by the next look.
  for (let round = 0; round < 3; round++) {
    const all = listProcesses().filter((p) => p.state !== "Z");
    const left = belongings(all, prefix).filter((p) => p.pid !== process.pid);
    if (left.length === 0) break;
    for (const p of left) if (signalProcess(p.pid, "SIGKILL")) killed.add(p.pid);
  }
  return killed.size;
}

/** Kills what is left of every raylet of this data directory that is dead. Called before a node is started. @returns the nodes that had left something. */
export function sweepDeadNodes(dataDir: string): string[] {
  const configs = new Set(listProcesses().flatMap((p) => (p.state === "Z" ? [] : (processConfigOf(p.pid) ?? []))));
  const dead = listLocalNodes(dataDir).filter(({ layout }) => !configs.has(configFileOf(layout, "raylet")));
  const leaves = (layout: NodeLayout): boolean => [...configs].some((file) => file.startsWith(`${runDirOf(layout)}/`));
  return dead.filter(({ layout }) => leaves(layout) && sweepRaylet(layout, "all") > 0).map(({ layout }) => layout.nodeName);
}

function belongings(all: readonly ProcessEntry[], prefix: string): ProcessEntry[] {
  const marked = all.filter((p) => processConfigOf(p.pid)?.startsWith(prefix) ?? false);
  return withDescendants(
    marked.map((p) => p.pid),
    all,
  );
}
