// SimCluster: GCS, machines and drivers of one simulation: the daemons' own code on one clock and one network.
//
// Owns:     the clock, the network, all processes, the GCS's disk, what is cut off from what.
// Not mine: what drivers do (workload/), what goes wrong when (faults/), what must hold (checks/).
import { Metrics, SeededRandom, SimClock, type Clock } from "@tray/common";
import { defaultSystemConfig, type SystemConfig } from "@tray/config";
import { GcsServer } from "@tray/gcs-server";
import { MemoryBulkNetwork } from "@tray/object-store";
import { trayVersion } from "@tray/protocol";
import { Endpoint, type FaultPlan, MemoryNetwork } from "@tray/rpc";
import { MemoryDisk, MemoryStore } from "@tray/storage";
import { Checks } from "../checks/checks.js";
import type { UserThread } from "../user/user-thread.js";
import { SimDriver, type DriverMain } from "./driver.js";
import { EventLog, type SimLogger } from "./event-log.js";
import { Machine, nodeVersion } from "./machine.js";
import { type ProcessKind, SimProcess } from "./process.js";

export const gcsAddress = "gcs:6379";

export interface ClusterOptions {
  readonly seed: number;
  readonly config?: Partial<SystemConfig>;
  readonly faults?: FaultPlan;
  /** Gets each line of the event log. */
  readonly trace?: (line: string) => void;
  readonly checkEvery?: number;
}

interface Cut {
  readonly from: string;
  readonly to: string;
  readonly direction: "both" | "one-way";
}

export class SimCluster {
  readonly sim = new SimClock();
  readonly random: SeededRandom;
  readonly clock: Clock;
  readonly network: MemoryNetwork;
  readonly bulk: MemoryBulkNetwork;
  readonly log: EventLog;
  readonly checks: Checks;
  readonly machines: Machine[] = [];
  readonly drivers: SimDriver[] = [];
  readonly givenUp = new Set<string>();
  /** Raylets that end are followed by others. */
  restartsRaylets = true;
  private readonly processes = new Set<SimProcess>();
  private readonly disk = new MemoryDisk();
  private gcs: { readonly process: SimProcess; readonly store: MemoryStore } | undefined;
  private pids = 1000;
  private gcsLives = 0;
  /** Machines that cannot hear each other. */
  private readonly cuts = new Set<Cut>();

  constructor(private readonly options: ClusterOptions) {
    this.random = new SeededRandom(options.seed * 7919 + 13);
    this.log = new EventLog(() => this.sim.now(), options.trace);
    this.checks = new Checks(
      {
        log: this.log,
        now: () => this.sim.now(),
        isGivenUp: (nodeId) => this.givenUp.has(nodeId) || !this.machines.some((m) => m.node?.nodeId === nodeId && m.alive),
        cpusOf: (nodeId) => (this.machines.find((m) => m.node?.nodeId === nodeId)?.resources["CPU"] ?? 0) * 10_000,
        usersOn: (nodeId) => this.usersOn(nodeId),
        wasLent: (user) => this.wasLent(user),
        checkDaemons: () => this.checkDaemons(),
      },
      options.checkEvery ?? 64,
    );
    const { sim, checks } = this;
    this.clock = {
      now: () => sim.now(),
      wallMs: () => sim.wallMs(),
      after: (delayMs, fn) =>
        sim.after(delayMs, () => {
          checks.beforeEvent();
          fn();
        }),
      every: (periodMs, fn) => sim.every(periodMs, fn),
      endOfTurn: (fn) => sim.endOfTurn(fn),
      soon: (fn) => sim.soon(fn),
    };
    this.network = new MemoryNetwork({ clock: this.clock, random: this.random.fork() });
    this.bulk = new MemoryBulkNetwork({
      clock: this.clock,
      chunkBytes: 4096,
      // Half of the networks are slow: transfers overlap, and faults strike in the middle of them.
      durationMs: (_from, _to, bytes) => 0.1 + bytes / (options.seed % 4 < 2 ? 2 ** 20 : 1_000),
      fault: (from, to) =>
        this.isCut(hostOf(from), hostOf(to)) || this.isCut(hostOf(to), hostOf(from)) ? new Error("the network is cut") : undefined,
    });
  }

  // ── processes ──────────────────────────────────────────────────────────────────────────────────────────────────────────
  process(kind: ProcessKind, host: string, machine: string, expectedErrors: readonly RegExp[] = []): SimProcess {
    const world = {
      clock: this.clock,
      network: this.network,
      log: this.log,
      begun: (process: SimProcess) => this.begun(process),
      ended: (process: SimProcess) => this.ended(process),
    };
    return new SimProcess(world, kind, host, machine, ++this.pids, this.random.fork(), expectedErrors);
  }
  processExists(pid: number): boolean {
    for (const process of this.processes) if (process.pid === pid) return true;
    return false;
  }
  private begun(process: SimProcess): void {
    for (const other of this.processes) this.applyCut(process, other);
    this.processes.add(process);
  }
  private ended(process: SimProcess): void {
    this.processes.delete(process);
    for (const machine of this.machines) machine.processEnded(process);
    for (const driver of this.drivers) if (driver.process === process) driver.processEnded();
  }
  living(kind: ProcessKind): SimProcess[] {
    return [...this.processes].filter((process) => process.kind === kind);
  }

