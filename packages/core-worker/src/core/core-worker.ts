// CoreWorker: the I/O half of a driver or worker. This file only wires its parts together:
//
//   user's thread ──ToCore──▶ CoreWorker ─┬─ Submitter ── Leases / ActorCalls ──▶ raylets, workers
//                 ◀──ToUser──             ├─ ReferenceTable ── Registrar ──▶ owners
//                                         ├─ ObjectFetcher, ObjectWriter ──▶ owners, the node's raylet
//                                         └─ Executor ◀── pushed tasks (workers); OrderlyExit
//
// It has no clock, network or thread of its own: a simulation runs the same code.
import { type Clock, type Logger, TrayError } from "@tray/common";
import {
  type Address,
  CallerService,
  type Client,
  type GcsService,
  IntrospectionService,
  LeaseHolderService,
  type NodeInfo,
  OwnerService,
  RayletService,
  StoreReaderService,
  type RefInfo,
  SubscriberService,
  taskPrefix,
  type WorkerId,
  type JobId,
  WorkerService,
  objectIdOf,
} from "@tray/protocol";
import type { SystemConfig } from "@tray/config";
import type { Endpoint, Session } from "@tray/rpc";
import type { ActorCreation, ReturnValue, TemplateOptions, ToCore } from "../thread/to-core.js";
import type { ToUser } from "../thread/to-user.js";
import { ActorCalls } from "./actor-calls.js";
import { Borrowers } from "./borrowers.js";
import { type ClusterCalls, clusterCalls } from "./cluster-calls.js";
import { Deletions } from "./deletions.js";
import { Executor } from "./executor.js";
import { errorInfo, failureOf, leftInOrder } from "./failures.js";
import { listReferences } from "./introspection.js";
import { GarbageCollection } from "./garbage-collection.js";
import type { GcsLink } from "./gcs-link.js";
import { Handovers } from "./handovers.js";
import type { LeaseGroupLimits } from "./lease/group.js";
import { Leases } from "./leases.js";
import type { ObjectEntry } from "./object-entry.js";
import { ObjectFetcher } from "./object-fetcher.js";
import { type ArenaWriter, ObjectWriter } from "./object-writer.js";
import { OrderlyExit } from "./orderly-exit.js";
import { actorOfHandles, handleObjectId, isHandleObject, OwnedActors } from "./owned-actors.js";
import { ownerService } from "./owner-service.js";
import { Peers } from "./peers.js";
import { Receipts } from "./receipts.js";
import { ReferenceTable } from "./reference-table.js";
import { Registrar } from "./registrar.js";
import { Requests } from "./requests.js";
import { actorSpecOf, type Job, templateOf } from "./specs.js";
import { Submitter } from "./submitter.js";
import type { Template } from "./task-entry.js";

export interface CoreWorkerOptions {
  readonly endpoint: Endpoint;
  readonly clock: Clock;
  readonly logger: Logger;
  readonly user: ToUser;
  readonly kind: "driver" | "worker";
  readonly self: Address;
  /** The node's raylet: "host:port". What registering there tells comes by `attached`. */
  readonly rayletAddress: string;
  readonly raylet: Session;
  readonly gcs: GcsLink;
  /** Shared with the user's thread: see Executor. */
  readonly claims: Int32Array;
  /** Drivers know it from the start, workers learn it with their first task. */
  readonly job: Job | undefined;
  readonly process: { killSelf(reason: string): void; exit(code: number): void };
  readonly limits?: LeaseGroupLimits;
}

const giveUpMs = 10_000;
/** What a dead process held is kept so long (docs/decisions/0009). Until the cluster's configuration is known: its default. */
const defaultGraceMs = 5_000;
export class CoreWorker implements ToCore {
  readonly references: ReferenceTable;
  readonly submitter: Submitter;
  readonly leases: Leases;
  readonly actors: ActorCalls;
  private readonly owned: OwnedActors;
  readonly executor: Executor;
  readonly fetcher: ObjectFetcher;
  readonly gcs: GcsLink;
  private readonly peers: Peers;
  private readonly registrar: Registrar;
  private readonly receipts: Receipts;
  private readonly borrowers: Borrowers;
  private readonly handovers: Handovers;
  private readonly exit: OrderlyExit;
  private readonly deletions: Deletions;
  private readonly writer: ObjectWriter;
  readonly collection: GarbageCollection;
  private readonly requests: Requests;
  private readonly templates = new Map<number, Template>();
  private readonly calls: ClusterCalls;
  private readonly functionsPut = new Map<string, Promise<unknown>>();
  private job: Job | undefined;
  private bulkAddress = "";
  private graceMs = defaultGraceMs;
  private closed = false;

