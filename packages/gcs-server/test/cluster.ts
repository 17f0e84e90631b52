// A simulated cluster around a real GcsServer: virtual time, a memory network, raylets that do as they are told, drivers that listen.
import { Metrics, SeededRandom, SimClock, silentLogger, type Timer } from "@tray/common";
import { defaultSystemConfig, type SystemConfig } from "@tray/config";
import {
  ActorSpec,
  type ClassLoad,
  type Client,
  type CreateActorRequest,
  GcsService,
  Heartbeat,
  JobInfo,
  type KillActorOnNode,
  NodeInfo,
  NodeService,
  type PeerKind,
  type Publication,
  Requirements,
  SubscriberService,
  toFixedPoint,
  WorkerExit,
} from "@tray/protocol";
import { Endpoint, FaultPlan, MemoryNetwork, type Session } from "@tray/rpc";
import { ClusterView } from "@tray/scheduler";
import { MemoryDisk, MemoryStore } from "@tray/storage";
import { GcsServer } from "../src/gcs-server.js";

export type GcsClient = Client<typeof GcsService>;
export const gcsAddress = "gcs:7379";

export class Cluster {
  readonly clock = new SimClock();
  readonly random: SeededRandom;
  readonly network: MemoryNetwork;
  readonly disk = new MemoryDisk();
  readonly config: SystemConfig;
  server!: GcsServer;
  metrics = new Metrics();
  private store!: MemoryStore;
  private endpoint!: Endpoint;
  private ids = 0;

  constructor(options: { seed?: number; config?: Partial<SystemConfig> } = {}) {
    this.random = new SeededRandom(options.seed ?? 1);
    this.network = new MemoryNetwork({ clock: this.clock, random: this.random.fork() });
    this.config = { ...defaultSystemConfig, ...options.config };
  }

  makeEndpoint(kind: PeerKind, id: string, host: string, faults?: string): Endpoint {
    return new Endpoint({
      transport: this.network.transport(host),
      clock: this.clock,
      random: this.random.fork(),
      logger: silentLogger,
      metrics: new Metrics(),
      self: { kind, id, incarnation: `${id}-${++this.ids}`, version: "0.1.0", nodeVersion: "20.20.2" },
      faults: faults === undefined ? undefined : FaultPlan.parse(faults),
    });
  }

  async startGcs(faults?: string): Promise<void> {
    this.store = new MemoryStore({ clock: this.clock, disk: this.disk });
    this.endpoint = this.makeEndpoint("gcs", "gcs", "gcs", faults);
    this.metrics = new Metrics();
    this.server = new GcsServer({
      endpoint: this.endpoint,
      store: this.store,
      clock: this.clock,
      random: this.random.fork(),
      logger: silentLogger,
      metrics: this.metrics,
      config: this.config,
      session: { name: `session-${++this.ids}`, dir: "/sessions/s" },
      version: "0.1.0",
      nodeVersion: "20.20.2",
      pid: 4711,
      address: () => gcsAddress,
    });
    await this.clock.complete(this.server.start());
    await this.endpoint.listen(gcsAddress);
  }

  /** SIGKILL: what was not committed is lost, and nobody is told goodbye. */
  async crashGcs(): Promise<void> {
    this.store.crash();
    this.network.crash("gcs");
    // Its timers die with the process; here somebody has to stop them.
    const closing = Promise.all([this.server.close(), this.endpoint.close()]);
    await this.clock.advance(10_000);
    await closing;
  }

  async client(kind: PeerKind = "driver", id = `w${++this.ids}`): Promise<TestClient> {
    const client = new TestClient(this, kind, id);
    await this.clock.complete(client.session.opened());
    return client;
  }
  async raylet(nodeId: string, total: Record<string, number> = { CPU: 4 }, labels: Record<string, string> = {}): Promise<FakeRaylet> {
    const raylet = new FakeRaylet(this, nodeId, total, labels);
    await raylet.start();
    await this.clock.runUntil(() => raylet.registrations > 0);
    return raylet;
  }
  /** Awaits a call while time passes. */
  do<T>(work: Promise<T>): Promise<T> {
    return this.clock.complete(work);
  }
}

