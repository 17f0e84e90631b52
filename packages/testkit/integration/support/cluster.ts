// TestCluster: several nodes on this machine, started and stopped by the command line as a user would.
//
// Owns:     a data directory, a token, the nodes started in it, everything that carries its mark.
// Not mine: what the daemons do; the driver's side (drivers/).
//
// Invariants
//   T1. It never touches the user's own clusters: data directory, token and ports are its own.
//   T2. stop() leaves no process, no listening socket, no file in /dev/shm and no spilled object, or throws naming what is left.
//   T3. destroy() ends everything that carries the mark, whatever state a failed test left it in.
import { randomBytes } from "node:crypto";
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Program, type ProgramOptions, type Result, runNode, trayCommand } from "./program.js";
import type { Listing, Status, StatusNode, WorkerRow } from "./shapes.js";
import { accepts, type Leftover, listeningSockets, markedProcesses, markVariable, residueBelow, sharedMemoryOf } from "./system.js";
import { until } from "./until.js";

export interface NodeOptions {
  readonly name: string;
  /** Default 1. */
  readonly cpus?: number;
  readonly resources?: Readonly<Record<string, number>>;
  /** Default 200MiB. */
  readonly objectStore?: string;
  /** A data directory of its own instead of the head's. */
  readonly ownDataDir?: boolean;
  readonly extra?: readonly string[];
  /** Of the command that starts it. */
  readonly cwd?: string;
}

interface Started {
  gcsAddress: string;
  dashboardUrl: string | null;
  /** Where --metrics-port was given. */
  metricsUrl: string | null;
  nodeId: string;
  sessionDir: string;
}

export class TestCluster {
  readonly mark = randomBytes(8).toString("hex");
  readonly dir = mkdtempSync(join(tmpdir(), "tray-it-"));
  readonly dataDir = join(this.dir, "data");
  readonly tokenFile = join(this.dir, "token");
  readonly token = randomBytes(32).toString("hex");
  gcsAddress = "";
  dashboardUrl = "";
  sessionDir = "";
  private readonly dataDirs = [this.dataDir];
  private stopped = false;

  private constructor() {
    writeFileSync(this.tokenFile, this.token, { mode: 0o600 });
    mkdirSync(this.dataDir);
  }

  /** A data directory and a token, with nothing running in them yet. */
  static empty(): TestCluster {
    return new TestCluster();
  }

  /** A head and nodes that joined it; resolves when all of them serve. */
  static async start(head: Partial<NodeOptions>, ...nodes: NodeOptions[]): Promise<TestCluster> {
    const cluster = new TestCluster();
    try {
      await cluster.startHead({ name: "head", ...head });
      await Promise.all(nodes.map((node) => cluster.addNode(node)));
      return cluster;
    } catch (error) {
      await cluster.destroy();
      throw error;
    }
  }

  async startHead(options: NodeOptions): Promise<Started> {
    const flags = ["--head", "--port", "0", "--dashboard-port", "0", "--node-ip", "127.0.0.1", ...nodeFlags(options)];
    const started = await this.startNode(this.dataDir, flags, options);
    this.gcsAddress = started.gcsAddress;
    this.dashboardUrl = started.dashboardUrl ?? "";
    this.sessionDir = started.sessionDir;
    return started;
  }

  async addNode(options: NodeOptions): Promise<Started> {
    const dataDir = options.ownDataDir === true ? join(this.dir, `data-${options.name}`) : this.dataDir;
    if (options.ownDataDir === true) this.dataDirs.push(dataDir);
    return await this.startNode(dataDir, ["--address", this.gcsAddress, ...nodeFlags(options)], options);
  }

  private async startNode(dataDir: string, flags: readonly string[], { cwd }: NodeOptions): Promise<Started> {
    return json<Started>(await this.trayWith(cwd === undefined ? {} : { cwd }, "start", ...flags, "--data-dir", dataDir, "-o", "json"), "tray start");
  }

  /** The environment of commands and drivers of this cluster. */
  get env(): Record<string, string | undefined> {
    return {
      [markVariable]: this.mark,
      TRAY_AUTH_TOKEN_PATH: this.tokenFile,
      TRAY_AUTH_TOKEN: undefined,
      TRAY_DATA_DIR: this.dataDir,
      TRAY_ADDRESS: this.gcsAddress === "" ? undefined : this.gcsAddress,
      NO_COLOR: "1",
    };
  }