  constructor(private readonly o: CoreWorkerOptions) {
    const { endpoint, clock, logger, user } = o;
    this.job = o.job;
    this.peers = new Peers(endpoint, giveUpMs);
    this.peers.adopt(o.rayletAddress, o.raylet);
    this.gcs = o.gcs;
    this.deletions = new Deletions(this.peers, clock);
    this.references = new ReferenceTable(
      {
        freed: (entry, state) => this.freed(entry, state),
        returned: (entry) => this.returned(entry),
        lineageEnded: (task) => this.submitter.forget(task),
        lineageValues: (deltaBytes) => this.submitter.lineage.values(deltaBytes),
        streamDropped: (task, stream) => this.submitter.streamDropped(task, stream),
      },
      () => clock.now(),
    );
    this.registrar = new Registrar(
      () => this.references,
      this.peers,
      clock,
      () => this.nodeAddress,
    );
    this.collection = new GarbageCollection(clock, () => o.user.collectGarbage());
    const graceMs = (): number => this.graceMs;
    this.borrowers = new Borrowers(
      { gone: (workerId) => this.references.borrowerDied(workerId), raylet: (address) => this.peers.raylet(address).client(RayletService) },
      clock,
      logger,
      graceMs,
    );
    this.handovers = new Handovers(this.references, clock, graceMs);
    this.submitter = new Submitter(this.references, logger, {
      runnable: (task, first) => this.leases.runnable(task, first),
      callEnqueued: (task, again) => this.actors.enqueued(task, again),
      callReady: (task) => this.actors.ready(task),
      withdraw: (task) => (task.template.options.actorId === undefined ? this.leases : this.actors).withdraw(task),
      cancelPushed: (task, force, recursive) =>
        (task.template.options.actorId === undefined ? this.leases : this.actors).cancelPushed(task, force, recursive),
      adoptContained: (contained) => contained.map((ref) => this.adoptRef(ref)),
      progress: (session, number, attempt, consumed) => this.receipts.progress(session, { number, attempt, consumed, confirmed: [] }),
      discard: (objectId, node) => this.deletions.add(node, objectId),
      linger: (entries) => this.handovers.linger(entries),
      self: () => o.self,
    });
    this.receipts = new Receipts(this.submitter, this.registrar, logger);
    this.leases = new Leases(this.peers, clock, logger, o.rayletAddress, () => this.submitter, this.receipts.done, o.limits);
    this.actors = new ActorCalls(this.gcs, this.peers, clock, logger, () => this.submitter, this.receipts.done);
    this.owned = new OwnedActors(this.references, this.actors, this.gcs, logger, {
      functionStored: (functionId) => this.functionsPut.get(functionId),
      refArg: (entry) => this.submitter.refArg(entry),
      spec: (creation, args, refs) => actorSpecOf(creation, args, refs, o.self, this.job),
    });
    this.fetcher = new ObjectFetcher(this.references, this.peers, clock, logger, {
      raylet: () => this.raylet,
      self: () => o.self,
      node: () => this.nodeAddress,
      missing: (entry, nodeIds) => this.submitter.missing(entry, nodeIds),
    });
    this.executor = new Executor(user, o.claims, this.references, this.fetcher, this.registrar, this.handovers, clock, logger, {
      getFunction: (jobId, functionId) => this.gcs.client.getFunction({ jobId, functionId }, { timeoutMs: 0, retry: true }),
      blocked: (leaseId, blocked) => this.raylet.taskBlocked({ leaseId, blocked }),
      activity: (taskName) => this.raylet.workerActivity({ taskName, meanTaskMs: 0 }),
      node: () => this.nodeAddress,
      self: () => o.self,
      cancelChildren: (execId) => this.cancelChildren(execId),
      killSelf: (reason) => o.process.killSelf(reason),
      exitWhenDone: (reason) => this.exit.whenDone(reason),
      joinJob: (job) => {
        this.job ??= job;
      },
      slotEntry: (slot) => this.references.bySlot(slot),
    });
    this.exit = new OrderlyExit(user, this.executor, this.references, this.handovers, clock, logger, {
      workerId: o.self.workerId,
      raylet: () => this.raylet,
      close: () => this.close(),
    });
    this.writer = new ObjectWriter(user, this.references, this.executor, { self: o.self, raylet: () => this.raylet, node: () => this.nodeAddress });
    this.requests = new Requests(user, this.references, this.fetcher, this.executor.lease, () => this.writer.arena?.capacity ?? 0);
    this.calls = clusterCalls(this, o);
    this.serve(endpoint);
    this.watchCluster();
  }

