// A node's raylet as a process: builds the real transport, arena, bulk socket and spawners around the Raylet class.
import { isTrayError, type Logger, messageOf, Metrics, systemClock, systemRandom, TrayError } from "@tray/common";
import { changedSettings, parseSystemConfig, type SystemConfig } from "@tray/config";
import { BulkClient, BulkServer, type BulkSource, LmdbSpillStore, openS3, S3SpillStore, SharedArena, type SpillStore } from "@tray/object-store";
import {
  daemonExitCodes,
  faultPlanVariable,
  newNodeId,
  type ProcessAddress,
  type RayletProcessConfig,
  toFixedPoint,
  trayVersion,
} from "@tray/protocol";
import {
  arenaPath,
  detectCpus,
  detectGpus,
  detectMemory,
  divideMemory,
  FileLogStore,
  makeSpillDirectory,
  MetricsServer,
  PidRecord,
  processExists,
  ProcessSpawners,
  procMemoryProbe,
  Raylet,
  removeDeadArenas,
  removeDeadSpills,
} from "@tray/raylet";
import { processesUnder, readTlsDir, signalProcess, type TlsIdentity } from "@tray/node-launcher";
import { Endpoint, FaultPlan, GrpcTransport } from "@tray/rpc";
import { mkdirSync, renameSync, rmSync, writeFileSync } from "node:fs";
import { hostname } from "node:os";
import { dirname, join } from "node:path";
import { exitCodeOf, openLogger, readProcessConfig, readTokenFile, watchProcess } from "./shared/daemon.js";

const logBytesMax = 64 * 2 ** 20;
/** A close that takes longer than this is cut short: whoever stops us waits. */
const closeMaxMs = 20_000;

async function main(): Promise<void> {
  const config = readProcessConfig<RayletProcessConfig>();
  const logger = openLogger(config);
  // Whoever starts us reads this line; the log has it too.
  const fail = (error: unknown): never => {
    logger.error("the raylet could not start", {
      error,
      code: isTrayError(error) ? error.code : undefined,
      hint: isTrayError(error) ? error.hint : undefined,
    });
    const hint = isTrayError(error) && error.hint !== undefined ? `\n${error.hint}` : "";
    process.stderr.write(`${messageOf(error)}${hint}\n`);
    process.exit(codeOf(error));
  };
  process.on("uncaughtException", (error) => {
    logger.error("a bug ended the raylet", { error });
    process.exit(daemonExitCodes.internal); // workers read the end of their pipes and follow
  });
  // What this process leaves outside of itself, in the order in which it was made.
  const leftovers: (() => void)[] = [];
  const cleanUp = (): void => {
    for (let remove = leftovers.pop(); remove !== undefined; remove = leftovers.pop()) remove();
  };
  await start(config, logger, leftovers, cleanUp).catch((error: unknown) => {
    cleanUp();
    fail(error);
  });
}

