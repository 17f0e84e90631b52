// How a driver's core comes to be: find the cluster's nodes, attach to a raylet of this machine, register the job.
import { type Clock, type Logger, type Metrics, type Random, TrayError } from "@tray/common";
import { parseSystemConfig } from "@tray/config";
import { GcsService, type NodeInfo, NodeState, newWorkerId, RayletService, type WorkerId } from "@tray/protocol";
import { Endpoint, type FaultPlan, type Session, type Transport } from "@tray/rpc";
import { CoreWorker } from "../core/core-worker.js";
import { GcsLink } from "../core/gcs-link.js";
import type { ArenaWriter } from "../core/object-writer.js";
import type { ToUser } from "../thread/to-user.js";

export interface DriverOptions {
  readonly transport: Transport;
  readonly clock: Clock;
  readonly random: Random;
  readonly logger: Logger;
  readonly metrics: Metrics;
  readonly token: string | undefined;
  readonly faults?: FaultPlan | undefined;
  /** As of Endpoint. */
  readonly onBug?: ((error: unknown) => void) | undefined;
  readonly version: string;
  readonly nodeVersion: string;
  readonly gcsAddress: string;
  readonly hostname: string;
  readonly pid: number;
  readonly namespace: string | undefined;
  readonly jobName: string;
  readonly metadata: Readonly<Record<string, string>>;
  readonly entrypoint: string;
  readonly workingDir: string;
  readonly submissionId: string;
  readonly user: ToUser;
  readonly claims: Int32Array;
  readonly openArena: (path: string, capacity: number) => ArenaWriter;
  readonly process: { killSelf(reason: string): void; exit(code: number): void };
  /** The raylet that this driver is attached to is gone for good. */
  readonly onRayletLost: (error: TrayError) => void;
}

export interface StartedDriver {
  readonly core: CoreWorker;
  readonly endpoint: Endpoint;
  readonly jobId: string;
  readonly namespace: string;
  readonly workerId: string;
  readonly node: NodeInfo;
  readonly address: string;
  readonly arena: { readonly path: string; readonly capacity: number };
  readonly systemConfigJson: string;
  /** Ends the job and the connection. */
  stop(): Promise<void>;
}

const connectTimeoutMs = 10_000;

/** @throws CONNECTION, AUTHENTICATION, VERSION_MISMATCH with what to do. */
export async function startDriver(o: DriverOptions): Promise<StartedDriver> {
  const workerId = newWorkerId(o.random);
  const endpoint = new Endpoint({
    transport: o.transport,
    clock: o.clock,
    random: o.random,
    logger: o.logger,
    metrics: o.metrics,
    token: o.token,
    faults: o.faults,
    onBug: o.onBug,
    self: { kind: "driver", id: workerId, incarnation: workerId, version: o.version, nodeVersion: o.nodeVersion },
  });
  try {
    return await attach(o, endpoint, workerId);
  } catch (error) {
    await endpoint.close();
    throw error;
  }
}

async function attach(o: DriverOptions, endpoint: Endpoint, workerId: WorkerId): Promise<StartedDriver> {
  const first = endpoint.connect(o.gcsAddress, { reconnect: { giveUpMs: connectTimeoutMs, refusedMeansGone: true } });
  await first.opened();
  const { nodes } = await first.client(GcsService).listNodes({}, { retry: true });
  first.close("found the nodes");
  const node = nodeHere(nodes, o.hostname, o.gcsAddress);
  const address = await endpoint.listen(`${hostOf(node.raylet)}:0`);
  const gcs = new GcsLink(endpoint, o.gcsAddress, (fn) => o.clock.soon(fn), o.logger);
  const { job } = await gcs.client.registerJob(
    {
      job: {
        jobId: "",
        namespace: o.namespace ?? `anonymous-${workerId.slice(0, 12)}`,
        name: o.jobName,
        metadata: { ...o.metadata },
        driver: { workerId, nodeId: node.nodeId, endpoint: address },
        driverPid: o.pid,
        driverHost: o.hostname,
        entrypoint: o.entrypoint,
        finished: false,
        startWallMs: o.clock.wallMs(),
        endWallMs: 0,
        submissionId: o.submissionId,
        runtimeEnvJson: "",
        workingDir: o.workingDir,
      },
    },
    { retry: true },
  );
  if (job === undefined) throw new TrayError("SYSTEM", "the GCS registered a job without saying which");
  const raylet: Session = endpoint.connect(node.raylet, { reconnect: { giveUpMs: connectTimeoutMs, refusedMeansGone: true } });
  await raylet.opened();
  const core = new CoreWorker({
    endpoint,
    clock: o.clock,
    logger: o.logger,
    user: o.user,
    kind: "driver",
    self: { workerId, nodeId: node.nodeId, endpoint: address },
    rayletAddress: node.raylet,
    raylet,
    gcs,
    claims: o.claims,
    job: { jobId: job.jobId, namespace: job.namespace, workingDir: o.workingDir },
    process: o.process,
  });
  const registered = await raylet
    .client(RayletService)
    .registerWorker({ workerId, pid: o.pid, kind: "driver", endpoint: address, startToken: "", jobId: job.jobId }, { retry: true });
  core.attached(
    registered.node ?? node,
    o.openArena(registered.arenaPath, registered.arenaCapacity),
    parseSystemConfig(JSON.parse(registered.systemConfigJson || "{}") as Record<string, unknown>),
  );
  raylet.onLost(() => {
    o.onRayletLost(
      new TrayError(
        "CONNECTION",
        `the raylet of this driver's node (${node.nodeName || node.nodeId.slice(0, 8)} at ${node.raylet}) died; this driver cannot go on`,
        {
          hint: "start the node again (tray start) and run the driver again",
        },
      ),
    );
  });
  return {
    core,
    endpoint,
    jobId: job.jobId,
    namespace: job.namespace,
    workerId,
    node,
    address,
    arena: { path: registered.arenaPath, capacity: registered.arenaCapacity },
    systemConfigJson: registered.systemConfigJson,
    stop: async () => {
      core.close();
      await gcs.client
        .finishJob({ jobId: job.jobId, driverWorkerId: workerId, reason: "the driver is done" }, { timeoutMs: 2000, retry: true })
        .catch(() => undefined); // its raylet reports it then
      await endpoint.close();
    },
  };
}

/** A node of this machine, the head first. A driver must be where a raylet is: they share the arena. */
function nodeHere(nodes: readonly NodeInfo[], hostname: string, gcsAddress: string): NodeInfo {
  const here = nodes.filter((n) => n.state === NodeState.ALIVE && n.hostname === hostname);
  const node = here.find((n) => n.isHead) ?? here[0];
  if (node !== undefined) return node;
  const alive = nodes.filter((n) => n.state === NodeState.ALIVE).length;
  throw new TrayError(
    "CONNECTION",
    `the cluster at ${gcsAddress} has ${alive} live node${alive === 1 ? "" : "s"}, none of them on this machine (${hostname})`,
    {
      hint: `start one here: tray start --address ${gcsAddress}   (or submit the program: tray submit --address ${gcsAddress} -- node main.js)`,
    },
  );
}

const hostOf = (address: string): string => address.slice(0, address.lastIndexOf(":"));