export class TestClient {
  readonly endpoint: Endpoint;
  readonly session: Session;
  readonly gcs: GcsClient;
  readonly published: Publication[] = [];

  constructor(
    readonly cluster: Cluster,
    kind: PeerKind,
    readonly id: string,
  ) {
    this.endpoint = cluster.makeEndpoint(kind, id, id);
    this.endpoint.serve(SubscriberService, { published: ({ publications }) => void this.published.push(...publications) });
    this.session = this.endpoint.connect(gcsAddress, { reconnect: "forever" });
    this.gcs = this.session.client(GcsService);
  }
  on(channel: string): Publication[] {
    return this.published.filter((p) => p.channel === channel);
  }
  /** "1 PENDING_CREATION" … of one actor, as published. */
  statesOf(actorId: string): number[] {
    return this.on(`actor/${actorId}`).flatMap((p) => (p.body?.$case === "actor" ? [p.body.value.state] : []));
  }
  async registerJob(more: Partial<JobInfo> = {}): Promise<JobInfo> {
    const job = JobInfo.create({ driver: { workerId: this.id, nodeId: "", endpoint: "" }, ...more });
    return (await this.cluster.do(this.gcs.registerJob({ job }))).job as JobInfo;
  }
}

interface LiveActor {
  incarnation: number;
  workerId: string;
  pid: number;
}

export class FakeRaylet {
  endpoint!: Endpoint;
  session!: Session;
  gcs!: GcsClient;
  readonly view = new ClusterView();
  readonly created: CreateActorRequest[] = [];
  readonly kills: KillActorOnNode[] = [];
  readonly finishedJobs: string[] = [];
  readonly live = new Map<string, LiveActor>();
  registrations = 0;
  refusal: unknown;
  declaredDead: string | undefined;
  load: ClassLoad[] = [];
  used: Record<string, number> = {};
  heartbeating = true;
  /** What becomes of an actor that it is told to create. */
  onCreate: (request: CreateActorRequest) => "create" | "reject" | "throw" | "hold" = () => "create";
  private pids = 100;
  private sequence = 0;
  private timer: Timer | undefined;

  constructor(
    readonly cluster: Cluster,
    readonly nodeId: string,
    readonly total: Record<string, number>,
    readonly labels: Record<string, string>,
  ) {}

  async start(): Promise<void> {
    this.endpoint = this.cluster.makeEndpoint("raylet", this.nodeId, this.nodeId);
    this.endpoint.serve(NodeService, {
      viewChanged: (view) => void this.view.apply(view),
      createActor: (request) => this.create(request),
      killActor: (request) => this.kill(request),
      jobFinished: (job) => {
        this.finishedJobs.push(job.jobId);
        return {};
      },
      probe: () => ({}),
      declaredDead: ({ reason }) => {
        this.declaredDead = reason;
      },
    });
    await this.endpoint.listen(`${this.nodeId}:1`);
    this.session = this.endpoint.connect(gcsAddress, { reconnect: "forever" });
    this.gcs = this.session.client(GcsService);
    this.session.onFresh(() => void this.register());
    this.timer = this.cluster.clock.every(this.cluster.config.heartbeatInterval, () => this.heartbeat());
  }

  info(): NodeInfo {
    return NodeInfo.create({
      nodeId: this.nodeId,
      nodeName: this.nodeId,
      raylet: `${this.nodeId}:1`,
      bulk: `${this.nodeId}:2`,
      labels: this.labels,
      total: { amounts: toFixedPoint(this.total) },
    });
  }

  async register(): Promise<void> {
    try {
      const reply = await this.gcs.registerNode({ node: this.info() });
      if (reply.view !== undefined) this.view.apply(reply.view);
      this.registrations++;
      for (const actorId of this.live.keys()) await this.reportCreated(actorId);
    } catch (error) {
      this.refusal = error;
    }
  }