async function start(config: RayletProcessConfig, logger: Logger, leftovers: (() => void)[], cleanUp: () => void): Promise<void> {
  const systemConfig = parseSystemConfig(config.systemConfig);
  const nodeId = newNodeId(systemRandom);
  const uid = process.getuid?.() ?? 0;
  const logsDir = join(config.sessionDir, "logs");
  mkdirSync(dirname(config.addressFile), { recursive: true });

  const pids = new PidRecord(`${config.addressFile}.pids`, process.pid);
  const killed = pids.takeOver();
  if (killed === undefined) throw new TrayError("CONFLICT", `another raylet runs from ${config.addressFile}`, { hint: "stop it first (tray stop)" });
  leftovers.push(() => pids.close());
  const configDir = join(dirname(config.addressFile), "run");
  const orphans = processesUnder(configDir); // of a predecessor: nobody else has its configuration there
  for (const orphan of orphans) signalProcess(orphan.pid, "SIGKILL");
  rmSync(configDir, { recursive: true, force: true });
  leftovers.push(() => rmSync(configDir, { recursive: true, force: true }));
  const arenas = removeDeadArenas(config.shmDir, uid);
  if (killed > 0 || orphans.length > 0 || arenas.length > 0)
    logger.warn("removed what a crashed raylet left", { processes: killed + orphans.length, arenas });

  const memoryBytes = detectMemory();
  const divided = divideMemory(memoryBytes, config.shmDir);
  const total = toFixedPoint({
    CPU: detectCpus(),
    GPU: detectGpus(),
    memory: divided.heap,
    ...config.resources,
    [`node:${config.advertiseHost}`]: 1,
    ...(config.isHead ? { "node:__internal_head__": 1 } : {}),
  });
  const arena = SharedArena.create(arenaPath(config.shmDir, uid, nodeId, process.pid), config.objectStoreBytes ?? divided.arena);
  leftovers.push(() => arena.unlink());
  process.once("exit", () => arena.unlink()); // however we end

  const spill = await openSpillStore(config, systemConfig, nodeId, uid, leftovers, logger);

  const token = readTokenFile(config.tokenFile);
  const { tlsDir } = config;
  const tls = tlsDir === undefined ? undefined : readTlsDir(tlsDir, systemClock.wallMs());
  const plan = config.faults ?? process.env[faultPlanVariable];
  const metrics = new Metrics();
  const endpoint = new Endpoint({
    transport: new GrpcTransport({ tls }),
    clock: systemClock,
    random: systemRandom,
    logger,
    metrics,
    self: { kind: "raylet", id: nodeId, incarnation: systemRandom.hex(8), version: trayVersion, nodeVersion: process.versions.node },
    token,
    faults: plan === undefined || plan === "" ? undefined : FaultPlan.parse(plan),
  });
  const common = {
    gcsAddress: config.gcsAddress,
    bindHost: config.bindHost,
    advertiseHost: config.advertiseHost,
    sessionDir: config.sessionDir,
    logLevel: config.logLevel,
    watchPid: process.pid,
    nodeId,
  };
  const secrets = {
    ...(config.tokenFile === undefined ? {} : { tokenFile: config.tokenFile }),
    ...(tlsDir === undefined ? {} : { tlsDir }),
    ...(config.faults === undefined ? {} : { faults: config.faults }),
  };
  const spawners = new ProcessSpawners({
    clock: systemClock,
    env: process.env,
    pids,
    configDir,
    logsDir,
    logBytesMax,
    workerCommand: config.workerCommand,
    supervisorCommand: config.jobSupervisorCommand,
    worker: { ...common, ...secrets, sessionName: config.sessionName, systemConfig: changedSettings(systemConfig) },
    supervisor: { ...common, ...secrets },
  });

  let finish: (code: number) => void = () => undefined;
  const raylet = new Raylet({
    endpoint,
    clock: systemClock,
    random: systemRandom,
    logger,
    metrics,
    config: systemConfig,
    node: {
      nodeId,
      name: config.nodeName ?? `${hostname()}-${nodeId.slice(0, 4)}`,
      host: config.advertiseHost,
      hostname: hostname(),
      isHead: config.isHead,
      labels: config.labels,
      total,
      sessionDir: config.sessionDir,
      pid: process.pid,
    },
    listen: `${config.bindHost}:${config.port}`,
    gcsAddress: config.gcsAddress,
    arena,
    spill,
    bulk: bulkOf(config, systemConfig, token ?? "", tls, logger),
    workers: spawners,
    supervisors: config.jobSupervisorCommand === undefined ? undefined : spawners.supervisors,
    logs: new FileLogStore(logsDir),
    probeProcess: processExists,
    memory: procMemoryProbe(memoryBytes),
    onEnded: ({ error }) => finish(error === undefined ? daemonExitCodes.ok : codeOf(error)),
  });
  finish = (code) => {
    cleanUp();
    logger.info("the raylet has ended", { code });
    process.exit(code);
  };
  const stop = (why: string): void => {
    systemClock.after(closeMaxMs, () => finish(daemonExitCodes.internal));
    raylet.end(why);
  };
  process.on("SIGTERM", () => stop("SIGTERM"));
  process.on("SIGINT", () => stop("SIGINT"));
  watchProcess(config.watchPid, () => stop(`process ${config.watchPid}, to which this node belongs, ended`));

  let address: string;
  let metricsUrl: string | undefined;
  try {
    metricsUrl = await serveMetrics(config, metrics, nodeId, token, tls, leftovers);
    address = await raylet.start();
  } catch (error) {
    await raylet.close("it could not start");
    throw error;
  }
  const record: ProcessAddress = {
    pid: process.pid,
    address,
    startedAt: systemClock.wallMs(),
    nodeId,
    ...(metricsUrl === undefined ? {} : { metricsUrl }),
  };
  leftovers.push(() => rmSync(config.addressFile, { force: true }));
  writeFileSync(`${config.addressFile}.new`, `${JSON.stringify(record)}\n`, { mode: 0o600 });
  renameSync(`${config.addressFile}.new`, config.addressFile);
  logger.info("the raylet serves", { nodeId, address, arena: arena.path, metricsUrl });
}

