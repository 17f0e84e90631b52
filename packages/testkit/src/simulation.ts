// One simulation: a cluster, workloads and faults drawn from a seed, run to the end and judged.
//
//   1. GCS, machines, drivers start                       4. every driver's work is answered, within liveMs
//   2. drivers work; faults strike                        5. handles are gone: nothing is held anywhere
//   3. all faults end; what was down comes back           6. drivers end: nothing of their jobs is left
import { randomInt, SeededRandom } from "@tray/common";
import type { SystemConfig } from "@tray/config";
import type { CoreWorker } from "@tray/core-worker";
import { GcsService, ActorState } from "@tray/protocol";
import { Activation } from "./user/activation.js";
import { type FaultProfile, drawProfile, lostCalls, Saboteur } from "./faults/profile.js";
import { SimCluster, gcsAddress } from "./world/cluster.js";
import { told } from "./world/event-log.js";
import type { SimDriver } from "./world/driver.js";
import { registerPrograms } from "./workload/programs.js";
import { Stage } from "./workload/stage.js";
import { workloads } from "./workload/workloads.js";

export interface SimulationOptions {
  /** Gets each line of the event log. */
  readonly trace?: ((line: string) => void) | undefined;
  /** The daemons check themselves once in so many events. Default 64. */
  readonly checkEvery?: number | undefined;
  /** Within so many simulated milliseconds after the last fault everything is answered. Default 120,000. */
  readonly liveMs?: number | undefined;
  /** Only these workloads. */
  readonly only?: readonly string[] | undefined;
  /** Told where errors go that escape from the code under test; returns how to stop. */
  readonly catchEscaped?: ((report: (error: unknown) => void) => () => void) | undefined;
}

export interface SimulationResult {
  readonly seed: number;
  /** Of everything that happened: equal for equal seeds. */
  readonly hash: string;
  readonly events: number;
  readonly simulatedMs: number;
  readonly faults: readonly string[];
  /** Empty: the seed is good. The first is the one to look at. */
  readonly failures: readonly string[];
}

const liveMsDefault = 120_000;
const cleanMs = 40_000;

export async function simulate(seed: number, options: SimulationOptions = {}): Promise<SimulationResult> {
  registerPrograms();
  const random = new SeededRandom(seed * 104_729 + 1);
  const machineCount = 1 + randomInt(random, 4);
  const profile = drawProfile(random.fork(), machineCount);
  const lost = profile.kinds.includes("lost-calls") ? lostCalls(random.fork()) : undefined;
  const spills = new SeededRandom(seed * 7_919 + 3).next() < 0.5; // of its own, so that it changes nothing else of the seed
  const config: Partial<SystemConfig> = {
    workersPrestart: random.next() < 0.5 ? 0 : 1,
    workerIdleTimeout: random.next() < 0.3 ? 1000 : 60_000,
    ...(spills ? { objectSpillingThreshold: 0.02, minSpillingSize: 1 } : {}),
    objectBroadcastFanout: 1 + (seed % 2), // clusters are small: with two children a node the tree is hardly ever deeper than one
  };
  const cluster = new SimCluster({
    seed,
    config,
    ...(lost === undefined ? {} : { faults: lost }),
    ...(options.trace === undefined ? {} : { trace: options.trace }),
    ...(options.checkEvery === undefined ? {} : { checkEvery: options.checkEvery }),
  });
  const { log, sim } = cluster;
  const stopCatching = options.catchEscaped?.((error) =>
    log.violated(`escaped: ${error instanceof Error ? (error.stack ?? error.message) : String(error)}`),
  );
  try {
    await run(cluster, random, profile, lost, machineCount, options);
  } catch (error) {
    log.violated(told(error));
  } finally {
    stopCatching?.();
  }
  return { seed, hash: log.hash, events: cluster.checks.eventCount, simulatedMs: sim.now(), faults: profile.kinds, failures: [...log.violations] };
}

