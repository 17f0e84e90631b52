import { type Clock, TrayError } from "@tray/common";
import type { ActorSpec } from "@tray/protocol";
import type { Cascade } from "../cascade.js";
import { type GcsHandlers, required } from "../handlers.js";
import type { JobsCore } from "../jobs/core.js";
import type { GcsLimits } from "../limits.js";
import type { NodesCore } from "../nodes/core.js";
import type { NodeLinks } from "../nodes/links.js";
import type { Journal } from "../storage/journal.js";
import type { ActorsCore } from "./core.js";
import { backoffMs } from "./shell.js";
import type { ActorStep } from "./step.js";

export interface ActorServiceOptions {
  actors: ActorsCore;
  jobs: JobsCore;
  nodes: NodesCore;
  cascade: Cascade;
  links: NodeLinks;
  journal: Journal;
  clock: Clock;
  limits: GcsLimits;
  apply: (step: ActorStep) => void;
}

const listDefault = 10_000;

export function actorHandlers(
  o: ActorServiceOptions,
): Pick<GcsHandlers, "registerActor" | "killActor" | "getActor" | "listActors" | "actorCreated" | "actorCreationFailed"> {
  /** A request that was under way when its sender died must not make an actor that nobody ends. */
  const refuseOrphan = (spec: ActorSpec): void => {
    const owner = spec.owner;
    if (o.jobs.get(spec.jobId)?.finished === true) throw new TrayError("NOT_FOUND", `job ${spec.jobId} has ended: it cannot create actors any more`);
    if (spec.detached || owner === undefined) return;
    if (o.cascade.isDeadWorker(owner.workerId) || o.nodes.isDead(owner.nodeId))
      throw new TrayError("OWNER_DIED", `the owner of the new actor, worker ${owner.workerId}, is dead`);
  };

  return {
    registerActor: async ({ spec: given, getIfExists }) => {
      const spec = required(given, "spec");
      required(spec.actorId, "spec.actorId");
      if (o.actors.get(spec.actorId) === undefined) refuseOrphan(spec);
      const { result, step } = o.actors.register(spec, getIfExists);
      o.apply(step);
      await o.journal.durable();
      if (result.outcome === "refused") throw result.error;
      return { info: o.actors.get(result.info.actorId)?.info ?? result.info };
    },

    killActor: async (request) => {
      o.apply(o.actors.kill(request));
      await o.journal.durable();
      return {};
    },

    getActor: async ({ actorId, name, namespace }) => {
      await o.journal.durable();
      const record = actorId === "" ? o.actors.named(namespace, name) : o.actors.get(actorId);
      return { found: record !== undefined, info: record?.info };
    },

    listActors: async ({ limit, namedOnly, namespace }) => {
      await o.journal.durable();
      const all = [...o.actors.all()]
        .map((record) => record.info)
        .filter((info) => (!namedOnly || (info.spec?.name ?? "") !== "") && (namespace === "" || info.spec?.namespace === namespace));
      return { actors: all.slice(0, limit === 0 ? listDefault : limit), total: all.length };
    },

    actorCreated: async (report) => {
      o.apply(o.actors.created(report));
      await o.journal.durable();
      return {};
    },

    actorCreationFailed: async (report, { session }) => {
      const nodeId = o.links.nodeOf(session) ?? session.peer?.id ?? "";
      o.apply(o.actors.creationFailed(report, nodeId, (rejections) => o.clock.now() + backoffMs(o.limits, rejections)));
      await o.journal.durable();
      return {};
    },
  };
}
