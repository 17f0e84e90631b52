// ActorService: the actors that run on this node.
//
// Owns:     one record per actor incarnation here, from the request to create it to the end of its worker.
// Not mine: where actors go and whether they come back (the GCS), processes (pool), amounts (ledger).
// Crosses:  in: create, kill, assigned, refused, departed, resync.  out: reports to the GCS, requests to pool and ledger.
//
// The life of an actor here: waiting (for a worker; requirements held) → creating (constructor runs) → alive (lifetime resources held) → gone.
//
// Invariants
//   A1. At most one incarnation of an actor is here; a newer one first ends the older, an older one is ignored.
//   A2. create may be repeated: the outcome is reported again, nothing is created twice.
//   A3. Resources are held under the actor's key from acceptance to the end of the record.
//   A4. An actor whose report the GCS refuses (it has placed it elsewhere, or it is dead) is ended.
import { checkEdge, type Edges, messageOf } from "@tray/common";
import { type Address, type ActorSpec, ErrorInfo, type Resources, type WorkerExit, WorkerService } from "@tray/protocol";
import type { GcsLink } from "../gcs/link.js";
import type { RayletEnvironment } from "../node.js";
import type { WorkerPoolService } from "../pool/service.js";
import type { PoolWorker, Ticket } from "../pool/worker.js";
import type { ResourceLedger } from "../resources/ledger.js";

type ActorPhase = "waiting" | "creating" | "alive" | "gone";

const edges: Edges<ActorPhase> = { waiting: ["creating", "gone"], creating: ["alive", "gone"], alive: ["gone"], gone: [] };

export interface LocalActor {
  readonly key: string;
  readonly spec: ActorSpec;
  readonly incarnation: number;
  readonly sinceMs: number;
  phase: ActorPhase;
  worker: PoolWorker | undefined;
}

export const actorKey = (actorId: string, incarnation: number): string => `${actorId}:${incarnation}`;

export class ActorService {
  private readonly actors = new Map<string, LocalActor>();

  constructor(
    private readonly env: RayletEnvironment,
    private readonly ledger: ResourceLedger,
    private readonly pool: () => WorkerPoolService,
    private readonly gcs: () => GcsLink,
    /** Resources came free, or what is shown of actors changed. */
    private readonly changed: () => void,
  ) {}

  all(): IterableIterator<LocalActor> {
    return this.actors.values();
  }
  get(actorId: string): LocalActor | undefined {
    return this.actors.get(actorId);
  }

  create(spec: ActorSpec, incarnation: number): void {
    const present = this.actors.get(spec.actorId);
    if (present !== undefined) {
      if (present.incarnation > incarnation) return; // A1
      if (present.incarnation === incarnation) {
        if (present.phase === "alive") this.reportCreated(present); // A2
        return;
      }
      this.end(present, "a newer incarnation is created", false);
    }
    const key = actorKey(spec.actorId, incarnation);
    const actor: LocalActor = { key, spec, incarnation, sinceMs: this.env.clock.now(), phase: "waiting", worker: undefined };
    if (!this.ledger.acquire(key, spec.requirements?.resources?.amounts ?? {})) {
      this.reportFailed(actor, true, "RESOURCE_EXHAUSTED", `node ${this.env.node.nodeId} has not the room any more`);
      return;
    }
    this.actors.set(spec.actorId, actor);
    const { requirements } = spec;
    this.pool().request({
      id: key,
      kind: { jobId: spec.jobId, envHash: requirements?.runtimeEnvHash ?? "", envJson: requirements?.runtimeEnvJson ?? "" },
      use: { kind: "actor", actorId: spec.actorId, incarnation },
      sinceMs: actor.sinceMs,
    });
    this.changed();
  }

  /** The pool found a worker. */
  assigned(actorId: string, incarnation: number, worker: PoolWorker): boolean {
    const actor = this.actors.get(actorId);
    if (actor === undefined || actor.incarnation !== incarnation || actor.phase !== "waiting") return false;
    actor.worker = worker;
    this.become(actor, "creating");
    void this.construct(actor, worker);
    return true;
  }

  refused(ticket: Ticket, detail: string): void {
    if (ticket.use.kind !== "actor") return;
    const actor = this.actors.get(ticket.use.actorId);
    if (actor === undefined || actor.key !== ticket.id) return;
    this.forget(actor);
    if (ticket.kind.envHash === "") this.reportFailed(actor, true, "UNAVAILABLE", `no worker process could be started: ${detail}`);
    else this.reportFailed(actor, false, "RUNTIME_ENV_SETUP", `no worker process with the runtime environment could be started: ${detail}`);
  }