async function run(
  cluster: SimCluster,
  random: SeededRandom,
  profile: FaultProfile,
  lost: ReturnType<typeof lostCalls> | undefined,
  machineCount: number,
  { only, liveMs = liveMsDefault }: SimulationOptions,
): Promise<void> {
  const { sim, log } = cluster;
  // 1
  await sim.complete(cluster.startGcs());
  // The first has room for tasks beside all actors that hold a tenth of a processor: else a workload could wait for itself.
  for (let i = 0; i < machineCount; i++) cluster.addMachine({ CPU: (i === 0 ? 3 : 1) + randomInt(random, 4) });
  await sim.complete(Promise.all(cluster.machines.map((machine) => machine.start())));
  const nodeIds = cluster.machines.map((machine) => machine.node?.nodeId ?? "");
  const names = Object.keys(workloads).filter((name) => only === undefined || only.includes(name));
  for (let i = 1 + randomInt(random, 3); i > 0; i--) {
    const machine = cluster.machines[randomInt(random, machineCount)];
    if (machine === undefined) continue;
    const chosen: { name: string; random: SeededRandom; afterMs: number }[] = [];
    for (let k = 2 + randomInt(random, 8); k > 0; k--) {
      chosen.push({
        name: names[randomInt(random, names.length)] as string,
        random: random.fork(),
        afterMs: random.next() < 0.3 ? 0 : random.next() * profile.endMs,
      });
    }
    const ownersMayDie = chosen.some(({ name }) => ["kills", "endings", "failing", "cancels", "products", "streams"].includes(name));
    const driver = cluster.addDriver(machine, undefined, async (act, self) => {
      await Promise.all(
        chosen.map(async ({ name, random: own, afterMs }, at) => {
          const label = `${name}#${at}`;
          self.doing.add(label);
          await act.sleep(afterMs);
          log.note(self.name, `begins ${label}`);
          const part = new Activation(act.user, act.execId, act.taskId, 0);
          const stage = new Stage(part, own, profile.deadly, ownersMayDie, cluster.checks, nodeIds);
          try {
            await (workloads[name] as (s: Stage) => Promise<void>)(stage);
          } catch (error) {
            if (self.state === "running") log.violated(`${self.name} ${label}: ${told(error)}`);
          }
          part.end();
          log.note(self.name, `ends ${label}`);
          self.doing.delete(label);
        }),
      );
    });
    void driver.start();
  }
  // 2, 3
  const saboteur = new Saboteur(cluster, profile, lost, random.fork());
  saboteur.begin();
  while (sim.now() < profile.endMs && log.violations.length === 0) await sim.advance(Math.min(100, profile.endMs - sim.now()));
  if (log.violations.length > 0) throw new Error("ended by what was found");
  saboteur.end();
  // 4
  const unsettled = (): SimDriver[] => cluster.drivers.filter((driver) => !driver.settled);
  await reach(
    cluster,
    () => unsettled().length === 0,
    liveMs,
    () =>
      `not answered: ${unsettled()
        .map((d) => `${d.name} (${d.state}): ${[...d.doing].join(", ")}`)
        .join("; ")}`,
  );
  await reach(
    cluster,
    () => cluster.gcsAlive && cluster.machines.every((m) => m.alive && m.node?.raylet.gcs.up === true),
    liveMs,
    () => "the cluster is not whole again",
  );
  // 5
  await reach(
    cluster,
    () => held(cluster).length === 0,
    cleanMs,
    () => `still held though every handle is gone: ${held(cluster).join("; ")}`,
  );
  // 6
  const stopping = Promise.all(cluster.drivers.map((driver) => driver.stop()));
  await sim.complete(stopping, cleanMs);
  await reach(
    cluster,
    () => left(cluster).length === 0,
    cleanMs,
    () => `left after the jobs' end: ${left(cluster).join("; ")}`,
  );
  await checkGcs(cluster);
}

async function reach(cluster: SimCluster, done: () => boolean, withinMs: number, otherwise: () => string): Promise<void> {
  await cluster.sim
    .runUntil(() => cluster.log.violations.length > 0 || done(), withinMs)
    .catch((error: unknown) =>
      cluster.log.violated(
        told(error).startsWith("not done within") ? `after ${withinMs} ms ${otherwise()}` : `${told(error)}, while ${otherwise()}`,
      ),
    );
  if (cluster.log.violations.length > 0) throw new Error("ended by what was found");
}

