// A small world around raylets for their tests: a network in memory, a GCS that records, workers and owners that answer.
import { deferred, type Logger, Metrics, SeededRandom, SimClock, silentLogger, TrayError } from "@tray/common";
import { defaultSystemConfig, type SystemConfig } from "@tray/config";
import { MemoryArena, MemoryBulkNetwork, MemorySpillStore } from "@tray/object-store";
import {
  type ActorCreated,
  type ActorCreationFailed,
  type Client,
  GcsService,
  type Handlers,
  type Heartbeat,
  type LeaseEnded,
  type LeaseGrant,
  LeaseHolderService,
  type LeaseReject,
  type LeaseSpillback,
  NodeService,
  type NodeView,
  type PlaceRequest,
  PlaceReply,
  type PublishBatch,
  RayletService,
  RegisterNodeReply,
  Requirements,
  toFixedPoint,
  trayVersion,
  type WorkerDied,
  WorkerService,
} from "@tray/protocol";
import { Endpoint, type FaultPlan, MemoryNetwork, type Session } from "@tray/rpc";
import type { ProcessExit, SpawnedProcess, WorkerLaunch, WorkerSpawner } from "../pool/spawner.js";
import { Raylet } from "../raylet.js";

export class World {
  readonly clock = new SimClock();
  readonly random = new SeededRandom(7);
  readonly logger: Logger = silentLogger;
  readonly network = new MemoryNetwork({ clock: this.clock, random: this.random.fork() });
  readonly bulk = new MemoryBulkNetwork({ clock: this.clock });
  readonly gcsAddress = "gcs:1";
  gcs = new FakeGcs(this);

  /** For endpoints that are made from now on. */
  faults: FaultPlan | undefined;

  endpoint(host: string, kind: "raylet" | "gcs" | "driver" | "worker", id: string): Endpoint {
    return new Endpoint({
      transport: this.network.transport(host),
      clock: this.clock,
      random: this.random.fork(),
      logger: this.logger,
      metrics: new Metrics(),
      self: { kind, id, incarnation: this.random.hex(8), version: trayVersion, nodeVersion: "20.0.0" },
      faults: this.faults,
    });
  }

  async begin(): Promise<void> {
    await this.gcs.listen();
  }
  /** The GCS dies and comes back without its memory of sessions. */
  async restartGcs(): Promise<void> {
    this.network.crash("gcs");
    const { registered } = this.gcs;
    this.gcs = new FakeGcs(this);
    this.gcs.views.push(...registered.map(() => undefined));
    await this.gcs.listen();
  }

  async node(name: string, cpus: number, config: Partial<SystemConfig> = {}): Promise<TestNode> {
    const node = new TestNode(this, name, cpus, config);
    await this.clock.complete(node.raylet.start());
    return node;
  }
}

type Gcs = Handlers<typeof GcsService>;

/** Records what raylets say; answers what the test sets. */
export class FakeGcs {
  readonly registered: string[] = [];
  readonly heartbeats: Heartbeat[] = [];
  readonly deaths: WorkerDied[] = [];
  readonly created: ActorCreated[] = [];
  readonly failed: ActorCreationFailed[] = [];
  readonly places: PlaceRequest[] = [];
  readonly finished: string[] = [];
  readonly published: PublishBatch[] = [];
  readonly views: unknown[] = [];
  readonly sessions = new Map<string, Session>();
  readonly unregistered: string[] = [];
  place: (request: PlaceRequest) => PlaceReply = () => PlaceReply.fromPartial({});
  refuseCreated = false;
  dead = new Set<string>();
  private readonly endpoint: Endpoint;