  heartbeat(): void {
    if (!this.heartbeating || this.registrations === 0 || this.session.state !== "up") return;
    const available: Record<string, number> = {};
    for (const name in this.total) available[name] = (this.total[name] as number) - (this.used[name] ?? 0);
    this.gcs.heartbeat(
      Heartbeat.create({
        nodeId: this.nodeId,
        sequence: ++this.sequence,
        available: { amounts: toFixedPoint(available) },
        load: this.load,
        workers: this.live.size,
      }),
    );
  }

  async reportCreated(actorId: string): Promise<void> {
    const actor = this.live.get(actorId) as LiveActor;
    await this.gcs.actorCreated(
      {
        actorId,
        incarnation: actor.incarnation,
        address: { workerId: actor.workerId, nodeId: this.nodeId, endpoint: `${this.nodeId}:${actor.pid}` },
        pid: actor.pid,
      },
      { retry: true, timeoutMs: 0 },
    );
  }

  /** The worker of an actor dies of itself. */
  async crashActor(actorId: string, how: Partial<WorkerExit> & { intended?: boolean } = {}): Promise<void> {
    const actor = this.live.get(actorId) as LiveActor;
    this.live.delete(actorId);
    const { intended = false, ...exit } = how;
    await this.cluster.do(
      this.gcs.workerDied({
        exit: WorkerExit.create({ workerId: actor.workerId, nodeId: this.nodeId, pid: actor.pid, reason: "crashed", ...exit }),
        actorId,
        incarnation: actor.incarnation,
        intended,
        wasDriver: false,
      }),
    );
  }

  /** SIGKILL of the raylet: the operating system closes its connections and its port. */
  crash(): void {
    this.timer?.cancel();
    this.cluster.network.crash(this.nodeId);
    void this.endpoint.close();
  }
  stop(): Promise<void> {
    this.timer?.cancel();
    return this.endpoint.close();
  }

  private create(request: CreateActorRequest): Record<string, never> {
    const actorId = request.spec?.actorId ?? "";
    const known = this.live.get(actorId);
    if (known?.incarnation === request.incarnation) return {}; // idempotent
    this.created.push(request);
    switch (this.onCreate(request)) {
      case "create":
        this.live.set(actorId, { incarnation: request.incarnation, workerId: `${this.nodeId}-w${++this.pids}`, pid: this.pids });
        void this.reportCreated(actorId);
        break;
      case "reject":
        void this.gcs.actorCreationFailed({ actorId, incarnation: request.incarnation, error: undefined, rejected: true });
        break;
      case "throw":
        void this.gcs.actorCreationFailed({
          actorId,
          incarnation: request.incarnation,
          error: { code: "TASK_ERROR", message: "Error: no database", hint: "", detailsJson: "", cause: Buffer.from("cause") },
          rejected: false,
        });
        break;
      case "hold":
    }
    return {};
  }

  private kill(request: KillActorOnNode): Record<string, never> {
    this.kills.push(request);
    const actor = this.live.get(request.actorId);
    if (actor?.incarnation !== request.incarnation) return {};
    this.live.delete(request.actorId);
    const exit = WorkerExit.create({ workerId: actor.workerId, nodeId: this.nodeId, pid: actor.pid, reason: "killed" });
    void this.gcs.workerDied({ exit, actorId: request.actorId, incarnation: request.incarnation, intended: true, wasDriver: false });
    return {};
  }
}

/** An actor specification; `resources` default to one CPU to be placed. */
export function actorSpec(
  actorId: string,
  more: Omit<Partial<ActorSpec>, "requirements"> & { resources?: Record<string, number>; labels?: Record<string, string>; onNode?: string } = {},
): ActorSpec {
  const { resources = { CPU: 1 }, labels = {}, onNode, ...rest } = more;
  const requirements = Requirements.create({ resources: { amounts: toFixedPoint(resources) }, labelSelector: labels });
  if (onNode !== undefined) requirements.strategy = { kind: { $case: "nodeAffinity", value: { nodeId: onNode, soft: false } } };
  return ActorSpec.create({
    actorId,
    jobId: "00000001",
    className: "Counter",
    functionId: "f",
    args: Buffer.from("arguments"),
    ...rest,
    requirements,
  });
}
