// How a worker's core comes to be: open an endpoint, register at the raylet that spawned it.
import { type Clock, type Logger, type Metrics, type Random, TrayError } from "@tray/common";
import { parseSystemConfig } from "@tray/config";
import { type NodeInfo, RayletService } from "@tray/protocol";
import { Endpoint, type FaultPlan, type Transport } from "@tray/rpc";
import { CoreWorker } from "../core/core-worker.js";
import { GcsLink } from "../core/gcs-link.js";
import type { ArenaWriter } from "../core/object-writer.js";
import type { ToUser } from "../thread/to-user.js";

export interface WorkerOptions {
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
  readonly workerId: string;
  readonly nodeId: string;
  readonly startToken: string;
  readonly rayletAddress: string;
  readonly gcsAddress: string;
  readonly bindHost: string;
  readonly pid: number;
  readonly user: ToUser;
  readonly claims: Int32Array;
  readonly openArena: (path: string, capacity: number) => ArenaWriter;
  readonly process: { killSelf(reason: string): void; exit(code: number): void };
}

export interface StartedWorker {
  readonly core: CoreWorker;
  readonly endpoint: Endpoint;
  readonly node: NodeInfo;
  readonly address: string;
  readonly arena: { readonly path: string; readonly capacity: number };
  readonly systemConfigJson: string;
  readonly sessionDir: string;
}

export async function startWorker(o: WorkerOptions): Promise<StartedWorker> {
  const endpoint = new Endpoint({
    transport: o.transport,
    clock: o.clock,
    random: o.random,
    logger: o.logger,
    metrics: o.metrics,
    token: o.token,
    faults: o.faults,
    onBug: o.onBug,
    self: { kind: "worker", id: o.workerId, incarnation: o.workerId, version: o.version, nodeVersion: o.nodeVersion },
  });
  const address = await endpoint.listen(`${o.bindHost}:0`);
  const raylet = endpoint.connect(o.rayletAddress, { reconnect: { giveUpMs: 5000, refusedMeansGone: true } });
  raylet.onLost((error) => o.process.killSelf(`the raylet is gone: ${error.message}`)); // no worker outlives its raylet
  await raylet.opened();
  const gcs = new GcsLink(endpoint, o.gcsAddress, (fn) => o.clock.soon(fn), o.logger);
  const core = new CoreWorker({
    endpoint,
    clock: o.clock,
    logger: o.logger,
    user: o.user,
    kind: "worker",
    self: { workerId: o.workerId, nodeId: o.nodeId, endpoint: address },
    rayletAddress: o.rayletAddress,
    raylet,
    gcs,
    claims: o.claims,
    job: undefined,
    process: o.process,
  });
  const registered = await raylet
    .client(RayletService)
    .registerWorker({ workerId: o.workerId, pid: o.pid, kind: "worker", endpoint: address, startToken: o.startToken, jobId: "" }, { retry: true });
  const { node } = registered;
  if (node === undefined) throw new TrayError("SYSTEM", "the raylet registered this worker without telling its node");
  core.attached(
    node,
    o.openArena(registered.arenaPath, registered.arenaCapacity),
    parseSystemConfig(JSON.parse(registered.systemConfigJson || "{}") as Record<string, unknown>),
  );
  return {
    core,
    endpoint,
    node,
    address,
    arena: { path: registered.arenaPath, capacity: registered.arenaCapacity },
    systemConfigJson: registered.systemConfigJson,
    sessionDir: registered.sessionDir,
  };
}