  /**
   * The raylet has registered this process. Made before that on purpose: the raylet may have work for a worker in the same breath as its reply.
   */
  attached(node: NodeInfo, arena: ArenaWriter, config: SystemConfig): void {
    this.bulkAddress = node.bulk;
    this.writer.arena = arena;
    this.leases.setLimits({ depthMax: config.maxTasksInFlightPerWorker, shortTaskMs: config.shortTaskThreshold, lingerMs: config.leaseIdleTimeout });
    this.submitter.reconstructs = config.enableObjectReconstruction;
    this.graceMs = config.healthCheckTimeout;
    this.submitter.lineage.limitBytes = config.maxLineageBytes;
  }

  /** Ends what this process holds elsewhere. The endpoint is its creator's to close. */
  close(): void {
    if (this.closed) return;
    this.closed = true;
    this.leases.close();
  }

  // ── ToCore ─────────────────────────────────────────────────────────────────────────────────────────────────────────────
  putFunction(functionId: string, blob: Uint8Array): void {
    const jobId = this.job?.jobId ?? "";
    const put = this.gcs.client.putFunction({ jobId, functionId, blob: blob as Buffer }, { timeoutMs: 0, retry: true });
    this.functionsPut.set(functionId, put);
    put.then(
      () => this.functionsPut.delete(functionId),
      (error: unknown) => {
        if (!this.closed) this.o.logger.error("a function could not be stored", { functionId, error }); // at the end nobody needs it any more
      },
    );
  }

  defineTemplate(templateId: number, options: TemplateOptions): void {
    this.templates.set(templateId, templateOf(templateId, options, this.o.self, this.job));
  }

  submit(
    templateId: number,
    number: number,
    firstSlot: number,
    parent: number,
    args: Uint8Array,
    argSlots: readonly number[],
    heldSlots: readonly number[],
  ): void {
    const template = this.templates.get(templateId);
    if (template === undefined) throw new Error(`template ${templateId} is not defined`);
    this.submitter.submit(template, number, firstSlot, parent, args, this.entriesOf(argSlots), this.entriesOf(heldSlots));
  }

  createActor(slot: number, creation: ActorCreation, args: Uint8Array, argSlots: readonly number[], heldSlots: readonly number[]): void {
    const handle = this.references.own(handleObjectId(creation.actorId), undefined, 0);
    this.references.bind(slot, handle);
    this.owned.create(handle, creation, args, this.entriesOf(argSlots), this.entriesOf(heldSlots));
  }

  get(requestId: number, inTask: boolean, slots: readonly number[]): void {
    this.requests.get(requestId, inTask, this.entriesOf(slots));
  }
  wait(requestId: number, inTask: boolean, numReturns: number, fetchLocal: boolean, slots: readonly number[]): void {
    this.requests.wait(requestId, inTask, numReturns, fetchLocal, this.entriesOf(slots));
  }
  forget(requestId: number): void {
    this.requests.forget(requestId);
  }

  put(slot: number, number: number, value: Uint8Array, heldSlots: readonly number[]): void {
    this.references.resolve(this.ownPut(slot, number), { kind: "value", value }, this.entriesOf(heldSlots));
  }
  create(requestId: number, slot: number, number: number, objectId: string, size: number, heldSlots: readonly number[]): void {
    if (slot === 0) this.writer.createResult(requestId, objectId, size, number);
    else this.writer.createPut(requestId, this.ownPut(slot, number), size, this.entriesOf(heldSlots));
  }
  seal(requestId: number, objectId: string): void {
    this.writer.seal(requestId, objectId);
  }
  putLarge(slot: number, number: number, value: Uint8Array, heldSlots: readonly number[]): void {
    this.writer.put(this.ownPut(slot, number), value, this.entriesOf(heldSlots));
  }

