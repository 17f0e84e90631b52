// Raylet: a node's local scheduler, worker pool and object store. This file wires the concerns; each has its own folder.
//
//   resources/  who holds what of this node          lease/    who gets a worker, who is sent elsewhere
//   pool/       worker processes                     actors/   actors that run here
//   objects/    the arena's contents, pulls          drivers/  drivers of this node and their ends
//   jobs/       supervisors of submitted jobs        gcs/      registration, heartbeats, reports
//   logs/       what workers print                   introspection/  what the node tells about itself
//
// The same class runs over real sockets, processes and shared memory (bin/raylet.ts) and in simulations.
import { type Clock, type Logger, messageOf, type Metrics, type Random, Scope, TrayError } from "@tray/common";
import { changedSettings, type SystemConfig } from "@tray/config";
import type { Arena, Bulk, BulkSource, SpillStore } from "@tray/object-store";
import {
  type NodeInfo,
  NodeService,
  NodeState,
  type Publication,
  RayletService,
  type RegisterNodeReply,
  StoreReaderService,
  SubscriberService,
  type WorkerExit,
} from "@tray/protocol";
import type { Endpoint, Session } from "@tray/rpc";
import { ClusterView } from "@tray/scheduler";
import { actorDeathOf, ActorService } from "./actors/service.js";
import { type Driver, DriverWatch } from "./drivers/watch.js";
import { GcsLink } from "./gcs/link.js";
import { nodeHandlers } from "./handlers/node.js";
import { rayletHandlers } from "./handlers/raylet.js";
import { type MemoryProbe, noMemoryProbe } from "./introspection/status.js";
import { JobService } from "./jobs/service.js";
import { LeaseService } from "./lease/service.js";
import type { TransferSizes } from "./limits.js";
import { LogPublisher } from "./logs/publisher.js";
import type { LogStore } from "./logs/store.js";
import { type NodeFacts, nodeInfoOf, type RayletEnvironment } from "./node.js";
import { CopyReports } from "./objects/copy-reports.js";
import { ObjectService } from "./objects/service.js";
import type { Departed } from "./pool/core.js";
import { WorkerPoolService } from "./pool/service.js";
import type { SupervisorSpawner, WorkerSpawner } from "./pool/spawner.js";
import { ResourceLedger } from "./resources/ledger.js";

export interface RayletOptions {
  /** Not listening yet; the raylet closes it. */
  readonly endpoint: Endpoint;
  readonly clock: Clock;
  readonly random: Random;
  readonly logger: Logger;
  readonly metrics: Metrics;
  readonly config: SystemConfig;
  readonly node: NodeFacts;
  /** "host:port" to bind the endpoint to; port 0 picks one. */
  readonly listen: string;
  readonly gcsAddress: string;
  /** The raylet closes it. */
  readonly arena: Arena;
  /** Empty. The raylet closes it. */
  readonly spill: SpillStore;
  readonly bulk: {
    readonly client: Bulk;
    /** Serves this node's objects from now on. @returns "host:port" under which others reach it. */
    serve(source: BulkSource): Promise<string>;
    close(): Promise<void>;
  };
  readonly workers: WorkerSpawner;
  /** Absent: this node runs no submitted jobs. */
  readonly supervisors?: SupervisorSpawner | undefined;
  readonly logs: LogStore;
  /** True while the process exists. */
  readonly probeProcess: (pid: number) => boolean;
  readonly memory?: MemoryProbe;
  /** Default: what pays on real networks. */
  readonly transferSizes?: TransferSizes;
  /** The raylet has ended by itself: declared dead, its GCS gone for too long, asked to shut down. Called once, after close(). */
  readonly onEnded: (why: { readonly error: TrayError | undefined; readonly reason: string }) => void;
}

const housekeepingMs = 250;
const memorySampleMs = 1_000;

export class Raylet {
  readonly env: RayletEnvironment;
  readonly ledger: ResourceLedger;
  readonly view = new ClusterView();
  readonly pool: WorkerPoolService;
  readonly leases: LeaseService;
  readonly actors: ActorService;
  readonly objects: ObjectService;
  private readonly copyReports: CopyReports;
  readonly drivers: DriverWatch;
  readonly jobs: JobService;
  readonly logs: LogPublisher;
  readonly gcs: GcsLink;
  readonly memory: MemoryProbe;
  readonly arena: Arena;
  /** The cluster's settings as the GCS has them, for workers and drivers; ours until it has told. */
  systemConfigJson: string;
  /** Those who use the object store, by their ids. */
  private readonly readers = new Map<string, Session>();
  private readonly scope: Scope;
  private readonly startWallMs: number;
  private address = "";
  private bulkAddress = "";
  private idleSinceWallMs: number;
  private memorySample: ({ readonly atMs: number } & ReturnType<MemoryProbe["node"]>) | undefined;
  private ended = false;
  /** Before this, what goes wrong is start()'s to throw. */
  private joined = false;

