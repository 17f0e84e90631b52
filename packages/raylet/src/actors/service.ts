// ActorService: the actors that run on this node.
//
// Owns:     one record per actor incarnation here, from the request to create it to the end of its worker; which incarnations ended here.
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
//   A5. An incarnation that ended here is not made again: a request whose answer was lost is repeated, and may come after the end of what it made.
//   A6. Until the GCS knows that one was rejected, each request to create it is rejected too: it may be a repeated one, and by the time that there is
//       room here the GCS has chosen another node. What the GCS sends once it knows, and only that, is meant.
import { checkEdge, type Edges, messageOf, type TrayError } from "@tray/common";
import { type Address, type ActorSpec, ErrorInfo, type Resources, type WorkerExit, WorkerService } from "@tray/protocol";
import type { GcsLink } from "../gcs/link.js";
import type { RayletEnvironment } from "../node.js";
import type { WorkerPoolService } from "../pool/service.js";
import type { PoolWorker, Ticket } from "../pool/worker.js";
import { rememberedActorsMax } from "../limits.js";
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
  /** A5: the last incarnation that ended here, by actor, in the order of their ends. */
  private readonly ended = new Map<string, number>();
  /** A6: rejections that the GCS has not confirmed, by key, and whether it has asked again since. */
  private readonly rejections = new Map<string, { askedAgain: boolean }>();

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
    if (incarnation <= (this.ended.get(spec.actorId) ?? -1)) return; // A5: the GCS has been told how it ended, or is being told
    const key = actorKey(spec.actorId, incarnation);
    const rejection = this.rejections.get(key);
    if (rejection !== undefined) {
      rejection.askedAgain = true; // A6
      return;
    }
    const actor: LocalActor = { key, spec, incarnation, sinceMs: this.env.clock.now(), phase: "waiting", worker: undefined };
    if (!this.ledger.acquire(key, spec.requirements?.resources?.amounts ?? {})) {
      void this.reject(actor, "RESOURCE_EXHAUSTED", `node ${this.env.node.nodeId} has not the room any more`);
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
    if (ticket.kind.envHash === "") {
      void this.reject(actor, "UNAVAILABLE", `no worker process could be started: ${detail}`);
      return;
    }
    const message = `no worker process with the runtime environment could be started: ${detail}`;
    this.failed(actor, ErrorInfo.fromPartial({ code: "RUNTIME_ENV_SETUP", message }));
  }

  /** The worker of an actor is gone; the GCS hears of it in the report of the worker's death. */
  departed(actorId: string, incarnation: number): void {
    this.remember(actorId, incarnation);
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
      this.failed(actor, failure);
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
      this.remember(actor.spec.actorId, actor.incarnation);
      return;
    }
    // Resources stay held until the process is gone (A3): a graceful end may take its time.
    this.pool().retire(worker.workerId, { reason: graceful ? "intended" : "killed", detail: reason, graceful, ...(graceful ? { graceMs: 0 } : {}) });
    if (graceful) return;
    actor.phase = "gone";
    this.actors.delete(actor.spec.actorId); // A1; departed() releases what it holds
    this.remember(actor.spec.actorId, actor.incarnation);
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

  /** A5 */
  private remember(actorId: string, incarnation: number): void {
    const last = Math.max(incarnation, this.ended.get(actorId) ?? -1);
    this.ended.delete(actorId); // to the end of the order
    this.ended.set(actorId, last);
    for (const oldest of this.ended.keys()) {
      if (this.ended.size <= rememberedActorsMax) return;
      this.ended.delete(oldest);
    }
  }

  /** It can be created nowhere. */
  private failed(actor: LocalActor, error: ErrorInfo): void {
    this.remember(actor.spec.actorId, actor.incarnation);
    void this.reportFailed(actor, error, false);
  }

  /** It cannot be created here and now: the GCS may choose this node again, once it knows (A6). */
  private async reject(actor: LocalActor, code: string, message: string): Promise<void> {
    const rejection = { askedAgain: false };
    this.rejections.set(actor.key, rejection);
    do {
      rejection.askedAgain = false;
      await this.reportFailed(actor, ErrorInfo.fromPartial({ code, message }), true);
    } while (rejection.askedAgain);
    this.rejections.delete(actor.key);
  }

  private reportFailed({ spec: { actorId }, incarnation }: LocalActor, error: ErrorInfo, rejected: boolean): Promise<TrayError | undefined> {
    return this.gcs().report("actorCreationFailed", (options) =>
      this.gcs().client.actorCreationFailed({ actorId, incarnation, error, rejected }, options),
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