  // ── the GCS ────────────────────────────────────────────────────────────────────────────────────────────────────────────
  async startGcs(): Promise<void> {
    const process = this.process("gcs", "gcs", "gcs");
    const store = new MemoryStore({ clock: process.clock, disk: this.disk });
    this.gcs = { process, store };
    const { logger } = process;
    const noticing = Object.create(logger) as SimLogger;
    noticing.info = (message, fields) => {
      if (message === "node died") this.givenUp.add(String(fields?.["nodeId"]));
      logger.info(message, fields);
    };
    const endpoint = this.endpoint(process, "gcs", "gcs", `gcs-${++this.gcsLives}`);
    const server = new GcsServer({
      endpoint,
      store,
      clock: process.clock,
      random: process.random,
      logger: noticing,
      metrics: process.metrics,
      config: { ...defaultSystemConfig, ...this.options.config },
      session: { name: "simulated", dir: "/s" },
      version: trayVersion,
      nodeVersion,
      pid: process.pid,
      address: () => gcsAddress,
    });
    await server.start();
    if (!process.alive) return;
    await endpoint.listen(gcsAddress);
  }
  get gcsAlive(): boolean {
    return this.gcs?.process.alive === true;
  }
  crashGcs(why: string): void {
    this.gcs?.store.crash();
    this.gcs?.process.kill(why);
  }

  endpoint(process: SimProcess, kind: "gcs" | "driver", id: string, incarnation: string): Endpoint {
    return new Endpoint({
      transport: process.transport,
      clock: process.clock,
      random: process.random,
      logger: process.logger,
      metrics: new Metrics(),
      self: { kind, id, incarnation, version: trayVersion, nodeVersion },
      faults: this.options.faults,
      onBug: process.onBug,
    });
  }

  // ── machines and drivers ───────────────────────────────────────────────────────────────────────────────────────────────
  addMachine(resources: Readonly<Record<string, number>>): Machine {
    const name = `n${this.machines.length + 1}`;
    const machine = new Machine(name, resources, this.machines.length === 0, {
      log: this.log,
      checks: this.checks,
      bulk: this.bulk,
      faults: this.options.faults,
      config: this.options.config ?? {},
      gcsAddress,
      random: this.random.fork(),
      process: (kind, host, on, expected) => this.process(kind, host, on, expected),
      processExists: (pid) => this.processExists(pid),
      rayletEnded: (ended) => this.rayletEnded(ended),
    });
    this.machines.push(machine);
    return machine;
  }
  addDriver(machine: Machine, namespace: string | undefined, main: DriverMain): SimDriver {
    const name = `${machine.name}-d${this.drivers.length + 1}`;
    const driver = new SimDriver(name, machine, namespace, main, {
      log: this.log,
      checks: this.checks,
      faults: this.options.faults,
      gcsAddress,
      process: (kind, host, on, expected) => this.process(kind, host, on, expected),
    });
    this.drivers.push(driver);
    return driver;
  }

  private rayletEnded(machine: Machine): void {
    if (!this.restartsRaylets) return;
    const delayMs = 200 + this.random.next() * 2500;
    this.clock.after(delayMs, () => void machine.start());
  }

  private *usersOn(nodeId: string): Iterable<UserThread> {
    const node = this.machines.find((m) => m.node?.nodeId === nodeId)?.node;
    for (const worker of node?.workers.values() ?? []) if (worker.process.alive) yield worker.user;
  }

  private wasLent(user: UserThread): boolean {
    const node = this.machines.find((m) => m.node?.nodeId === user.facts.nodeId)?.node;
    const state = node?.raylet.pool.core.get(user.facts.workerId)?.state;
    return state?.kind !== "leased" || node?.lent.has(state.leaseId) === true;
  }

  private checkDaemons(): void {
    for (const { node, alive } of this.machines) {
      if (node === undefined || !alive) continue;
      const { ledger, leases, objects, pool } = node.raylet;
      try {
        ledger.check();
        leases.core.check();
        pool.core.check();
        objects.check();
      } catch (error) {
        this.log.violated(`K6: ${node.process.host}: ${error instanceof Error ? (error.stack ?? error.message) : String(error)}`);
      }
    }
  }

  // ── the network ────────────────────────────────────────────────────────────────────────────────────────────────────────
  /** Cuts a machine (or "gcs") off from another, in one direction or both; processes that begin later, too. Returns what mends this cut and no other. */
  cut(from: string, to: string, direction: "both" | "one-way"): () => void {
    const cut: Cut = { from, to, direction };
    this.cuts.add(cut);
    const all = [...this.processes];
    for (const a of all) for (const b of all) if (a !== b) this.applyCut(a, b);
    return () => {
      if (this.cuts.delete(cut)) this.mend();
    };
  }
  heal(): void {
    this.cuts.clear();
    this.network.heal();
  }
  private mend(): void {
    for (const a of this.processes)
      for (const b of this.processes) if (a !== b && !this.isCut(a.machine, b.machine)) this.network.heal(a.host, b.host, "one-way");
  }
  private isCut(fromMachine: string, toMachine: string): boolean {
    for (const { from, to, direction } of this.cuts)
      if ((from === fromMachine && to === toMachine) || (direction === "both" && from === toMachine && to === fromMachine)) return true;
    return false;
  }
  private applyCut(a: SimProcess, b: SimProcess): void {
    if (this.isCut(a.machine, b.machine)) this.network.partition(a.host, b.host, "one-way");
    if (this.isCut(b.machine, a.machine)) this.network.partition(b.host, a.host, "one-way");
  }
}

const hostOf = (address: string): string => address.slice(0, address.lastIndexOf(":"));
