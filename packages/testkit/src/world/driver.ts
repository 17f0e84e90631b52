// SimDriver: a user's process: connects, runs its main, lets everything go, and ends.
import { type Deferred, deferred, messageOf } from "@tray/common";
import { type CoreWorker, type StartedDriver, startDriver } from "@tray/core-worker";
import { trayVersion } from "@tray/protocol";
import type { FaultPlan } from "@tray/rpc";
import type { Checks } from "../checks/checks.js";
import { Activation } from "../user/activation.js";
import { mappingOf } from "../user/mapping.js";
import { UserThread } from "../user/user-thread.js";
import type { EventLog } from "./event-log.js";
import { type Machine, nodeVersion } from "./machine.js";
import type { SimProcess } from "./process.js";

export type DriverMain = (act: Activation, driver: SimDriver) => Promise<void>;

export interface DriverWorld {
  readonly log: EventLog;
  readonly checks: Checks;
  readonly faults: FaultPlan | undefined;
  readonly gcsAddress: string;
  process(kind: SimProcess["kind"], host: string, machine: string, expectedErrors?: readonly RegExp[]): SimProcess;
}

export type DriverState = "starting" | "running" | "done" | "lost" | "ended";

const connectAttempts = 30;

export class SimDriver {
  process: SimProcess | undefined;
  user: UserThread | undefined;
  core: CoreWorker | undefined;
  started: StartedDriver | undefined;
  /** "lost": its process was killed, or its raylet died. */
  state: DriverState = "starting";
  /** What main is about, for the message when it does not end. */
  readonly doing = new Set<string>();
  private readonly over: Deferred<void> = deferred();
  private readonly gone: Deferred<void> = deferred();

  constructor(
    readonly name: string,
    readonly machine: Machine,
    private readonly namespace: string | undefined,
    private readonly main: DriverMain,
    private readonly world: DriverWorld,
  ) {}

  /** Nothing more is to be expected of main. */
  get settled(): boolean {
    return this.state === "done" || this.state === "lost" || this.state === "ended";
  }

  async start(): Promise<void> {
    const { world } = this;
    const process = world.process("driver", this.name, this.machine.name, [/^the GCS/]);
    this.process = process;
    const user = new UserThread(
      process,
      world.log,
      world.checks,
      (code) => this.crash(`exit ${code}`),
      (why) => this.crash(why),
    );
    this.user = user;
    for (let attempt = 1; this.started === undefined; attempt++) {
      try {
        this.started = await this.connect(process, user);
      } catch (error) {
        world.log.note(this.name, `cannot connect: ${messageOf(error)}`);
        if (attempt >= connectAttempts) {
          world.log.violated(`driver ${this.name} could not connect in ${attempt} attempts: ${messageOf(error)}`);
          this.crash("cannot connect");
          return;
        }
        await new Promise<void>((resolve) => void process.clock.after(1000, resolve));
      }
    }
    if (this.state !== "starting") return;
    this.state = "running";
    const { started } = this;
    world.log.note(this.name, `driver of job ${started.jobId} on node ${started.node.nodeId}`);
    this.core = started.core;
    const arena = this.machine.node?.arena;
    if (arena === undefined || started.arena.path !== arena.path) {
      world.log.violated(`driver ${this.name} was attached to arena ${started.arena.path}`);
      return;
    }
    user.attach(started.core, { workerId: started.workerId, nodeId: started.node.nodeId, endpoint: started.address, arena: mappingOf(arena) });
    user.joinJob(started.jobId, started.namespace);
    const activation = new Activation(user, 0, started.workerId, 0);
    try {
      await this.main(activation, this);
    } catch (error) {
      if (this.state === "running")
        world.log.violated(`driver ${this.name}: ${error instanceof Error ? (error.stack ?? error.message) : String(error)}`);
    }
    activation.end();
    if (this.state === "running") this.state = "done";
    this.over.resolve();
  }

  /** Says goodbye to the cluster and ends. */
  async stop(): Promise<void> {
    if (this.state !== "done" || this.started === undefined) return;
    await Promise.race([this.started.stop(), this.gone.promise]);
    if (this.process?.alive !== true) return; // its raylet died in that very moment
    this.state = "ended";
    this.process?.kill("done", { lingerMs: 60 });
  }

  crash(why: string): void {
    if (this.settled && this.state !== "done") return;
    this.state = "lost";
    this.process?.kill(why);
  }
  processEnded(): void {
    this.gone.resolve();
    if (this.state !== "ended") this.state = "lost";
  }

  private connect(process: SimProcess, user: UserThread): Promise<StartedDriver> {
    const { world, machine } = this;
    return startDriver({
      transport: process.transport,
      clock: process.clock,
      random: process.random,
      logger: process.logger,
      metrics: process.metrics,
      token: undefined,
      faults: world.faults,
      version: trayVersion,
      nodeVersion,
      gcsAddress: world.gcsAddress,
      hostname: machine.name,
      pid: process.pid,
      namespace: this.namespace,
      jobName: this.name,
      metadata: {},
      entrypoint: this.name,
      workingDir: "",
      submissionId: "",
      user: user.port,
      claims: user.claims,
      openArena: (path) => {
        const arena = machine.node?.arena;
        if (arena === undefined || arena.path !== path) throw new Error(`no arena ${path} on ${machine.name}`);
        return arena;
      },
      process: { killSelf: (why) => this.crash(why), exit: (code) => this.crash(`exit ${code}`) },
      onRayletLost: (error) => {
        world.log.note(this.name, `lost its raylet: ${error.message}`);
        this.state = "lost";
        user.lost({ code: error.code, message: error.message, hint: "", detailsJson: "", cause: Buffer.alloc(0) });
        // A user's program ends with the error; what it had asked for fails, too.
        process.clock.after(1, () => process.kill("its raylet is gone"));
      },
      onBug: process.onBug,
    });
  }
}