  constructor(readonly options: RayletOptions) {
    const { clock, random, logger, metrics, config, node, endpoint } = options;
    this.env = { clock, random, logger, metrics, config, node };
    this.memory = options.memory ?? noMemoryProbe;
    this.arena = options.arena;
    this.systemConfigJson = JSON.stringify(changedSettings(config));
    this.startWallMs = clock.wallMs();
    this.idleSinceWallMs = this.startWallMs;
    this.scope = new Scope("raylet", {
      clock,
      onError: (what, error) => logger.error("failed in the background", { what, error }),
      closerTimeoutMs: config.workerKillGracePeriod + 5000,
    });

    const changed = (): void => this.loadChanged();
    this.ledger = new ResourceLedger(node.total);
    this.pool = new WorkerPoolService(
      this.env,
      options.workers,
      {
        assigned: (ticket, worker) =>
          ticket.use.kind === "lease"
            ? this.leases.assigned(ticket.use.leaseId, worker)
            : this.actors.assigned(ticket.use.actorId, ticket.use.incarnation, worker),
        refused: (ticket, detail) => (ticket.use.kind === "lease" ? this.leases.refused(ticket, detail) : this.actors.refused(ticket, detail)),
        departed: (departed, exit) => this.workerDeparted(departed, exit),
        changed: () => this.leases.dispatch(),
      },
      () => this.address,
      (workerId, pid, isError, lines) =>
        this.logs.add({ jobId: this.pool.core.get(workerId)?.jobId ?? "", workerId, pid, isError, name: this.nameOf(workerId) }, lines),
    );
    this.leases = new LeaseService(
      this.env,
      this.ledger,
      this.view,
      () => this.pool,
      () => this.gcs,
      changed,
    );
    this.actors = new ActorService(
      this.env,
      this.ledger,
      () => this.pool,
      () => this.gcs,
      () => this.leases.dispatch(),
    );
    this.objects = new ObjectService(
      this.env,
      options.arena,
      options.bulk.client,
      options.spill,
      (clients) => {
        for (const client of clients) this.readers.get(client)?.client(StoreReaderService).collectGarbage({});
      },
      { isDead: (nodeId) => this.view.isDead(nodeId), bulkAddress: (nodeId) => this.view.get(nodeId)?.bulk },
      options.transferSizes,
    );
    this.copyReports = new CopyReports(
      this.env,
      endpoint,
      () => ({ nodeId: node.nodeId, raylet: this.address, bulk: this.bulkAddress }),
      (objectId) => this.objects.has(objectId),
    );
    this.drivers = new DriverWatch(this.env, options.probeProcess, (driver, why) => this.driverGone(driver, why));
    this.jobs = new JobService(this.env, this.ledger, options.supervisors, () => this.leases.dispatch());
    this.logs = new LogPublisher(this.env, (publications) => {
      if (!this.gcs.up) return false;
      this.gcs.client.publish({ publications });
      return true;
    });
    this.gcs = new GcsLink(this.env, endpoint, options.gcsAddress, {
      nodeInfo: () => this.nodeInfo(),
      heartbeat: () => this.heartbeat(),
      registered: (reply) => this.registered(reply),
      fatal: (error) => this.fatal(error),
    });
    endpoint.serve(RayletService, rayletHandlers(this));
    endpoint.serve(NodeService, nodeHandlers(this));
    endpoint.serve(SubscriberService, { published: ({ publications }) => publications.forEach((p) => this.published(p)) });
  }