/** What drivers that are done, and their workers, still hold. */
function held(cluster: SimCluster): string[] {
  const out: string[] = [];
  const add = (what: string, count: number): void => {
    if (count > 0) out.push(`${what}: ${count}`);
  };
  for (const { name, state, core, user } of cluster.drivers) {
    if (state !== "done" || core === undefined) continue;
    add(`${name} references${referencesOf(core)}`, core.references.size);
    add(`${name} tasks`, core.submitter.pendingCount);
    add(`${name} pins`, core.fetcher.pinCount);
    add(`${name} requests`, user?.openRequests ?? 0);
    let leases = 0;
    for (const group of core.leases.list()) leases += group.leases.size;
    add(`${name} leases`, leases);
  }
  for (const machine of cluster.machines) {
    for (const { process, core } of machine.workers) {
      if (core === undefined) continue;
      add(`${process.host} references${referencesOf(core)}`, core.references.size);
      add(`${process.host} tasks`, core.submitter.pendingCount);
      add(`${process.host} pins`, core.fetcher.pinCount);
      add(`${process.host} executions`, core.executor.pending);
    }
    const raylet = machine.node?.raylet;
    if (raylet === undefined) continue;
    add(`${machine.name} leases`, raylet.leases.core.leaseCount);
    add(`${machine.name} actors`, [...raylet.actors.all()].length);
    add(`${machine.name} holders of resources`, raylet.ledger.holders);
    // A copy that nobody uses is cache: its reader may have died before it told the owner, who then does not know of it. It goes with the job.
    const kept = raylet.objects.list().filter((object) => object.copy === "primary" || object.pins > 0 || object.state === "creating");
    add(`${machine.name} objects (${kept.map((object) => JSON.stringify(object)).join(", ")})`, kept.length);
  }
  return out;
}

/** The first few references of a process, with what holds them. */
function referencesOf(core: CoreWorker): string {
  const out: string[] = [];
  for (const { id, state, handles, uses, containers, lineage, borrowers } of core.references.all()) {
    const holds = { handles, uses, containers, lineage, borrowers: borrowers?.size ?? 0 };
    const counts = Object.entries(holds).flatMap(([what, count]) => (count === 0 ? [] : [`${what} ${count}`]));
    out.push(`${id} ${state.kind} (${[...counts, ...[...(borrowers ?? [])].map((b) => `by ${b.slice(0, 8)}`)].join(", ")})`);
    if (out.length === 3) break;
  }
  return out.length === 0 ? "" : ` [${out.join("; ")}]`;
}

/** What a node still has of jobs that are over. */
function left(cluster: SimCluster): string[] {
  const out: string[] = [];
  for (const { name, node } of cluster.machines) {
    if (node === undefined) continue;
    const { raylet } = node;
    const workers = [...raylet.pool.core.all()].filter((worker) => worker.jobId !== "");
    if (workers.length > 0) out.push(`${name}: workers of a job: ${workers.map((w) => `${w.workerId.slice(0, 8)} ${w.state.kind}`).join(", ")}`);
    if (raylet.ledger.holders > 0) out.push(`${name}: ${raylet.ledger.holders} holders of resources`);
    if (JSON.stringify(raylet.ledger.available) !== JSON.stringify(raylet.ledger.total))
      out.push(`${name}: available ${JSON.stringify(raylet.ledger.available)}`);
    if (raylet.objects.usedBytes > 0) out.push(`${name}: ${raylet.objects.usedBytes} bytes of objects`);
    if (raylet.objects.spilledBytes > 0) out.push(`${name}: ${raylet.objects.spilledBytes} spilled bytes`);
    if ([...raylet.drivers.all()].length > 0) out.push(`${name}: drivers`);
  }
  return out;
}

async function checkGcs(cluster: SimCluster): Promise<void> {
  const process = cluster.process("tool", "tool", "gcs");
  const endpoint = cluster.endpoint(process, "driver", "tool", "tool");
  const session = endpoint.connect(gcsAddress, { reconnect: "forever" });
  const gcs = session.client(GcsService);
  const ask = async (): Promise<string[]> => {
    const { jobs } = await gcs.listJobs({}, { retry: true });
    const { actors } = await gcs.listActors({ limit: 0, namedOnly: false, namespace: "" }, { retry: true });
    return [
      ...jobs.filter((job) => !job.finished).map((job) => `job ${job.jobId} of ${job.name} is not finished`),
      ...actors.filter((actor) => actor.state !== ActorState.DEAD).map((actor) => `actor ${actor.actorId} is not dead: state ${actor.state}`),
    ];
  };
  let open = await cluster.sim.complete(ask());
  for (let tries = 0; open.length > 0 && tries < 40; tries++) {
    await cluster.sim.advance(1000);
    open = await cluster.sim.complete(ask());
  }
  if (open.length > 0) cluster.log.violated(`at the GCS: ${open.join("; ")}`);
}
