// The rare calls of the API: asked by name, answered with JSON.
import { TrayError } from "@tray/common";
import { type ActorInfo, ActorState, fromFixedPoint, type NodeInfo, NodeState, type NodeStatus } from "@tray/protocol";
import type { CoreWorker, CoreWorkerOptions } from "./core-worker.js";

export type ClusterCalls = Readonly<Record<string, (input: never, signal: AbortSignal) => Promise<unknown>>>;

/** What `tray.nodes()` shows of a node. */
function nodeOf(info: NodeInfo, available: Record<string, number> | undefined): unknown {
  const alive = info.state === NodeState.ALIVE;
  return {
    nodeId: info.nodeId,
    nodeName: info.nodeName,
    address: info.raylet,
    alive,
    isHead: info.isHead,
    pid: info.pid,
    labels: info.labels,
    resources: { total: fromFixedPoint(info.total?.amounts ?? {}), available: alive ? fromFixedPoint(available ?? {}) : {} },
    startTime: new Date(info.startWallMs).toISOString(),
    ...(alive ? {} : { deathReason: info.deathReason, endTime: new Date(info.endWallMs).toISOString() }),
  };
}

function sum(nodes: readonly NodeStatus[], of: (node: NodeStatus) => Record<string, number> | undefined): Record<string, number> {
  const total: Record<string, number> = {};
  for (const node of nodes) {
    if (node.info?.state !== NodeState.ALIVE) continue;
    const amounts = of(node) ?? {};
    for (const name in amounts) total[name] = (total[name] ?? 0) + (amounts[name] as number);
  }
  return fromFixedPoint(total);
}

/** What a handle needs to know of an actor found by name. */
function handleOf(info: ActorInfo): unknown {
  const { spec } = info;
  return {
    actorId: info.actorId,
    className: spec?.className ?? "",
    methods: spec?.methods ?? [],
    streams: spec?.streamingMethods ?? [],
    maxTaskRetries: spec?.maxTaskRetries ?? 0,
    owner: spec?.owner,
  };
}

export function clusterCalls(core: CoreWorker, options: CoreWorkerOptions): ClusterCalls {
  const gcs = (): CoreWorker["gcsClient"] => core.gcsClient;
  const status = async (): Promise<NodeStatus[]> => (await gcs().status({}, { retry: true })).nodes;
  return {
    nodes: async () => (await status()).map((n) => nodeOf(n.info as NodeInfo, n.available?.amounts)),
    clusterResources: async () => sum(await status(), (n) => n.info?.total?.amounts),
    availableResources: async () => sum(await status(), (n) => n.available?.amounts),
    getActor: async ({ name, namespace }: { name: string; namespace: string }) => {
      const { found, info } = await gcs().getActor({ actorId: "", name, namespace }, { retry: true });
      if (!found || info === undefined || info.state === ActorState.DEAD) {
        throw new TrayError("ACTOR_NOT_FOUND", `no actor is named "${name}" in namespace "${namespace}"`, {
          hint: "names are scoped by namespace: pass the namespace of the actor's job, or list them with tray.listNamedActors({ allNamespaces: true })",
        });
      }
      return handleOf(info);
    },
    listNamedActors: async ({ namespace }: { namespace: string }) => {
      const { actors } = await gcs().listActors({ limit: 0, namedOnly: true, namespace }, { retry: true });
      return actors.filter((a) => a.state !== ActorState.DEAD).map((a) => ({ name: a.spec?.name ?? "", namespace: a.spec?.namespace ?? "" }));
    },
    collected: async () => {
      core.collection.done();
      return null;
    },
    killActor: async ({ actorId, noRestart }: { actorId: string; noRestart: boolean }) => {
      await new Promise<void>((resolve) => core.actors.whenRegistered(actorId, resolve));
      await gcs().killActor({ actorId, noRestart, outOfScope: false, reason: "killed by tray.kill" }, { retry: true });
    },
    actorReady: ({ actorId }: { actorId: string }, signal: AbortSignal) =>
      new Promise((resolve, reject) => {
        const stop = core.actors.whenReady(actorId, {
          resolve: () => resolve(null),
          reject: (e) =>
            reject(
              new TrayError(e.code as "ACTOR_DIED", e.message, {
                hint: e.hint,
                details: { ...(e.detailsJson === "" ? {} : (JSON.parse(e.detailsJson) as object)), causeBase64: e.cause.toString("base64") },
              }),
            ),
        });
        signal.addEventListener("abort", stop);
      }),
    /** What of this process would keep a cluster busy: for tests and for draining. */
    stats: () =>
      Promise.resolve({
        references: core.references.size,
        pendingTasks: core.submitter.pendingCount,
        pins: core.fetcher.pinCount,
        leases: [...core.leases.list()].reduce((n, g) => n + g.leases.size, 0),
        nodeId: options.self.nodeId,
      }),
  };
}