  /** Listens, joins the cluster, and begins to have workers ready. @returns the rpc address. @throws what GcsLink.start and binding throw; then nothing is left open. */
  async start(): Promise<string> {
    const { endpoint, listen, bulk, clock } = this.options as RayletOptions & { clock: Clock };
    this.scope.defer("endpoint", () => endpoint.close());
    this.scope.defer("arena", () => this.options.arena.close());
    this.scope.defer("bulk client", () => bulk.client.close());
    this.scope.defer("objects", () => this.objects.close());
    try {
      const bound = await endpoint.listen(listen).catch((error: unknown) => {
        throw new TrayError("CONFLICT", messageOf(error), { cause: error }); // not to be mistaken for a GCS that cannot be reached
      });
      this.address = `${this.env.node.host}:${bound.slice(bound.lastIndexOf(":") + 1)}`;
      endpoint.describeSelf({ address: this.address });
      this.bulkAddress = await bulk.serve(this.objects);
      this.scope.defer("bulk server", () => bulk.close());
      this.scope.defer("goodbye", () => this.gcs.close(this.endReason));
      this.scope.defer("logs", () => this.logs.close());
      this.scope.defer("leases", () => this.leases.close());
      this.scope.defer("workers", () => this.pool.close());
      this.scope.defer("copy reports", () => this.copyReports.close());
      this.scope.defer("jobs", () => this.jobs.close());
      this.scope.defer("drivers", () => this.drivers.close());
      await this.gcs.start();
      this.joined = true;
      const housekeeping = clock.every(housekeepingMs, () => this.pool.tick());
      this.scope.defer("housekeeping", () => housekeeping.cancel());
    } catch (error) {
      await this.close("it could not start");
      throw error;
    }
    // After we serve: a node is there for its drivers before its first idle worker is.
    clock.endOfTurn(() => {
      if (!this.scope.closed) this.pool.prestart();
    });
    return this.address;
  }

  private endReason = "shut down";

  /** Ends everything of this node: supervisors, workers, sessions; says goodbye to the GCS. Idempotent. */
  close(reason: string): Promise<void> {
    if (!this.scope.closed) {
      this.endReason = reason;
      this.env.logger.info("the raylet ends", { reason });
    }
    return this.scope.close();
  }

  /** Ends by itself: closes, then tells the composition root. */
  end(reason: string, error?: TrayError): void {
    if (this.ended) return;
    this.ended = true;
    void this.close(reason).then(() => this.options.onEnded({ error, reason }));
  }

  nodeInfo(): NodeInfo {
    return nodeInfoOf(this.env.node, {
      raylet: this.address,
      bulk: this.bulkAddress,
      objectStoreBytes: this.arena.capacity,
      startWallMs: this.startWallMs,
    });
  }

  /** What the cluster should know of this node has changed, or may have. */
  loadChanged(): void {
    const busy = this.ledger.holders > 0 || this.leases.core.waits;
    if (busy) this.idleSinceWallMs = 0;
    else if (this.idleSinceWallMs === 0) this.idleSinceWallMs = this.env.clock.wallMs();
    this.gcs.reportSoon();
  }

  /** A job is over everywhere: nothing of it stays here but detached actors. */
  jobFinished(jobId: string): void {
    for (const actor of [...this.actors.all()]) {
      if (actor.spec.jobId === jobId && !actor.spec.detached) this.actors.kill(actor.spec.actorId, actor.incarnation, false, `job ${jobId} ended`);
    }
    this.pool.jobFinished(jobId, (it) => this.actors.isDetached(it));
    if (![...this.actors.all()].some((actor) => actor.spec.jobId === jobId)) this.objects.jobFinished(jobId); // a detached actor's objects are its own
    this.leases.dispatch();
  }

  /** A session that ended for good takes its pins along; leases and drivers watch for themselves. */
  watchClient(session: Session, clientId: string): void {
    if (session.local.has(watchedSymbol)) return;
    session.local.set(watchedSymbol, true);
    this.readers.set(clientId, session);
    session.onLost(() => {
      if (this.readers.get(clientId) === session) this.readers.delete(clientId);
      this.objects.clientGone(clientId);
    });
  }

  private registered(reply: RegisterNodeReply): void {
    if (reply.view !== undefined) this.view.apply(reply.view);
    if (reply.systemConfigJson !== "") this.systemConfigJson = reply.systemConfigJson;
    const subscriptions = ["nodes", "workers"].map((channel) => ({ channel, afterVersion: 0 }));
    void this.gcs.report("subscribe", (options) => this.gcs.client.subscribe({ subscriptions }, options));
    this.actors.resync();
    this.leases.dispatch();
  }

  /** Sampled: reading it costs more than all else of a heartbeat, and those follow every change of load. */
  private nodeMemory(): ReturnType<MemoryProbe["node"]> {
    const nowMs = this.env.clock.now();
    if (this.memorySample === undefined || nowMs - this.memorySample.atMs >= memorySampleMs)
      this.memorySample = { atMs: nowMs, ...this.memory.node() };
    return this.memorySample;
  }