  constructor(private readonly world: World) {
    this.endpoint = world.endpoint("gcs", "gcs", "gcs");
    const none = (): never => {
      throw new TrayError("NOT_FOUND", "not served by this fake");
    };
    const handlers: Partial<Gcs> = {
      registerNode: ({ node }, context) => {
        const nodeId = node?.nodeId ?? "";
        if (this.dead.has(nodeId)) throw new TrayError("NODE_DIED", "given up");
        this.registered.push(nodeId);
        this.sessions.set(nodeId, (context as unknown as { session: Session }).session);
        return RegisterNodeReply.fromPartial({ clusterId: "c", systemConfigJson: "{}" });
      },
      unregisterNode: ({ nodeId }) => {
        this.unregistered.push(nodeId);
        return {};
      },
      heartbeat: (beat) => void this.heartbeats.push(beat),
      actorCreated: (created) => {
        if (this.refuseCreated) throw new TrayError("CONFLICT", "placed elsewhere");
        this.created.push(created);
        return {};
      },
      actorCreationFailed: (failed) => {
        this.failed.push(failed);
        return {};
      },
      workerDied: (died) => {
        this.deaths.push(died);
        return {};
      },
      place: (request) => {
        this.places.push(request);
        return this.place(request);
      },
      finishJob: ({ driverWorkerId }) => {
        this.finished.push(driverWorkerId);
        return {};
      },
      subscribe: () => ({}),
      publish: (batch) => void this.published.push(batch),
    };
    this.endpoint.serve(
      GcsService,
      Object.fromEntries(Object.keys(GcsService.methods).map((name) => [name, handlers[name as keyof Gcs] ?? none])) as unknown as Gcs,
    );
  }

  async listen(): Promise<void> {
    await this.endpoint.listen(this.world.gcsAddress);
  }
  node(nodeId: string): Client<typeof NodeService> {
    return (this.sessions.get(nodeId) as Session).client(NodeService);
  }
  view(nodeId: string, view: Omit<NodeView, "full" | "deadNodeIds"> & Partial<NodeView>): void {
    this.node(nodeId).viewChanged({ full: false, deadNodeIds: [], ...view });
  }
  last(nodeId: string): Heartbeat | undefined {
    return this.heartbeats.filter((beat) => beat.nodeId === nodeId).at(-1);
  }
}

/** A worker process: an endpoint that registers and does what the test's hooks say. */
export class FakeWorker {
  private readonly done = deferred<ProcessExit>();
  private readonly endpoint: Endpoint;
  private readonly host: string;
  readonly pid: number;
  session: Session | undefined;
  actor: { actorId: string; incarnation: number } | undefined;
  ended = false;
  readonly process: SpawnedProcess;

  constructor(
    private readonly node: TestNode,
    readonly launch: WorkerLaunch,
  ) {
    this.pid = ++node.pids;
    this.host = `${node.host}-w${this.pid}`;
    this.endpoint = node.world.endpoint(this.host, "worker", launch.workerId);
    this.process = { pid: this.pid, exited: this.done.promise, kill: (signal) => this.exit(null, signal) };
    this.endpoint.serve(WorkerService, {
      pushTasks: () => undefined,
      stealTasks: () => undefined,
      cancelTask: () => undefined,
      confirmReturns: () => undefined,
      streamProgress: () => undefined,
      becomeActor: ({ spec, incarnation }) => {
        this.actor = { actorId: spec?.actorId ?? "", incarnation };
        return {
          error: node.constructorFails ? { code: "TASK_ERROR", message: "no", hint: "", detailsJson: "", cause: Buffer.alloc(0) } : undefined,
        };
      },
      exit: () => this.exit(0, ""),
    });
    if (!node.brokenWorkers) void this.register();
  }

  get raylet(): Client<typeof RayletService> {
    return (this.session as Session).client(RayletService);
  }

  exit(code: number | null, signal: string, stderrTail: string[] = []): void {
    if (this.ended) return;
    this.ended = true;
    this.node.world.network.crash(this.host);
    void this.endpoint.close();
    this.done.resolve({ code, signal, stderrTail, failure: "" });
  }

  private async register(): Promise<void> {
    const address = await this.endpoint.listen(`${this.host}:1`);
    this.session = this.endpoint.connect(this.launch.rayletAddress, { reconnect: { giveUpMs: 5000 } });
    await this.raylet
      .registerWorker({
        workerId: this.launch.workerId,
        pid: this.pid,
        kind: "worker",
        endpoint: address,
        startToken: this.launch.startToken,
        jobId: "",
      })
      .catch(() => this.exit(1, ""));
  }
}

export class TestNode {
  readonly workers: FakeWorker[] = [];
  readonly raylet: Raylet;
  readonly nodeId: string;
  readonly host: string;
  pids = 0;
  brokenWorkers = false;
  constructorFails = false;
  ended: string | undefined;
  readonly livePids = new Set<number>();
  readonly arena: MemoryArena;
  readonly spill: MemorySpillStore;

