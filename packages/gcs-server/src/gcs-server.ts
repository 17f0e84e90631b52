// GcsServer: the cluster's truth. This file wires; each concern is a folder with a core that decides, a table that remembers, and handlers.
//
//   nodes/     who is in the cluster, who is dead            actors/     life cycles, placement, restarts
//   view/      what schedulers see, pushed as deltas         jobs/       drivers
//   pubsub/    who is told of what                           functions/, kv/   blobs and small values, on disk only
//   cascade    what follows from a death                     storage/    rows reach the disk before anyone is told
//
// Start: identity → tables replayed into the cores → handlers served. The endpoint listens after that, by the hand of whoever owns it.
import { type Clock, type Logger, type Metrics, type Random, Scope } from "@tray/common";
import { changedSettings, type SystemConfig } from "@tray/config";
import { ActorInfo, ActorSpec, GcsService, JobInfo, KillActorRequest, type MessageCodec, NodeInfo } from "@tray/protocol";
import type { Endpoint } from "@tray/rpc";
import type { Store } from "@tray/storage";
import { ActorsCore } from "./actors/core.js";
import { ActorPlacement } from "./actors/placement.js";
import { actorHandlers } from "./actors/service.js";
import { ActorShell } from "./actors/shell.js";
import { Cascade } from "./cascade.js";
import { functionHandlers } from "./functions/service.js";
import { FunctionTable } from "./functions/table.js";
import { jobCounterKey, jobHandlers } from "./jobs/service.js";
import { JobsCore } from "./jobs/core.js";
import { kvHandlers } from "./kv/service.js";
import { KvTable } from "./kv/table.js";
import { limitsOf } from "./limits.js";
import { NodesCore } from "./nodes/core.js";
import { NodeLinks } from "./nodes/links.js";
import { nodeHandlers } from "./nodes/service.js";
import { NodeWatch } from "./nodes/watch.js";
import type { Body } from "./pubsub/channel.js";
import { PubSubHub } from "./pubsub/hub.js";
import { pubsubHandlers } from "./pubsub/service.js";
import { schedulingHandlers } from "./scheduling-service.js";
import { statusHandlers } from "./status/service.js";
import { type ClusterIdentity, openIdentity } from "./storage/identity.js";
import { Journal } from "./storage/journal.js";
import { RecordTable } from "./storage/record-table.js";
import { ViewPublisher } from "./view/publisher.js";

export interface GcsServerOptions {
  /** Of peer kind "gcs". Not closed here, and not made to listen. */
  endpoint: Endpoint;
  /** Not closed here. */
  store: Store;
  clock: Clock;
  random: Random;
  logger: Logger;
  metrics: Metrics;
  config: SystemConfig;
  /** `name` counts for a new cluster; one that is continued keeps its own. */
  session: { name: string; dir: string };
  version: string;
  nodeVersion: string;
  pid: number;
  /** "host:port" under which others reach this server, for `status`. */
  address: () => string;
  /** Process that restarts daemons, for `status`. Default 0: none. */
  supervisorPid?: number | undefined;
}

export class GcsServer {
  private readonly scope: Scope;
  private open: ClusterIdentity | undefined;

  constructor(private readonly o: GcsServerOptions) {
    this.scope = new Scope("gcs", { clock: o.clock, onError: (what, error) => o.logger.error("task failed", { what, error }) });
  }

  /** Who the cluster is; known once started. */
  get identity(): ClusterIdentity {
    if (this.open === undefined) throw new Error("the GCS has not started");
    return this.open;
  }