  adopt(slot: number, objectId: string, ownerWorkerId: string, ownerNodeId: string, ownerEndpoint: string): void {
    this.references.bind(slot, this.adoptRef({ objectId, owner: { workerId: ownerWorkerId, nodeId: ownerNodeId, endpoint: ownerEndpoint } }));
  }
  release(slots: readonly number[]): void {
    for (const slot of slots) this.references.releaseSlot(slot);
  }
  unpin(pinIds: readonly number[]): void {
    this.fetcher.unpin(pinIds);
  }
  finished(execId: number, outcome: number, durationUs: number, returns: readonly ReturnValue[], error: Uint8Array, errorMessage: string): void {
    this.executor.finished(execId, outcome, durationUs, returns, error, errorMessage);
  }
  yielded(execId: number, index: number, objectId: string, item: ReturnValue): void {
    if (!this.executor.streams.yielded(execId, index, item) && objectId !== "") this.raylet.deleteObjects({ objectIds: [objectId] });
  }
  resting(execId: number): void {
    this.executor.streams.resting(execId);
  }
  nextItem(requestId: number, inTask: boolean, streamSlot: number, itemSlot: number): void {
    const { task } = this.references.bySlot(streamSlot);
    const stream = task?.stream;
    if (task === undefined || stream === undefined) {
      this.o.user.reply(requestId, true, "null");
      return;
    }
    this.requests.nextItem(requestId, inTask, (taken) =>
      this.submitter.takeItem(task, stream, {
        take: (entry) => {
          this.references.bind(itemSlot, entry);
          taken(entry.index);
        },
        end: () => taken(undefined),
      }),
    );
  }
  cancel(slot: number, force: boolean, recursive: boolean): void {
    const { task } = this.references.bySlot(slot);
    if (task !== undefined) this.submitter.cancel(task, force, recursive);
  }
  call(requestId: number, method: string, json: string): void {
    const handler = this.calls[method];
    if (handler === undefined) {
      this.o.user.reply(requestId, false, JSON.stringify(failureOf(errorInfo("SYSTEM", `unknown call ${method}`))));
      return;
    }
    this.requests.track(requestId, (signal) => handler(JSON.parse(json) as never, signal));
  }

  // ── what the parts share ───────────────────────────────────────────────────────────────────────────────────────────────
  get raylet(): Client<typeof RayletService> {
    return this.o.raylet.client(RayletService);
  }
  get gcsClient(): Client<typeof GcsService> {
    return this.gcs.client;
  }
  get currentJob(): Job | undefined {
    return this.job;
  }
  private get nodeAddress(): { nodeId: string; raylet: string; bulk: string } {
    return { nodeId: this.o.self.nodeId, raylet: this.o.rayletAddress, bulk: this.bulkAddress };
  }
  private get prefix(): string {
    return taskPrefix((this.job?.jobId ?? "") as JobId, this.o.self.workerId as WorkerId);
  }
  private ownPut(slot: number, number: number): ObjectEntry {
    const entry = this.references.own(objectIdOf(this.prefix + number.toString(16).padStart(10, "0"), 0), undefined, 0);
    this.references.bind(slot, entry);
    return entry;
  }

  private entriesOf(slots: readonly number[]): ObjectEntry[] {
    const entries = new Array<ObjectEntry>(slots.length);
    for (let i = 0; i < slots.length; i++) entries[i] = this.references.bySlot(slots[i] as number);
    return entries;
  }

  private adoptRef(ref: RefInfo): ObjectEntry {
    const owner = ref.owner as Address;
    if (owner.workerId === this.o.self.workerId) {
      const known = this.references.get(ref.objectId);
      if (known !== undefined) {
        if (known.state.kind === "freed") this.submitter.reconstruct(known); // kept for lineage only; somebody found a reference after all
        return known;
      }
      const lost = this.references.own(ref.objectId, undefined, 0);
      this.references.resolve(lost, {
        kind: "failed",
        error: errorInfo("OBJECT_FREED", `object ${ref.objectId} was freed: no reference to it was left`),
      });
      return lost;
    }
    const entry = this.references.borrow(ref.objectId, owner);
    this.registrar.adopted(entry);
    return entry;
  }

  private freed(entry: ObjectEntry, state: ObjectEntry["state"]): void {
    if (entry.isHandle) {
      this.owned.handlesGone(entry);
      return;
    }
    const stored = state.kind === "stored" ? state.nodes : [];
    for (const node of entry.strays === undefined ? stored : [...stored, ...entry.strays]) this.deletions.add(node, entry.id);
  }

  private returned(entry: ObjectEntry): void {
    this.registrar.returned(entry);
    if (isHandleObject(entry.id)) this.actors.forget(actorOfHandles(entry.id));
  }

  private cancelChildren(execId: number): void {
    for (const task of [...this.submitter.all()]) if (task.parent === execId && task.state !== "done") this.submitter.cancel(task, false, true);
  }

