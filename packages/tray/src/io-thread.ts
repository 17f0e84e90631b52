// Entry of the I/O thread of drivers and workers: composes the core over the real transport.
import { createLogger, isTrayError, type Logger, messageOf, Metrics, parseSize, sleep, systemClock, systemRandom, TrayError } from "@tray/common";
import {
  type Connection,
  dispatchToCore,
  type IoThreadData,
  RecordReader,
  sayFirstWord,
  startDriver,
  startWorker,
  ThreadChannel,
  type ToCore,
  ToUserSender,
} from "@tray/core-worker";
import { parseSystemConfig } from "@tray/config";
import {
  findLocalCluster,
  killBelongings,
  type LocalClusterHandle,
  readTlsDir,
  readToken,
  secretsFor,
  startLocalCluster,
  type TlsIdentity,
  tlsDirOf,
  tokenSource,
} from "@tray/node-launcher";
import { SharedArena } from "@tray/object-store";
import type { WorkerProcessConfig } from "@tray/protocol";
import { FaultPlan, GrpcTransport } from "@tray/rpc";
import { createWriteStream } from "node:fs";
import { homedir } from "node:os";
import { workerData } from "node:worker_threads";
import type { DriverTask } from "./driver.js";
import { version } from "./version.js";

const data = workerData as IoThreadData;
const reader = new RecordReader();
let core: ToCore | undefined;

const channel = new ThreadChannel(data.ports, (memory, start) => dispatchToCore(reader, memory, start, core as ToCore), {
  mayBlock: false,
  clock: systemClock,
});
const user = new ToUserSender(channel);

/** Workers: the configuration file by which processes that user code started are known. */
let belongings: string | undefined;
const processPort = {
  killSelf: (reason: string): void => {
    logger.warn("ending this process", { reason });
    if (belongings !== undefined) killBelongings(process.pid, belongings); // where the raylet is gone nobody else does
    process.kill(process.pid, "SIGKILL");
  },
  exit: (code: number): void => user.exit(code),
};
let logger: Logger = createLogger({ level: "warn", write: (line) => void process.stderr.write(line), wallMs: () => systemClock.wallMs() });

function begin(made: ToCore): void {
  core = made;
  channel.start();
}

const maxInlineBytes = 100 * 1024;
const lastLogsMs = 100;

async function driver(task: DriverTask): Promise<void> {
  const { options, facts } = task;
  const { gcsAddress, token, tls, local } = await findCluster(task);
  const started = await startDriver({
    transport: new GrpcTransport({ tls }),
    clock: systemClock,
    random: systemRandom,
    logger,
    metrics: new Metrics(),
    token,
    faults: faultsOf(facts.env["TRAY_RPC_FAULTS"]),
    version,
    nodeVersion: facts.nodeVersion,
    gcsAddress,
    hostname: facts.hostname,
    pid: facts.pid,
    namespace: options.namespace,
    jobName: options.jobName ?? "",
    metadata: options.metadata ?? {},
    entrypoint: facts.entrypoint,
    workingDir: facts.cwd,
    submissionId: facts.env["TRAY_JOB_SUBMISSION_ID"] ?? "",
    user,
    claims: data.claims,
    openArena: (path, capacity) => SharedArena.open(path, capacity),
    process: processPort,
    onRayletLost: (error) => user.lost({ code: error.code, message: error.message, hint: error.hint ?? "", detailsJson: "", cause: Buffer.alloc(0) }),
  }).catch(async (error: unknown) => {
    await local?.stop();
    throw error;
  });
  const stop = async (): Promise<void> => {
    // What the last tasks printed is on its way: raylets publish lines every few dozen milliseconds.
    if (options.logToDriver !== false) await sleep(systemClock, lastLogsMs);
    await started.stop();
    await local?.stop();
  };
  begin(withShutdown(started.core, stop));
  data.control.on("message", () => process.exit(0)); // ends this thread only
  sayFirstWord(data, {
    ok: true,
    connection: connectionOf(started, gcsAddress),
    arena: started.arena,
    extra: { dashboardUrl: local?.dashboardUrl, sessionDir: started.node.sessionDir },
  });
}

async function worker(task: {
  config: WorkerProcessConfig;
  token: string | undefined;
  facts: { pid: number; nodeVersion: string; configFile: string };
  faults: string | undefined;
}): Promise<void> {
  const { config } = task;
  belongings = task.facts.configFile;
  const log = createWriteStream(config.logFile, { flags: "a" });
  logger = createLogger({
    level: config.logLevel,
    write: (line) => void log.write(line),
    wallMs: () => systemClock.wallMs(),
    fields: { workerId: config.workerId },
  });
  const started = await startWorker({
    transport: new GrpcTransport({ tls: tlsIn(config.tlsDir) }),
    clock: systemClock,
    random: systemRandom,
    logger,
    metrics: new Metrics(),
    token: task.token,
    faults: faultsOf(task.faults),
    version,
    nodeVersion: task.facts.nodeVersion,
    workerId: config.workerId,
    nodeId: config.nodeId,
    startToken: config.startToken,
    rayletAddress: config.rayletAddress,
    gcsAddress: config.gcsAddress,
    bindHost: config.bindHost,
    pid: task.facts.pid,
    user,
    claims: data.claims,
    openArena: (path, capacity) => SharedArena.open(path, capacity),
    process: processPort,
  });
  begin(
    withDying(started.core, () => {
      started.core.executor.dying();
      // One turn for the frames to reach the socket, then the user's thread may end the process.
      systemClock.after(5, () => {
        Atomics.store(data.state, 1, 1);
        Atomics.notify(data.state, 1);
      });
    }),
  );
  sayFirstWord(data, {
    ok: true,
    connection: connectionOf({ ...started, workerId: config.workerId, jobId: "", namespace: "" }, config.gcsAddress),
    arena: started.arena,
    extra: {},
  });
}

