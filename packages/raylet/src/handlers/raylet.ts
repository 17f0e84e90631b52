// RayletService: what workers, drivers, owners and tools ask of this node.
import { TrayError } from "@tray/common";
import { ObjectPurpose, type RayletService, type RegisterWorkerReply } from "@tray/protocol";
import type { CallContext, Handlers } from "@tray/rpc";
import { type HoldingProcess, listObjects } from "../introspection/objects.js";
import { workerInfos } from "../introspection/status.js";
import { readLogBytesMax } from "../limits.js";
import type { Purpose } from "../objects/admission.js";
import type { Raylet } from "../raylet.js";

const purposes: Readonly<Record<ObjectPurpose, Purpose>> = {
  [ObjectPurpose.GET]: "get",
  [ObjectPurpose.WAIT]: "wait",
  [ObjectPurpose.ARGUMENT]: "argument",
};

export function rayletHandlers(raylet: Raylet): Handlers<typeof RayletService> {
  const { pool, leases, objects, drivers, jobs, ledger, env } = raylet;
  const clientOf = ({ peer, session }: CallContext): string => {
    raylet.watchClient(session, peer.id);
    return peer.id;
  };
  const introduction = (): RegisterWorkerReply => ({
    node: raylet.nodeInfo(),
    gcs: raylet.gcs.address,
    arenaPath: raylet.arena.path,
    arenaCapacity: raylet.arena.capacity,
    systemConfigJson: raylet.systemConfigJson,
    sessionDir: env.node.sessionDir,
  });
  return {
    registerWorker: (request, context) => {
      if (request.kind === "driver") {
        drivers.register(request, context.session);
        pool.prestart();
      } else pool.register(request, context.session);
      return introduction();
    },
    taskBlocked: ({ leaseId, blocked }, { peer }) => {
      const state = pool.core.get(peer.id)?.state;
      if (state?.kind === "leased" && state.leaseId === leaseId) leases.blocked(leaseId, blocked);
      else if (state?.kind === "actor" && leaseId === "") leases.blocked(`${state.actorId}:${state.incarnation}`, blocked);
    },
    workerActivity: (activity, { peer }) => pool.setActivity(peer.id, activity),
    leaseDemand: (demand, { session }) => leases.demand(demand, session),
    leaseReturn: (back, { session }) => leases.giveBack(back, session),
    workerFailure: async ({ workerId }, { signal }) => {
      const exit = await pool.failureOf(workerId, signal);
      return { known: exit !== undefined, exit };
    },
    killWorker: ({ workerId, reason, graceful }, { peer }) => {
      if (pool.core.get(workerId) === undefined) throw new TrayError("NOT_FOUND", `no worker ${workerId} runs on this node`);
      // A worker that announces its own end means it (exitActor, maxCalls); it ends by itself, in its own time.
      if (peer.id === workerId) pool.retire(workerId, { reason: "intended", detail: reason, graceful: true, graceMs: 0 });
      else pool.retire(workerId, { reason: "killed", detail: reason, graceful, ...(graceful ? { graceMs: 0 } : {}) });
      return {};
    },
    createObject: ({ objectId, size, owner }, context) => objects.create(objectId, size, owner, clientOf(context), context.signal),
    sealObject: ({ objectId, abort }, context) => {
      objects.seal(objectId, clientOf(context), abort);
      return {};
    },
    getObjects: async ({ objects: wanted, purpose }, context) => ({
      objects: await objects.get(wanted, purposes[purpose], clientOf(context), context.signal),
    }),
    releaseObjects: ({ objectIds, offsets, pins }, { peer }) => objects.release(objectIds, offsets, pins, peer.id),
    deleteObjects: ({ objectIds }) => objects.delete(objectIds),
    status: () => ({
      node: raylet.nodeInfo(),
      available: { amounts: { ...ledger.available } },
      workers: workerInfos(env, pool, drivers, ledger, raylet.memory),
      load: leases.load(),
      objectStoreUsed: objects.usedBytes,
      objectStoreSpilled: objects.spilledBytes,
      objectStoreCapacity: objects.capacity,
    }),
    listObjects: (request) => listObjects(objects, holdingProcesses(raylet), () => env.clock.now(), request),
    listLogs: async () => ({ files: await raylet.options.logs.list() }),
    readLog: async ({ file, offset, maxBytes }) => {
      const read = await raylet.options.logs.read(file, offset, Math.min(maxBytes || readLogBytesMax, readLogBytesMax));
      return { data: Buffer.from(read.data.buffer, read.data.byteOffset, read.data.byteLength), offset: read.offset, size: read.size };
    },
    startJob: ({ submissionId, jobJson, resources }) => jobs.start(submissionId, jobJson, resources?.amounts ?? {}),
    stopJob: ({ submissionId }) => ({ running: jobs.stop(submissionId) }),
    shutdownNode: ({ reason, graceMs }) => {
      // The reply leaves first: closing the endpoint would cut it off.
      env.clock.after(Math.max(20, graceMs), () => raylet.end(reason || "asked to shut down"));
      return {};
    },
  };
}

function holdingProcesses({ pool, drivers }: Raylet): HoldingProcess[] {
  const workers = [...pool.core.all()].flatMap(({ workerId, pid, state }): HoldingProcess[] => {
    const session = pool.sessionOf(workerId);
    return session === undefined ? [] : [{ workerId, pid, kind: state.kind === "actor" ? "actor" : "worker", session }];
  });
  return [...workers, ...[...drivers.all()].map(({ workerId, pid, session }) => ({ workerId, pid, kind: "driver", session }))];
}
