// GET /api/v0/{nodes,actors,workers,jobs}: what Ray's `ray list` and `ray get` ask over HTTP.
import { messageOf } from "@tray/common";
import { NodeState } from "@tray/protocol";
import type { Context, Hono } from "hono";
import type { Cluster } from "../cluster.js";
import type { JobService } from "../jobs/job-service.js";
import { answer, BadQuery, failure, parseQuery } from "./query.js";
import { actorRow, jobRow, nodeRow, type Resource, resources, type Row, workerRow } from "./rows.js";

interface Rows {
  readonly rows: readonly Row[];
  /** What could not be asked. */
  readonly warning?: string;
}

export function mountState(app: Hono, cluster: Cluster, jobs: JobService): void {
  const sources: Readonly<Record<keyof typeof resources, () => Promise<Rows>>> = {
    nodes: async () => ({ rows: (await cluster.gcs.listNodes({}, { retry: true })).nodes.map(nodeRow) }),
    actors: async () => ({
      rows: (await cluster.gcs.listActors({ limit: 10_000, namedOnly: false, namespace: "" }, { retry: true })).actors.map(actorRow),
    }),
    workers: () => workerRows(cluster),
    jobs: async () => ({ rows: (await jobs.list()).map(jobRow) }),
  };
  for (const [name, source] of Object.entries(sources)) {
    const resource: Resource = resources[name as keyof typeof resources];
    app.get(`/api/v0/${name}`, async (c) => {
      try {
        const query = parseQuery(new URL(c.req.url).searchParams, resource);
        const { rows, warning } = await source();
        return reply(c, answer(rows, resource, query, warning), 200);
      } catch (error) {
        return reply(c, failure(messageOf(error)), error instanceof BadQuery ? 400 : 500);
      }
    });
  }
}

async function workerRows(cluster: Cluster): Promise<Rows> {
  const { nodes } = await cluster.status();
  const alive = nodes.flatMap((n) => (n.info?.state === NodeState.ALIVE ? [n.info] : []));
  const answers = await Promise.allSettled(alive.map((node) => cluster.raylet(node.raylet).status({}, { timeoutMs: 5_000 })));
  const rows: Row[] = [];
  const silent: string[] = [];
  answers.forEach((outcome, i) => {
    const node = alive[i];
    if (node === undefined) return; // as many answers as nodes
    if (outcome.status === "fulfilled") rows.push(...outcome.value.workers.map((w) => workerRow(w, node.host)));
    else silent.push(node.nodeId);
  });
  return silent.length === 0 ? { rows } : { rows, warning: `nodes that did not answer: ${silent.join(", ")}` };
}

const reply = (c: Context, value: object, status: 200 | 400 | 500): Response =>
  c.body(JSON.stringify(value), status, { "Content-Type": "application/json; charset=utf-8" });