  private serve(endpoint: Endpoint): void {
    const raylet = (session: Session): string => session.remote;
    endpoint.serve(LeaseHolderService, {
      leaseGranted: (m, c) => this.leases.granted(raylet(c.session), m),
      leaseSpillback: (m) => this.leases.spillback(m),
      leaseRejected: (m, c) => this.leases.rejected(raylet(c.session), m),
      leaseEnded: (m) => this.leases.ended(m),
    });
    endpoint.serve(CallerService, {
      tasksDone: (m, c) => {
        this.leases.tasksDone(c.session, m);
        this.actors.tasksDone(c.session, m);
      },
      itemsMade: (m, c) => this.receipts.itemsMade(c.session, m),
    });
    endpoint.serve(SubscriberService, { published: (m) => this.gcs.published(m) });
    endpoint.serve(
      OwnerService,
      ownerService(this.references, this.borrowers, {
        missing: (entry, nodeIds) => this.submitter.missing(entry, nodeIds),
        isComing: (objectId, node) => this.submitter.isComing(objectId, node),
        discard: (objectId, node) => this.deletions.add(node, objectId),
      }),
    );
    endpoint.serve(StoreReaderService, {
      collectGarbage: () => {
        this.executor.letGo();
        this.o.user.collectGarbage();
      },
    });
    endpoint.serve(IntrospectionService, {
      listReferences: async ({ limit, collect }) => {
        if (collect) await this.collection.run();
        return listReferences(this.references, this.o.self.workerId, this.o.clock.now(), limit);
      },
    });
    if (this.o.kind === "worker") {
      endpoint.serve(WorkerService, {
        pushTasks: (m, c) => this.executor.push(c.session, m),
        stealTasks: (m, c) => this.executor.steal(c.session, m),
        cancelTask: (m, c) => this.executor.cancel(c.session, m),
        confirmReturns: (m, c) => this.executor.confirm(c.session, m.numbers),
        streamProgress: (m, c) => this.executor.streams.progress(c.session, m),
        becomeActor: (m) => {
          if (m.spec === undefined) throw new TrayError("INVALID_ARGUMENT", "becomeActor without a spec");
          return this.executor.becomeActor(m.spec, m.incarnation);
        },
        exit: (m) => {
          if (m.graceful) this.exit.drain(m.reason);
          else this.exit.now(m.reason);
        },
      });
    }
  }

  private watchCluster(): void {
    if (this.o.kind === "driver") {
      const jobId = this.job?.jobId ?? "";
      this.gcs.subscribe(`logs/${jobId}`, (p) => {
        if (p.body?.$case === "logs") this.o.user.logs(JSON.stringify(p.body.value));
      });
      this.gcs.subscribe(`errors/${jobId}`, (p) => {
        if (p.body?.$case === "error") this.o.user.logs(JSON.stringify({ notice: p.body.value.message, kind: p.body.value.kind }));
      });
    }
    this.gcs.subscribe("nodes", (p) => {
      if (p.body?.$case !== "node" || p.body.value.endWallMs === 0) return;
      this.nodeDied(p.body.value.nodeId, p.body.value.raylet);
    });
    this.gcs.subscribe("workers", (p) => {
      if (p.body?.$case === "worker") this.borrowers.workerDied(p.body.value.workerId, leftInOrder(p.body.value));
    });
    this.gcs.onReset(() => this.borrowers.verify());
  }

  /** Copies there are gone; what has no other copy is made again when it is used. */
  private nodeDied(nodeId: string, raylet: string): void {
    this.borrowers.nodeDied(nodeId);
    this.deletions.nodeDied(nodeId);
    const there = this.peers.known(raylet)?.peer;
    // Another node may serve the address by now.
    if (raylet !== this.o.rayletAddress && (there === undefined || there.id === nodeId)) {
      this.peers.forget(raylet, `node ${nodeId.slice(0, 8)} died`);
      this.leases.rayletLost(raylet); // a session that we close ourselves does not say that it is lost
    }
    for (const entry of this.references.all()) {
      const { state } = entry;
      if (entry.strays !== undefined) entry.strays = entry.strays.filter((n) => n.nodeId !== nodeId);
      if (state.kind === "stored" && state.nodes.some((n) => n.nodeId === nodeId))
        entry.state = { ...state, nodes: state.nodes.filter((n) => n.nodeId !== nodeId) };
    }
  }
}
