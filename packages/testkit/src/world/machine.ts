// Machine: one simulated computer: a raylet at a time, its workers, its arena. A raylet that ended is followed by another one, as another node.
import { defaultSystemConfig, type SystemConfig } from "@tray/config";
import { startWorker } from "@tray/core-worker";
import { MemoryArena, type MemoryBulkNetwork, MemorySpillStore } from "@tray/object-store";
import { toFixedPoint, trayVersion } from "@tray/protocol";
import { type ProcessExit, Raylet, type SpawnedProcess, type WorkerLaunch } from "@tray/raylet";
import { Endpoint, type FaultPlan } from "@tray/rpc";
import { deferred, type SeededRandom, TrayError } from "@tray/common";
import type { Checks } from "../checks/checks.js";
import { mappingOf } from "../user/mapping.js";
import { UserThread } from "../user/user-thread.js";
import type { EventLog } from "./event-log.js";
import type { SimProcess } from "./process.js";
import type { CoreWorker } from "@tray/core-worker";

export const nodeVersion = "20.20.2";

export interface MachineWorld {
  readonly log: EventLog;
  readonly checks: Checks;
  readonly bulk: MemoryBulkNetwork;
  readonly faults: FaultPlan | undefined;
  readonly config: Partial<SystemConfig>;
  readonly gcsAddress: string;
  readonly random: SeededRandom;
  process(kind: SimProcess["kind"], host: string, machine: string, expectedErrors?: readonly RegExp[]): SimProcess;
  processExists(pid: number): boolean;
  /** The raylet has ended, however that came. */
  rayletEnded(machine: Machine, nodeId: string): void;
}

export interface SimWorker {
  readonly process: SimProcess;
  readonly user: UserThread;
  core: CoreWorker | undefined;
}

/** A life of the machine's raylet. */
export interface SimNode {
  readonly nodeId: string;
  readonly raylet: Raylet;
  readonly process: SimProcess;
  readonly arena: MemoryArena;
  readonly workers: Map<number, SimWorker>;
  /** Leases that were blocked at some time. */
  readonly lent: Set<string>;
}

/** Of seeds that spill: little enough that restored copies, too, must go again. */
const smallArenaBytes = 256 * 1024;
const arenaBytes = 4 * 2 ** 20;

export class Machine {
  node: SimNode | undefined;
  private lives = 0;
  private workersStarted = 0;

  constructor(
    readonly name: string,
    readonly resources: Readonly<Record<string, number>>,
    readonly isHead: boolean,
    private readonly world: MachineWorld,
  ) {}

  get alive(): boolean {
    return this.node?.process.alive === true;
  }
  get workers(): SimWorker[] {
    return [...(this.node?.workers.values() ?? [])].filter((worker) => worker.process.alive);
  }

  /** Resolves when the raylet has joined the cluster, or has failed to. */
  async start(): Promise<void> {
    const { world, name } = this;
    this.lives++;
    const process = world.process("raylet", name, name, [/^this node cannot go on/, /could not be started/]);
    const nodeId = world.random.hex(16);
    const arena = new MemoryArena((world.config.objectSpillingThreshold ?? 1) < 0.5 ? smallArenaBytes : arenaBytes, `arena-${name}-${this.lives}`);
    const workers = new Map<number, SimWorker>();
    let stop = (): void => undefined;
    const config = { ...defaultSystemConfig, workersPrestart: 0, ...world.config };
    const bulkAddress = `${name}:${100 + this.lives}`;
    const raylet = new Raylet({
      endpoint: new Endpoint({
        transport: process.transport,
        clock: process.clock,
        random: process.random,
        logger: process.logger,
        metrics: process.metrics,
        self: { kind: "raylet", id: nodeId, incarnation: nodeId, version: trayVersion, nodeVersion },
        faults: world.faults,
        onBug: process.onBug,
      }),
      clock: process.clock,
      random: process.random,
      logger: process.logger,
      metrics: process.metrics,
      config,
      node: {
        nodeId,
        name,
        host: name,
        hostname: name,
        isHead: this.isHead,
        labels: { machine: name },
        total: toFixedPoint(this.resources),
        sessionDir: "/s",
        pid: process.pid,
      },
      listen: `${name}:1`,
      gcsAddress: world.gcsAddress,
      arena,
      spill: new MemorySpillStore({ clock: process.clock }),
      bulk: {
        client: world.bulk.client(bulkAddress),
        serve: (source) => {
          stop = world.bulk.serve(bulkAddress, source);
          return Promise.resolve(bulkAddress);
        },
        close: () => Promise.resolve(stop()),
      },
      workers: { spawn: (launch) => this.spawn(node, launch) },
      logs: { list: () => Promise.resolve([]), read: () => Promise.reject(new TrayError("NOT_FOUND", "none")) },
      transferSizes: { stripeBytesMin: 20_000, fanoutBytesMin: 1_000 },
      probeProcess: (pid) => world.processExists(pid),
      onEnded: ({ reason }) => process.kill(`the raylet ended: ${reason}`, { lingerMs: 5 }),
    });
    const lent = new Set<string>();
    const { leases } = raylet;
    const blocked = leases.blocked.bind(leases);
    leases.blocked = (holder, isBlocked) => {
      lent.add(holder);
      blocked(holder, isBlocked);
    };
    const node: SimNode = { nodeId, raylet, process, arena, workers, lent };
    this.node = node;
    world.log.note(name, `node ${nodeId}`);
    this.onEnd.set(process, () => {
      stop();
      world.rayletEnded(this, nodeId);
    });
    try {
      await raylet.start();
    } catch (error) {
      process.kill(`the raylet could not start: ${String(error)}`);
    }
  }