  /** Runs a command of the CLI to its end. */
  tray(...args: string[]): Promise<Result> {
    return this.trayWith({}, ...args);
  }

  trayWith(options: ProgramOptions, ...args: string[]): Promise<Result> {
    return runNode([trayCommand, ...args], { ...options, env: { ...this.commandEnv(), ...options.env } });
  }

  /** Starts a command of the CLI without awaiting its end. */
  trayProgram(...args: string[]): Program {
    return new Program([trayCommand, ...args], { env: this.commandEnv() });
  }

  /** Starts a driver (or any other program of Node) that is to use this cluster. */
  driver(file: string, args: readonly string[] = [], options: ProgramOptions = {}): Program {
    return new Program(["--expose-gc", file, ...args], { ...options, env: { ...this.env, ...options.env } });
  }

  /** Commands find the cluster by its data directory, as they do for a user; a start must not read where to join from the environment. */
  private commandEnv(): Record<string, string | undefined> {
    return { ...this.env, TRAY_ADDRESS: undefined };
  }

  async status(): Promise<Status> {
    return json<Status>(await this.tray("status", "-o", "json"), "tray status");
  }

  async workers(): Promise<WorkerRow[]> {
    return json<Listing<WorkerRow>>(await this.tray("list", "workers", "-o", "json"), "tray list workers").items;
  }

  async node(name: string): Promise<StatusNode> {
    const node = (await this.status()).nodes.find((n) => n.nodeName === name && n.state === "ALIVE");
    if (node === undefined) throw new Error(`no living node is called ${name}`);
    return node;
  }

  /** An authorised request to the dashboard. */
  async http(method: string, path: string, body?: unknown): Promise<{ status: number; text: string }> {
    const response = await fetch(this.dashboardUrl + path, {
      method,
      headers: { Authorization: `Bearer ${this.token}`, "Content-Type": "application/json", Connection: "close" },
      ...(body === undefined ? {} : { body: JSON.stringify(body) }),
    });
    return { status: response.status, text: await response.text() };
  }

  /** T2. @returns how many processes `tray stop` had to kill: 0 where all went well. */
  async stop(): Promise<number> {
    const sockets = listeningSockets(markedProcesses(this.mark).map((p) => p.pid));
    let killed = 0;
    for (const dataDir of this.dataDirs.toReversed())
      killed += json<{ killed: number }>(await this.tray("stop", "--data-dir", dataDir, "-o", "json"), "tray stop").killed;
    const left = await this.leftovers(sockets);
    if (left.length > 0) throw new Error(`left behind by the cluster in ${this.dir}:\n  ${left.join("\n  ")}`);
    this.stopped = true;
    return killed;
  }

  private async leftovers(sockets: readonly string[]): Promise<string[]> {
    const stillOpen = await Promise.all(sockets.map(async (address) => ((await accepts(address)) ? [`socket ${address}`] : [])));
    return [
      ...markedProcesses(this.mark).map((p: Leftover) => `process ${p.pid}: ${p.command}`),
      ...stillOpen.flat(),
      ...sharedMemoryOf(this.dataDirs).map((name) => `/dev/shm/${name}`),
      ...this.dataDirs.flatMap(residueBelow),
    ];
  }

  /** T3. */
  async destroy(): Promise<void> {
    if (!this.stopped) {
      await until("the processes of a failed test to end", () => {
        const left = markedProcesses(this.mark);
        for (const { pid } of left) killQuietly(pid);
        return left.length === 0;
      });
      for (const name of sharedMemoryOf(this.dataDirs)) rmSync(join("/dev/shm", name), { recursive: true, force: true });
    }
    rmSync(this.dir, { recursive: true, force: true });
  }
}

function nodeFlags(options: NodeOptions): string[] {
  return [
    "--node-name",
    options.name,
    "--num-cpus",
    String(options.cpus ?? 1),
    "--object-store-memory",
    options.objectStore ?? "200MiB",
    ...(options.resources === undefined ? [] : ["--resources", JSON.stringify(options.resources)]),
    ...(options.extra ?? []),
  ];
}

export function json<T>(result: Result, what: string): T {
  if (result.code !== 0) throw new Error(`${what} ended with ${result.code ?? result.signal}\n${result.stderr}${result.stdout}`);
  return JSON.parse(result.stdout) as T;
}

export function killQuietly(pid: number): void {
  try {
    process.kill(pid, "SIGKILL");
  } catch {
    // It has ended meanwhile.
  }
}