  private heartbeat(): ReturnType<ConstructorParameters<typeof GcsLink>[3]["heartbeat"]> {
    const memory = this.nodeMemory();
    return {
      available: { amounts: { ...this.ledger.available } },
      load: [...this.leases.load(), ...this.waitingActors()],
      workers: this.pool.core.size,
      usedMemoryBytes: memory.usedBytes,
      totalMemoryBytes: memory.totalBytes,
      objectStoreUsed: this.objects.usedBytes,
      objectStoreSpilled: this.objects.spilledBytes,
      idleSinceWallMs: this.idleSinceWallMs,
      bandwidthBytesPerMs: this.objects.bandwidthBytesPerMs,
    };
  }

  private waitingActors(): ReturnType<LeaseService["load"]> {
    const toWall = this.env.clock.wallMs() - this.env.clock.now();
    const out: ReturnType<LeaseService["load"]> = [];
    for (const actor of this.actors.all()) {
      if (actor.phase !== "waiting") continue;
      const wait = this.pool.core.waitOf(actor.key) ?? { cause: "waiting-for-worker", detail: "" };
      out.push({
        shape: actor.spec.requirements?.resources,
        queued: 1,
        meanTaskMs: 0,
        wait: { ...wait, sinceWallMs: actor.sinceMs + toWall },
        infeasible: false,
        kind: "actor",
      });
    }
    return out.slice(0, 100);
  }

  private workerDeparted(departed: Departed, exit: WorkerExit): void {
    const { worker, use } = departed;
    this.objects.clientGone(worker.workerId);
    // As an owner, too: its session was closed here, which tells nobody, and the GCS may be away.
    this.leases.peerDied(worker.workerId);
    this.objects.ownerDied(worker.workerId);
    // One that left in order had its answers confirmed before; else they may have been lost with it.
    const inOrder = exit.exitCode === 0 && exit.reason !== "crashed";
    if (!inOrder && exit.reason !== "job-ended")
      for (const { owner, objectIds } of this.objects.newsOf(worker.workerId).values()) void this.copyReports.report(owner, objectIds);
    if (use?.kind === "lease") this.leases.workerGone(use.leaseId, exit);
    if (use?.kind === "actor") this.actors.departed(use.actorId, use.incarnation);
    if (!worker.registered) return; // nobody ever heard of it
    if (this.scope.closed) return; // the death of the node says it all, and an actor must not be restarted on a node that is going
    const actor = use?.kind === "actor" ? use : { actorId: "", incarnation: 0 };
    const { intended } = actorDeathOf(exit);
    void this.gcs.report("workerDied", (options) =>
      this.gcs.client.workerDied({ exit, actorId: actor.actorId, incarnation: actor.incarnation, intended, wasDriver: false }, options),
    );
  }

  private driverGone(driver: Driver, why: string): void {
    const { workerId, jobId, pid } = driver;
    this.env.logger.info("driver ended", { workerId, jobId, pid, why });
    this.leases.peerDied(workerId);
    driver.session.close("the driver ended"); // its requests end with it: a create that waits for room must not get it now
    this.objects.clientGone(workerId);
    const exit = {
      workerId,
      nodeId: this.env.node.nodeId,
      pid,
      signal: "",
      stderrTail: [],
      reason: "intended",
      wallMs: this.env.clock.wallMs(),
      message: `driver ${pid}: ${why}`,
    };
    void this.gcs.report("workerDied", (options) =>
      this.gcs.client.workerDied({ exit, actorId: "", incarnation: 0, intended: true, wasDriver: true }, options),
    );
    void this.gcs.report("finishJob", (options) => this.gcs.client.finishJob({ jobId, driverWorkerId: workerId, reason: why }, options));
  }

  private published({ body }: Publication): void {
    if (body?.$case === "worker") {
      this.leases.peerDied(body.value.workerId);
      this.objects.ownerDied(body.value.workerId);
    } else if (body?.$case === "node" && body.value.state === NodeState.DEAD && body.value.nodeId !== this.env.node.nodeId) {
      this.objects.nodeDied(body.value.nodeId);
    }
  }

  private fatal(error: TrayError): void {
    this.env.logger.error("this node cannot go on", { code: error.code, error: error.message });
    if (this.joined) this.end(error.message, error);
  }

  private nameOf(workerId: string): string {
    const worker = this.pool.core.get(workerId);
    if (worker?.state.kind === "actor") return this.actors.get(worker.state.actorId)?.spec.className ?? "";
    const activity = this.pool.activityOf(workerId)?.taskName ?? "";
    if (activity !== "" || worker?.state.kind !== "leased") return activity;
    return this.leases.core.leaseOf(worker.state.leaseId)?.name ?? "";
  }
}

const watchedSymbol = Symbol("object client");