  /** The worker of an actor is gone; the GCS hears of it in the report of the worker's death. */
  departed(actorId: string, incarnation: number): void {
    const actor = this.actors.get(actorId);
    if (actor?.incarnation === incarnation) this.forget(actor);
    else this.ledger.release(actorKey(actorId, incarnation));
  }

  kill(actorId: string, incarnation: number, graceful: boolean, reason: string): void {
    const actor = this.actors.get(actorId);
    if (actor === undefined || actor.incarnation > incarnation) return;
    this.end(actor, reason || "killed", graceful);
  }

  /** The GCS may have forgotten what it had not persisted: tell it again what lives here. */
  resync(): void {
    for (const actor of this.actors.values()) if (actor.phase === "alive") this.reportCreated(actor);
  }

  /** What outlives its job. */
  isDetached(it: PoolWorker | Ticket): boolean {
    const use = "use" in it ? it.use : it.state;
    return use.kind === "actor" && (this.actors.get(use.actorId)?.spec.detached ?? false);
  }

  private async construct(actor: LocalActor, worker: PoolWorker): Promise<void> {
    const session = this.pool().sessionOf(worker.workerId);
    if (session === undefined) return; // it has just ended: departed() follows
    let failure: ErrorInfo | undefined;
    try {
      const reply = await session
        .client(WorkerService)
        .becomeActor({ spec: actor.spec, incarnation: actor.incarnation }, { timeoutMs: 0, retry: true });
      failure = reply.error;
    } catch (error) {
      if (actor.phase !== "creating") return;
      // The process went away during construction, or does not answer sensibly: its exit tells the GCS.
      this.env.logger.warn("an actor's worker did not become it", { actorId: actor.spec.actorId, error: messageOf(error) });
      this.pool().retire(worker.workerId, { reason: "crashed", detail: `it did not become the actor: ${messageOf(error)}`, graceful: false });
      return;
    }
    if (actor.phase !== "creating") return; // killed meanwhile
    if (failure !== undefined) {
      this.forget(actor);
      this.pool().retire(worker.workerId, { reason: "intended", detail: "the constructor of its actor failed", graceful: true });
      void this.gcs().report("actorCreationFailed", (options) =>
        this.gcs().client.actorCreationFailed(
          { actorId: actor.spec.actorId, incarnation: actor.incarnation, error: failure, rejected: false },
          options,
        ),
      );
      return;
    }
    this.become(actor, "alive");
    this.ledger.swap(actor.key, lifetimeOf(actor.spec));
    this.reportCreated(actor);
    this.changed();
  }

  private end(actor: LocalActor, reason: string, graceful: boolean): void {
    const { worker } = actor;
    if (worker === undefined) {
      this.pool().cancel(actor.key);
      this.forget(actor);
      return;
    }
    // Resources stay held until the process is gone (A3): a graceful end may take its time.
    this.pool().retire(worker.workerId, { reason: graceful ? "intended" : "killed", detail: reason, graceful, ...(graceful ? { graceMs: 0 } : {}) });
    if (graceful) return;
    actor.phase = "gone";
    this.actors.delete(actor.spec.actorId); // A1; departed() releases what it holds
  }

  private forget(actor: LocalActor): void {
    this.become(actor, "gone");
    if (this.actors.get(actor.spec.actorId) === actor) this.actors.delete(actor.spec.actorId);
    this.ledger.release(actor.key);
    this.changed();
  }

  private reportCreated(actor: LocalActor): void {
    const worker = actor.worker as PoolWorker;
    const address: Address = { workerId: worker.workerId, nodeId: this.env.node.nodeId, endpoint: worker.endpoint };
    const { actorId } = actor.spec;
    void this.gcs()
      .report("actorCreated", (options) =>
        this.gcs().client.actorCreated({ actorId, incarnation: actor.incarnation, address, pid: worker.pid }, options),
      )
      .then((refusal) => {
        if (refusal === undefined || actor.phase !== "alive") return;
        this.end(actor, `the GCS refused it: ${refusal.message}`, false); // A4
      });
  }

  private reportFailed(actor: LocalActor, rejected: boolean, code: string, message: string): void {
    const { actorId } = actor.spec;
    void this.gcs().report("actorCreationFailed", (options) =>
      this.gcs().client.actorCreationFailed(
        { actorId, incarnation: actor.incarnation, error: ErrorInfo.fromPartial({ code, message }), rejected },
        options,
      ),
    );
  }

  private become(actor: LocalActor, to: ActorPhase): void {
    checkEdge("actor", edges, actor.phase, to);
    actor.phase = to;
  }
}

const lifetimeOf = (spec: ActorSpec): Resources => spec.lifetimeResources?.amounts ?? {};

/** What an actor's end means to the GCS. */
export function actorDeathOf(exit: WorkerExit): { intended: boolean } {
  return { intended: exit.reason === "intended" };
}