function connectionOf(
  o: { jobId: string; namespace: string; workerId: string; node: { nodeId: string; sessionDir: string }; address: string; systemConfigJson: string },
  gcsAddress: string,
): Connection {
  const config = (o.systemConfigJson === "" ? {} : JSON.parse(o.systemConfigJson)) as { maxDirectCallObjectSize?: number };
  return {
    jobId: o.jobId,
    namespace: o.namespace,
    workerId: o.workerId,
    nodeId: o.node.nodeId,
    endpoint: o.address,
    gcsAddress,
    sessionDir: o.node.sessionDir,
    maxInlineBytes: typeof config.maxDirectCallObjectSize === "number" ? config.maxDirectCallObjectSize : maxInlineBytes,
  };
}

/** The core, with one more call: the driver's end. */
function withShutdown(target: ToCore, stop: () => Promise<void>): ToCore {
  return over(target, (requestId, method) => {
    if (method !== "shutdown") return false;
    void stop().then(
      () => user.reply(requestId, true, "null"),
      (error: unknown) => user.reply(requestId, false, JSON.stringify({ code: "SYSTEM", message: messageOf(error), hint: "", detailsJson: "" })),
    );
    return true;
  });
}

function withDying(target: ToCore, dying: () => void): ToCore {
  return over(target, (_requestId, method) => {
    if (method !== "dying") return false;
    dying();
    return true;
  });
}

function over(target: ToCore, call: (requestId: number, method: string) => boolean): ToCore {
  return new Proxy(target, {
    get(object, name) {
      if (name === "call") {
        return (requestId: number, method: string, json: string) => {
          if (!call(requestId, method)) object.call(requestId, method, json);
        };
      }
      const value = object[name as keyof ToCore] as (...args: unknown[]) => unknown;
      return value.bind(object);
    },
  });
}

async function findCluster(
  task: DriverTask,
): Promise<{ gcsAddress: string; token: string | undefined; tls: TlsIdentity | undefined; local: LocalClusterHandle | undefined }> {
  const { options, facts } = task;
  const dataDir = facts.env["TRAY_DATA_DIR"] ?? "/tmp/tray";
  const wanted = options.address ?? facts.env["TRAY_ADDRESS"] ?? "";
  if (wanted !== "local") {
    const found = wanted === "" || wanted === "auto" ? findLocalCluster(dataDir) : undefined;
    const gcsAddress = found?.gcsAddress ?? (wanted === "auto" ? "" : wanted);
    if (gcsAddress !== "") {
      checkAddress(gcsAddress);
      const known = found ?? secretsFor(dataDir, gcsAddress);
      const source = tokenSource({ env: facts.env, homeDir: homedir(), clusterTokenFile: known?.tokenFile });
      const tlsDir = tlsDirOf({ env: facts.env, cluster: known });
      return { gcsAddress, token: readToken(source), tls: tlsIn(tlsDir), local: undefined };
    }
    if (wanted === "auto") {
      throw new TrayError("CONNECTION", "no tray cluster runs on this machine", {
        hint: 'start one with: tray start --head   (or pass address: "local", or the address of a cluster)',
      });
    }
  }
  const { sessionHistoryMax, sessionHistoryAge } = parseSystemConfig(options.systemConfig ?? {});
  const local = await startLocalCluster({
    binDir: task.binDir,
    execPath: facts.execPath,
    env: facts.env,
    clock: systemClock,
    random: systemRandom,
    pid: facts.pid,
    dataDir,
    numCpus: options.numCpus,
    numGpus: options.numGpus,
    memoryBytes: options.memory === undefined ? undefined : parseSize(options.memory, "memory"),
    objectStoreBytes: options.objectStoreMemory === undefined ? undefined : parseSize(options.objectStoreMemory, "objectStoreMemory"),
    resources: options.resources,
    labels: options.labels,
    dashboard: options.dashboard,
    history: { sessionsMax: sessionHistoryMax, ageMaxMs: sessionHistoryAge },
    systemConfig: options.systemConfig,
  });
  return { gcsAddress: local.gcsAddress, token: local.token, tls: undefined, local }; // loopback alone
}

function checkAddress(address: string): void {
  if (!/^(\[[0-9a-fA-F:]+\]|[^:\s/]+):\d+$/.test(address)) {
    throw new TrayError("CONNECTION", `${JSON.stringify(address)} is not the address of a cluster`, {
      hint: 'addresses are "host:port" of a GCS, as tray start prints it; or "auto", or "local"',
    });
  }
}

/** Read where it is needed: a directory that is not right must fail with its own words. */
const tlsIn = (dir: string | undefined): TlsIdentity | undefined => (dir === undefined ? undefined : readTlsDir(dir, systemClock.wallMs()));

const faultsOf = (json: string | undefined): FaultPlan | undefined => (json === undefined || json === "" ? undefined : FaultPlan.parse(json));

const starting = data.task.kind === "driver" ? driver(data.task as unknown as DriverTask) : worker(data.task as never);
starting.catch((error: unknown) => {
  const failure = isTrayError(error)
    ? {
        code: error.code,
        message: error.message,
        hint: error.hint ?? "",
        detailsJson: error.details === undefined ? "" : JSON.stringify(error.details),
      }
    : { code: "SYSTEM", message: error instanceof Error ? (error.stack ?? error.message) : messageOf(error), hint: "", detailsJson: "" };
  sayFirstWord(data, { ok: false, failure });
});