  private readonly onEnd = new Map<SimProcess, () => void>();
  /** Told by the cluster of every end of a process. */
  processEnded(process: SimProcess): void {
    const told = this.onEnd.get(process);
    this.onEnd.delete(process);
    told?.();
  }

  /** Everything on it stops at once and says nothing. */
  powerCut(): void {
    const { node } = this;
    if (node === undefined) return;
    for (const worker of this.workers) worker.process.kill("power cut", { silent: true });
    node.process.kill("power cut", { silent: true });
  }

  private spawn(node: SimNode, launch: WorkerLaunch): SpawnedProcess {
    const { world } = this;
    const process = world.process("worker", `${this.name}-w${++this.workersStarted}`, this.name, [/^the GCS/]);
    const exited = deferred<ProcessExit>();
    const raylet = node.process;
    let exit: ProcessExit = { code: null, signal: "SIGKILL", stderrTail: [], failure: "" };
    this.onEnd.set(process, () => {
      node.workers.delete(process.pid);
      raylet.clock.after(world.random.next() * 2, () => exited.resolve(exit));
    });
    const end = (how: Partial<ProcessExit>, why: string, lingerMs?: number): void => {
      if (!process.alive) return;
      exit = { ...exit, signal: "", ...how };
      process.kill(why, lingerMs === undefined ? {} : { lingerMs });
    };
    const endByUser = (why: string): void => {
      world.checks.processEndedByUser(process.pid);
      end({ signal: "SIGKILL" }, why);
    };
    const user = new UserThread(process, world.log, world.checks, (code) => end({ code }, `exit ${code}`, 60), endByUser);
    const worker: SimWorker = { process, user, core: undefined };
    node.workers.set(process.pid, worker);
    const start = async (): Promise<void> => {
      const started = await startWorker({
        transport: process.transport,
        clock: process.clock,
        random: process.random,
        logger: process.logger,
        metrics: process.metrics,
        token: undefined,
        faults: world.faults,
        version: trayVersion,
        nodeVersion,
        workerId: launch.workerId,
        nodeId: node.nodeId,
        startToken: launch.startToken,
        rayletAddress: launch.rayletAddress,
        gcsAddress: world.gcsAddress,
        bindHost: process.host,
        pid: process.pid,
        user: user.port,
        claims: user.claims,
        openArena: () => node.arena,
        process: { killSelf: endByUser, exit: (code) => user.port.exit(code) },
        onBug: process.onBug,
      });
      worker.core = started.core;
      user.attach(started.core, { workerId: launch.workerId, nodeId: node.nodeId, endpoint: started.address, arena: mappingOf(node.arena) });
    };
    process.clock.after(5 + world.random.next() * 30, () => {
      start().catch((error: unknown) => end({ code: 1 }, `it could not register: ${String(error)}`));
    });
    return {
      pid: process.pid,
      exited: exited.promise,
      kill: (signal) => void raylet.clock.after(0.01, () => end({ signal }, signal)),
    };
  }
}
