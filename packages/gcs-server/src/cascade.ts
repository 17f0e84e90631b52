// What follows from an end. Each cascade is one synchronous decision over all cores, so its rows reach the disk in one batch: after a crash either all of it
// happened or none.
import type { JobInfo, NodeInfo, WorkerExit } from "@tray/protocol";
import type { ActorsCore } from "./actors/core.js";
import type { ActorStep } from "./actors/step.js";
import type { FunctionTable } from "./functions/table.js";
import type { JobsCore } from "./jobs/core.js";
import type { NodesCore } from "./nodes/core.js";
import type { NodeLinks } from "./nodes/links.js";
import type { PubSubHub } from "./pubsub/hub.js";
import { History } from "./storage/history.js";
import type { Journal } from "./storage/journal.js";
import type { RecordTable } from "./storage/record-table.js";
import type { ViewPublisher } from "./view/publisher.js";

export interface CascadeOptions {
  nodes: NodesCore;
  jobs: JobsCore;
  actors: ActorsCore;
  nodeTable: RecordTable<NodeInfo>;
  jobTable: RecordTable<JobInfo>;
  functions: FunctionTable;
  journal: Journal;
  links: NodeLinks;
  hub: PubSubHub;
  publisher: ViewPublisher;
  applyActors: (step: ActorStep) => void;
  wallMs: () => number;
  deadWorkersMax: number;
  log: (message: string, fields: Record<string, unknown>) => void;
  run: (name: string, task: () => Promise<void>) => void;
}

export class Cascade {
  private readonly deadWorkers: History;

  constructor(private readonly o: CascadeOptions) {
    this.deadWorkers = new History(o.deadWorkersMax);
  }

  isDeadWorker(workerId: string): boolean {
    return this.deadWorkers.has(workerId);
  }

  /** @returns false when the node was not alive. */
  nodeDied(nodeId: string, reason: string): boolean {
    const { nodes, nodeTable, links, publisher, hub, journal } = this.o;
    const raylet = links.client(nodeId);
    const buried = nodes.bury(nodeId, reason, this.o.wallMs());
    if (buried === undefined) return false;
    this.o.log("node died", { nodeId, reason });
    nodeTable.put(nodeId, buried.info);
    for (const old of buried.forgotten) nodeTable.delete(old);
    publisher.remove(nodeId);
    // If its raylet lives after all, behind a network that comes back: it must end.
    journal.whenDurable(() => raylet?.declaredDead({ nodeId, reason }));
    links.forget(nodeId);
    journal.whenDurable(() => hub.publish("nodes", { $case: "node", value: buried.info }));
    for (const job of this.o.jobs.onNode(nodeId)) this.jobFinished(job.jobId);
    this.o.applyActors(this.o.actors.nodeDied(nodeId, reason));
    return true;
  }

  workerDied(exit: WorkerExit, wasDriver: boolean): void {
    const { hub, journal, actors } = this.o;
    if (this.deadWorkers.has(exit.workerId)) return; // told again
    this.deadWorkers.add(exit.workerId);
    journal.whenDurable(() => hub.publish("workers", { $case: "worker", value: exit }));
    this.o.applyActors(actors.ownerDied(exit.workerId, exit.message || exit.reason || "its process ended"));
    const job = wasDriver ? this.o.jobs.ofDriver(exit.workerId) : undefined;
    if (job !== undefined) this.jobFinished(job.jobId);
  }

  jobFinished(jobId: string): void {
    const { jobs, jobTable, hub, journal, actors, links } = this.o;
    const finished = jobs.finish(jobId, this.o.wallMs());
    if (finished === undefined) return;
    const { job, forgotten } = finished;
    this.o.log("job finished", { jobId });
    jobTable.put(jobId, job);
    for (const old of forgotten) jobTable.delete(old);
    journal.whenDurable(() => {
      hub.publish(`job/${jobId}`, { $case: "job", value: job });
      for (const [nodeId] of links.clients()) this.tellFinished(nodeId, job);
    });
    this.o.applyActors(actors.jobFinished(jobId));
    this.jobMaybeUnused(jobId);
  }

  /** Detached actors outlive their job and need its functions to restart. */
  jobMaybeUnused(jobId: string): void {
    if (this.o.jobs.get(jobId)?.finished !== false && !this.o.actors.hasLiving(jobId)) this.o.functions.dropJob(jobId);
  }

  tellFinished(nodeId: string, job: JobInfo): void {
    this.o.run("jobFinished", async () => {
      await this.o.links.deliver(
        nodeId,
        () => true,
        (client, options) => client.jobFinished(job, options),
      );
    });
  }
}
