// ActorShell: carries out what the core decides. Rows are marked first; publications and orders to raylets wait until they are on disk.
//
// Owns:     orders to create that are under way.
// Not mine: the decisions (core.ts), how orders reach a node (../nodes/links.ts).
// Crosses:  in: apply, onInfeasible.  out: tables, publications, orders to raylets.
//
// Invariants
//   S1. An order to create is called off as soon as its actor is not to be created there any more. What is ordered afterwards (a kill, another place) is
//       thus the last that the raylet hears of it: no delayed or repeated request follows.
import { type Clock, type Logger, type Metrics, TrayError } from "@tray/common";
import type { ActorInfo, ActorSpec, ErrorNotice, KillActorRequest } from "@tray/protocol";
import type { GcsLimits } from "../limits.js";
import type { NodeLinks } from "../nodes/links.js";
import type { PubSubHub } from "../pubsub/hub.js";
import type { Journal } from "../storage/journal.js";
import type { RecordTable } from "../storage/record-table.js";
import type { ActorRecord, ActorsCore } from "./core.js";
import { describeActor } from "./death.js";
import type { ActorPlacementHost } from "./placement.js";
import { stateNameOf } from "./states.js";
import type { ActorSend, ActorStep } from "./step.js";

export interface ActorTables {
  readonly infos: RecordTable<ActorInfo>;
  /** With arguments; kept while the actor may have to be created (again). */
  readonly specs: RecordTable<ActorSpec>;
  /** Requests to end that a living actor has not finished to obey. */
  readonly endings: RecordTable<KillActorRequest>;
}

export interface ActorShellOptions {
  core: ActorsCore;
  tables: ActorTables;
  journal: Journal;
  links: NodeLinks;
  hub: PubSubHub;
  clock: Clock;
  limits: GcsLimits;
  logger: Logger;
  metrics: Metrics;
  schedule: (actorId: string) => void;
  /** A finished job may have lost its last actor. */
  onJobMaybeUnused: (jobId: string) => void;
  /** Runs a task that the server awaits when it closes. */
  run: (name: string, task: () => Promise<void>) => void;
}

export class ActorShell implements ActorPlacementHost {
  /** By actor; each calls itself off when it is not wanted (S1). */
  private readonly creations = new Map<string, Set<() => void>>();

  constructor(private readonly o: ActorShellOptions) {}

  readonly apply = (step: ActorStep): void => {
    const { tables } = this.o;
    for (const spec of step.specs) tables.specs.put(spec.actorId, spec);
    for (const info of step.persist) {
      for (const reconsider of this.creations.get(info.actorId) ?? []) reconsider(); // S1
      tables.infos.put(info.actorId, info);
      this.o.metrics.count("tray_gcs_actor_transitions_total", { state: stateNameOf(info.state) });
      this.o.logger.debug("actor", { actorId: info.actorId, state: stateNameOf(info.state), incarnation: info.incarnation, nodeId: info.nodeId });
    }
    for (const [actorId, ending] of step.endings) {
      if (ending === undefined) tables.endings.delete(actorId);
      else tables.endings.put(actorId, { actorId, noRestart: true, outOfScope: true, reason: ending });
    }
    for (const actorId of step.dropSpecs) tables.specs.delete(actorId);
    for (const actorId of step.forget) {
      tables.infos.delete(actorId);
      this.o.hub.drop(`actor/${actorId}`);
    }
    if (step.then.length > 0) this.o.journal.whenDurable(() => step.then.forEach(this.send));
  };

  onInfeasible(record: ActorRecord, detail: string): void {
    const jobId = record.info.spec?.jobId ?? "";
    const notice: ErrorNotice = {
      jobId,
      kind: "infeasible",
      message: `${describeActor(record.info)} waits: ${detail}. It starts when a node that fits joins.`,
    };
    this.o.logger.warn("infeasible actor", { actorId: record.info.actorId, detail });
    this.o.hub.publish(`errors/${jobId}`, { $case: "error", value: notice });
  }

  private readonly send = (send: ActorSend): void => {
    switch (send.kind) {
      case "publish":
        this.o.hub.publish(`actor/${send.info.actorId}`, { $case: "actor", value: send.info });
        return;
      case "create":
        this.o.run("createActor", () => this.create(send));
        return;
      case "kill":
        if (send.nodeId !== "") this.o.run("killActor", () => this.kill(send));
        return;
      case "schedule":
        this.o.schedule(send.actorId);
        return;
      case "jobMaybeUnused":
        this.o.onJobMaybeUnused(send.jobId);
    }
  };

  /** The raylet answers when it has accepted the order; the outcome comes as a report of its own. */
  private async create({ actorId, incarnation, nodeId }: Extract<ActorSend, { kind: "create" }>): Promise<void> {
    const { core, links, limits, tables, clock } = this.o;
    const wanted = (): boolean => {
      const record = core.get(actorId);
      return record?.phase.kind === "creating" && record.info.incarnation === incarnation && record.info.nodeId === nodeId;
    };
    const calledOff = new AbortController();
    const reconsider = (): void => {
      if (!wanted()) calledOff.abort(new TrayError("UNAVAILABLE", "the actor is not to be created there any more"));
    };
    let orders = this.creations.get(actorId);
    if (orders === undefined) this.creations.set(actorId, (orders = new Set()));
    orders.add(reconsider);
    const delivery = await links.deliver(
      nodeId,
      wanted,
      (client, options) => client.createActor({ spec: tables.specs.read(actorId), incarnation }, options),
      calledOff.signal,
    );
    orders.delete(reconsider);
    if (orders.size === 0 && this.creations.get(actorId) === orders) this.creations.delete(actorId);
    if (delivery.outcome !== "refused" || !wanted()) return;
    this.o.logger.warn("a raylet refused to create an actor", { actorId, nodeId, error: delivery.error });
    const error = { code: "SYSTEM", message: String(delivery.error), hint: "", detailsJson: "", cause: Buffer.alloc(0) };
    this.apply(core.creationFailed({ actorId, incarnation, error, rejected: true }, nodeId, (n) => clock.now() + backoffMs(limits, n)));
  }

  private async kill({ actorId, incarnation, nodeId, graceful, reason, release }: Extract<ActorSend, { kind: "kill" }>): Promise<void> {
    const { core, links, limits, clock } = this.o;
    const delivery = await links.deliver(
      nodeId,
      () => true,
      (client, options) => client.killActor({ actorId, incarnation, graceful, reason }, options),
    );
    // The raylet has accepted; that the process is gone it reports by itself, unless there was none (a creation that had not begun).
    if (release && delivery.outcome !== "gone") clock.after(limits.killWaitMs, () => this.apply(core.released(actorId, incarnation + 1)));
  }
}

export const backoffMs = (limits: GcsLimits, attempts: number): number =>
  Math.min(limits.retryMaxMs, limits.retryMinMs * 2 ** Math.min(attempts, 20));