  constructor(
    readonly world: World,
    name: string,
    cpus: number,
    config: Partial<SystemConfig>,
  ) {
    this.host = name;
    this.nodeId = world.random.hex(16);
    this.arena = new MemoryArena(1024 * 1024);
    this.spill = new MemorySpillStore({ clock: world.clock });
    const spawner: WorkerSpawner = {
      spawn: (launch) => {
        const worker = new FakeWorker(this, launch);
        this.workers.push(worker);
        return worker.process;
      },
    };
    let stop: () => void = () => undefined;
    this.raylet = new Raylet({
      endpoint: world.endpoint(name, "raylet", this.nodeId),
      clock: world.clock,
      random: world.random.fork(),
      logger: world.logger,
      metrics: new Metrics(),
      config: { ...defaultSystemConfig, workersPrestart: 0, ...config },
      node: {
        nodeId: this.nodeId,
        name,
        host: name,
        hostname: name,
        isHead: false,
        labels: {},
        total: toFixedPoint({ CPU: cpus }),
        sessionDir: "/s",
        pid: 1,
      },
      listen: `${name}:1`,
      gcsAddress: world.gcsAddress,
      arena: this.arena,
      spill: this.spill,
      bulk: {
        client: world.bulk.client(`${name}:2`),
        serve: (source) => {
          stop = world.bulk.serve(`${name}:2`, source);
          return Promise.resolve(`${name}:2`);
        },
        close: () => Promise.resolve(stop()),
      },
      workers: spawner,
      logs: { list: () => Promise.resolve([]), read: () => Promise.reject(new TrayError("NOT_FOUND", "none")) },
      probeProcess: (pid) => this.livePids.has(pid),
      onEnded: ({ reason }) => {
        this.ended = reason;
      },
    });
  }
  get address(): string {
    return `${this.host}:1`;
  }
  get alive(): FakeWorker[] {
    return this.workers.filter((worker) => !worker.ended);
  }
}

/** A driver, or any owner: records what raylets tell it. */
export class FakeOwner {
  readonly grants: LeaseGrant[] = [];
  readonly spillbacks: LeaseSpillback[] = [];
  readonly rejects: LeaseReject[] = [];
  readonly lost: LeaseEnded[] = [];
  readonly id: string;
  readonly endpoint: Endpoint;
  private readonly sessions = new Map<string, Session>();

  constructor(
    private readonly world: World,
    readonly host: string,
  ) {
    this.id = world.random.hex(16);
    this.endpoint = world.endpoint(host, "driver", this.id);
    this.endpoint.serve(LeaseHolderService, {
      leaseGranted: (m) => void this.grants.push(m),
      leaseSpillback: (m) => void this.spillbacks.push(m),
      leaseRejected: (m) => void this.rejects.push(m),
      leaseEnded: (m) => void this.lost.push(m),
    });
  }
  to(address: string): Client<typeof RayletService> {
    let session = this.sessions.get(address);
    if (session === undefined) {
      session = this.endpoint.connect(address, { reconnect: { giveUpMs: 5000 } });
      this.sessions.set(address, session);
    }
    return session.client(RayletService);
  }
  async register(node: TestNode, pid: number): Promise<void> {
    node.livePids.add(pid);
    await this.world.clock.complete(
      this.to(node.address).registerWorker({ workerId: this.id, pid, kind: "driver", endpoint: "", startToken: "", jobId: "00000001" }),
    );
  }
  demand(node: TestNode, wanted: number, more: { classKey?: string; cpus?: number; spilled?: boolean; grantsSeen?: number } = {}): void {
    this.to(node.address).leaseDemand({
      classKey: more.classKey ?? "f",
      requirements: requirements(more.cpus ?? 1),
      wanted,
      grantsSeen: more.grantsSeen ?? this.grants.length,
      backlog: wanted,
      meanTaskMs: 0,
      spilled: more.spilled ?? false,
      argBytesByNode: {},
      name: "f",
    });
  }
  crash(): void {
    this.world.network.crash(this.host);
  }
}

export const requirements = (cpus: number): Requirements =>
  Requirements.fromPartial({ resources: { amounts: toFixedPoint({ CPU: cpus }) }, jobId: "00000001" });