  /** Reads the tables and serves. @throws what the store throws. */
  async start(): Promise<void> {
    const { endpoint, store, clock, random, logger, metrics, config, session } = this.o;
    const limits = limitsOf(config);
    const identity = await openIdentity(store, random, session.name);
    this.open = identity;
    endpoint.describeSelf({ clusterId: identity.clusterId });

    const journal = new Journal(store, clock, logger, metrics);
    const records = <T>(name: string, codec: MessageCodec<T>): RecordTable<T> => new RecordTable(store.open(name), codec, journal);
    const nodeTable = records("nodes", NodeInfo);
    const jobTable = records("jobs", JobInfo);
    const actorTables = {
      infos: records("actors", ActorInfo),
      specs: records("actor-specs", ActorSpec),
      endings: records("actor-endings", KillActorRequest),
    };
    const counters = store.open("counters");
    const functions = new FunctionTable(store, store.open("functions"));
    const kv = new KvTable(store, store.open("kv"));

    const nodes = new NodesCore(limits);
    const jobs = new JobsCore(limits.historyMax);
    const actors = new ActorsCore(limits.historyMax, () => clock.wallMs());
    nodes.replay(values(nodeTable), clock.now());
    jobs.replay(values(jobTable), Number(Buffer.from(counters.get(jobCounterKey) ?? []).toString("utf8")));
    actors.replay(values(actorTables.infos), new Map([...values(actorTables.endings)].map((request) => [request.actorId, request.reason])));

    const run = (name: string, task: (signal: AbortSignal) => Promise<void>): void => this.scope.run(name, task);
    const stateOf = (channel: string): Body[] => presentState(channel, nodes, jobs, actors);
    const hub = new PubSubHub({ clock, metrics, epoch: identity.epoch, limits, stateOf });
    const links: NodeLinks = new NodeLinks(clock, {
      retryMs: limits.retryMinMs,
      signal: this.scope.signal,
      isAlive: (nodeId) => nodes.isAlive(nodeId),
      onTrouble: (nodeId, broken) => watch.suspect(nodeId, broken),
    });
    const publisher = new ViewPublisher(clock, limits.viewFlushMs, (delta) => {
      for (const [, client] of links.clients()) client.viewChanged(delta);
    });
    const shell: ActorShell = new ActorShell({
      core: actors,
      tables: actorTables,
      journal,
      links,
      hub,
      clock,
      limits,
      logger,
      metrics,
      schedule: (actorId) => placement.want(actorId),
      onJobMaybeUnused: (jobId) => cascade.jobMaybeUnused(jobId),
      run,
    });
    const placement = new ActorPlacement(actors, publisher, clock, random, shell);
    const cascade: Cascade = new Cascade({
      nodes,
      jobs,
      actors,
      nodeTable,
      jobTable,
      functions,
      journal,
      links,
      hub,
      publisher,
      applyActors: shell.apply,
      wallMs: () => clock.wallMs(),
      deadWorkersMax: limits.deadWorkersMax,
      log: (message, fields) => logger.info(message, fields),
      run,
    });
    const watch: NodeWatch = new NodeWatch({
      nodes,
      links,
      endpoint,
      clock,
      limits,
      declareDead: (nodeId, reason) => void cascade.nodeDied(nodeId, reason),
      run,
    });

    for (const { info } of nodes.all()) if (nodes.isAlive(info.nodeId)) publisher.update(info, undefined);
    for (const jobId of functions.jobs()) cascade.jobMaybeUnused(jobId);

    const startWallMs = clock.wallMs();
    const { version, nodeVersion, pid, address, supervisorPid = 0 } = this.o;
    const { clusterId, sessionName } = identity;
    const about = () => ({
      clusterId,
      sessionName,
      sessionDir: session.dir,
      version,
      nodeVersion,
      gcsPid: pid,
      gcsAddress: address(),
      supervisorPid,
      startWallMs,
    });
    const systemConfigJson = JSON.stringify(changedSettings(config));
    endpoint.serve(GcsService, {
      ...nodeHandlers({
        nodes,
        jobs,
        actors,
        table: nodeTable,
        journal,
        links,
        hub,
        publisher,
        cascade,
        clock,
        logger,
        applyActors: shell.apply,
        identity: { clusterId, sessionName, systemConfigJson },
        jobEchoMs: limits.jobEchoMs,
      }),
      ...schedulingHandlers(publisher, random),
      ...jobHandlers({ jobs, table: jobTable, counters, journal, cascade, hub, clock, logger, sessionName }),
      ...actorHandlers({ actors, jobs, nodes, cascade, links, journal, clock, limits, apply: shell.apply }),
      ...functionHandlers(functions, (jobId) => jobs.get(jobId)?.finished === true && !actors.hasLiving(jobId)),
      ...kvHandlers(kv),
      ...pubsubHandlers(hub, journal, logger, limits.subscriptionsMax),
      ...statusHandlers({ nodes, actors, kv, journal, about }),
    });
    watch.start();
    placement.retryAll();
    publishMetrics(metrics, nodes, actors);
    logger.info("GCS started", { clusterId, sessionName, epoch: identity.epoch, nodes: nodes.all().length, jobs: jobs.all().length });

    this.scope.defer("journal", () => journal.close());
    this.scope.defer("links", () => links.close());
    this.scope.defer("watch", () => watch.close());
    this.scope.defer("view", () => publisher.close());
    this.scope.defer("placement", () => placement.close());
  }

  /** Stops deciding, writes what was decided. The endpoint and the store are their owner's to close, in this order, after this. Idempotent. */
  close(): Promise<void> {
    return this.scope.close();
  }
}

function* values<T>(table: RecordTable<T>): Iterable<T> {
  for (const [, record] of table.all()) yield record;
}

function presentState(channel: string, nodes: NodesCore, jobs: JobsCore, actors: ActorsCore): Body[] {
  const cut = channel.indexOf("/");
  const id = channel.slice(cut + 1);
  switch (cut < 0 ? channel : channel.slice(0, cut)) {
    case "actor": {
      const record = actors.get(id);
      return record === undefined ? [] : [{ $case: "actor", value: record.info }];
    }
    case "nodes":
      return nodes.all().map(({ info }) => ({ $case: "node", value: info }));
    case "job": {
      const job = jobs.get(id);
      return job === undefined ? [] : [{ $case: "job", value: job }];
    }
    default:
      return [];
  }
}

function publishMetrics(metrics: Metrics, nodes: NodesCore, actors: ActorsCore): void {
  for (const state of ["alive", "dead"] as const) {
    metrics.gauge("tray_gcs_nodes", () => nodes.all().filter(({ info }) => nodes.isAlive(info.nodeId) === (state === "alive")).length, { state });
  }
  metrics.gauge("tray_gcs_actors_waiting", () => actors.waiting().length);
}