/** @returns where, or undefined when nobody asked for it. */
async function serveMetrics(
  config: RayletProcessConfig,
  metrics: Metrics,
  nodeId: string,
  token: string | undefined,
  tls: TlsIdentity | undefined,
  leftovers: (() => void)[],
): Promise<string | undefined> {
  if (config.metricsPort === undefined) return undefined;
  metrics.gauge("process_resident_memory_bytes", () => process.memoryUsage.rss());
  metrics.gauge("process_cpu_seconds_total", () => process.cpuUsage().user / 1e6 + process.cpuUsage().system / 1e6);
  metrics.gauge("process_start_time_seconds", () => performance.timeOrigin / 1000);
  const server = new MetricsServer({ metrics, token, tls, labels: { node_id: nodeId, node_name: config.nodeName ?? "" } });
  leftovers.push(() => server.close());
  const port = await server.listen(config.bindHost, config.metricsPort);
  return `${tls === undefined ? "http" : "https"}://${config.advertiseHost}:${port}/metrics`;
}

/** Removes what dead raylets left where this one is to spill, and makes its own place there. */
async function openSpillStore(
  config: RayletProcessConfig,
  systemConfig: SystemConfig,
  nodeId: string,
  uid: number,
  leftovers: (() => void)[],
  logger: Logger,
): Promise<SpillStore> {
  const [first = "", ...others] = config.spillDirs;
  if (first.startsWith("s3://")) {
    if (others.length > 0) throw new TrayError("CONFIG", "objects are spilled either to one s3:// URI or to directories");
    return new S3SpillStore({ bucket: await openS3(first, nodeId), logger });
  }
  const directories = config.spillDirs.map((directory) => {
    const dead = removeDeadSpills(directory, uid);
    if (dead.length > 0) logger.warn("removed what crashed raylets had spilled", { dead });
    const own = makeSpillDirectory(directory, uid, nodeId, process.pid);
    const remove = (): void => rmSync(own, { recursive: true, force: true });
    leftovers.push(remove);
    process.once("exit", remove); // however we end
    return own;
  });
  return new LmdbSpillStore({ directories, diskFullRatio: systemConfig.localFsCapacityThreshold, logger });
}

function bulkOf(
  config: RayletProcessConfig,
  { objectPullTimeout }: SystemConfig,
  token: string,
  tls: TlsIdentity | undefined,
  logger: Logger,
): ConstructorParameters<typeof Raylet>[0]["bulk"] {
  let server: BulkServer | undefined;
  return {
    // One attempt: what breaks off goes on where it stopped, from there or from another copy, as the raylet sees fit.
    client: new BulkClient({ clock: systemClock, token, stallTimeoutMs: objectPullTimeout, attempts: 1, ...(tls === undefined ? {} : { tls }) }),
    serve: async (source: BulkSource) => {
      server = new BulkServer({
        clock: systemClock,
        source,
        token,
        logger,
        ...(tls === undefined ? {} : { tls: { ...tls, requestCert: true, rejectUnauthorized: true } }),
      });
      const port = await server.listen(config.bindHost, config.bulkPort).catch((error: unknown) => {
        throw new TrayError("CONFLICT", `the bulk port ${config.bindHost}:${config.bulkPort} cannot be bound: ${messageOf(error)}`);
      });
      return `${config.advertiseHost}:${port}`;
    },
    close: async () => server?.close(),
  };
}

function codeOf(error: unknown): number {
  if (isTrayError(error, "OBJECT_STORE_FULL")) return daemonExitCodes.config; // the node's configuration does not fit this machine
  if (isTrayError(error, "NODE_DIED")) return daemonExitCodes.conflict;
  return exitCodeOf(error);
}

void main();
