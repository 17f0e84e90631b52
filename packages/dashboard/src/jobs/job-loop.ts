// JobLoop: moves submitted jobs on. Places the PENDING ones, repeats stops that did not arrive, notices supervisors and nodes that are gone.
//
// Owns:     the watches over supervisors; when the records are looked at next.
// Not mine: the records (job-store.ts), how they may change (record.ts), running the entrypoint (job-supervisor/).
// Crosses:  in: wake().  out: raylets' startJob and stopJob, record changes.
//
// It keeps no state that a restart of this process would lose: everything is derived from the records each time round.
import { type Clock, isTrayError, type Logger, messageOf, type Scope } from "@tray/common";
import { NodeState, type NodeStatus } from "@tray/protocol";
import type { Cluster } from "../cluster.js";
import type { JobStore } from "./job-store.js";
import { choosePlacement, resourcesOf } from "./placement.js";
import { finish, isTerminal, type JobRecord, type Outcome, type Placement, place, unplace } from "./record.js";

export interface JobLoopOptions {
  readonly store: JobStore;
  readonly cluster: Cluster;
  readonly clock: Clock;
  readonly logger: Logger;
  /** A job that has not started after this long has failed. */
  readonly startTimeoutMs: number;
  /** What the supervisor needs beyond the record. */
  readonly supervisorInput: (record: JobRecord) => Readonly<Record<string, unknown>>;
}

const periodMs = 500;
/** A stop is sent again this often until the job has ended. */
const stopRepeatMs = 2_000;

export class JobLoop {
  private readonly watches = new Map<string, { attempt: number; end: () => void }>();
  private readonly stopsSent = new Map<string, number>();
  private readonly asking = new Set<string>();
  private again = false;
  private running: Promise<void> | undefined;

  constructor(private readonly options: JobLoopOptions) {}

  start(scope: Scope): void {
    const timer = this.options.clock.every(periodMs, () => this.wake());
    scope.defer("job-loop", async () => {
      timer.cancel();
      await this.running;
      for (const watch of this.watches.values()) watch.end();
    });
    this.wake();
  }

  /** Something changed: look now rather than at the next period. Never runs twice at a time. */
  wake(): void {
    this.again = true;
    this.running ??= this.runWhileAsked().finally(() => {
      this.running = undefined;
    });
  }

  /** Resolves when nothing that was asked for is still being looked at. */
  async idle(): Promise<void> {
    while (this.running !== undefined) await this.running;
  }

  private async runWhileAsked(): Promise<void> {
    while (this.again) {
      this.again = false;
      try {
        await this.round();
      } catch (error) {
        // The GCS is away, or answers late: the next period tries again.
        this.options.logger.debug("jobs could not be looked at", { error: messageOf(error) });
      }
    }
  }

  private async round(): Promise<void> {
    const open = (await this.options.store.list()).filter((r) => !isTerminal(r.status));
    this.dropWatches(open);
    if (open.length === 0) return;
    const { nodes } = await this.options.cluster.status();
    for (const record of open) await this.look(record, nodes);
  }

  private async look(record: JobRecord, nodes: readonly NodeStatus[]): Promise<void> {
    if (record.placement === null) return await this.tryPlace(record, nodes);
    const { placement } = record;
    const node = nodes.find((n) => n.info?.nodeId === placement.nodeId);
    if (node?.info?.state !== NodeState.ALIVE) return await this.nodeGone(record, placement, node?.info?.deathReason || "it is not known any more");
    if (record.stopRequested) this.sendStop(record, placement);
    if (record.status === "PENDING") return await this.ask(record, placement); // idempotent: repeats an ask whose answer was lost
    this.watch(record, placement);
  }

  private async tryPlace(record: JobRecord, nodes: readonly NodeStatus[]): Promise<void> {
    const { clock, startTimeoutMs, store } = this.options;
    if (record.stopRequested) return await this.end(record, { status: "STOPPED" });
    const choice = choosePlacement(record.needs, nodes);
    if (clock.wallMs() - record.startMs > startTimeoutMs) {
      return await this.end(record, {
        status: "FAILED",
        errorType: "JOB_SUPERVISOR_ACTOR_START_TIMEOUT",
        message: `Job supervisor actor failed to start within ${(startTimeoutMs / 1000).toFixed(1)} seconds. This timeout can be configured by the setting jobStartTimeout.${
          choice.kind === "infeasible" ? ` Nothing in the cluster can run it: ${choice.detail}.` : " It may be waiting for resources."
        }`,
      });
    }
    if (choice.kind !== "node") return;
    const info = choice.nodes[record.attempts % choice.nodes.length]?.info; // a node that refused is not asked first again
    if (info === undefined) return;
    const placed = await store.update(record.submissionId, (r) => place(r, { nodeId: info.nodeId, raylet: info.raylet, host: info.host }));
    if (placed?.applied && placed.record.placement !== null) await this.ask(placed.record, placed.record.placement);
  }

  private async ask(record: JobRecord, placement: Placement): Promise<void> {
    const { cluster, store, logger } = this.options;
    const key = `${record.submissionId}/${placement.attempt}`;
    if (this.asking.has(key)) return;
    this.asking.add(key);
    try {
      const reply = await cluster.raylet(placement.raylet).startJob(
        {
          submissionId: record.submissionId,
          jobJson: JSON.stringify({ ...this.options.supervisorInput(record), attempt: placement.attempt }),
          resources: { amounts: { ...resourcesOf(record.needs) } },
        },
        { timeoutMs: 10_000 },
      );
      if (!reply.rejected) return;
      logger.info("a node refused a job", { submissionId: record.submissionId, nodeId: placement.nodeId, detail: reply.detail });
      await store.update(record.submissionId, (r) => unplace(r, placement.attempt));
    } catch (error) {
      // Whether it arrived is unknown: the ask is repeated on the same node until that answers or is dead.
      logger.debug("a node did not answer about a job", { submissionId: record.submissionId, nodeId: placement.nodeId, error: messageOf(error) });
      if (isTrayError(error, "INVALID_ARGUMENT"))
        await this.end(record, { status: "FAILED", errorType: "JOB_SUPERVISOR_ACTOR_START_FAILURE", message: messageOf(error) });
    } finally {
      this.asking.delete(key);
    }
  }

  private async nodeGone(record: JobRecord, placement: Placement, why: string): Promise<void> {
    if (record.status === "PENDING") {
      // J3: it never ran, so another node may take it. J2 keeps a late supervisor of this attempt from running it too.
      await this.options.store.update(record.submissionId, (r) => unplace(r, placement.attempt));
      this.again = true;
      return;
    }
    await this.died(record, placement.attempt, `its node ${placement.nodeId} is dead: ${why}`);
  }

  private watch(record: JobRecord, placement: Placement): void {
    const { supervisor, submissionId } = record;
    if (supervisor === null || this.watches.get(submissionId)?.attempt === placement.attempt) return;
    this.watches.get(submissionId)?.end();
    const end = this.options.cluster.watchProcess(supervisor.address, supervisor.incarnation, (why) => {
      this.watches.delete(submissionId);
      // It writes the end of its job before it goes, so what the record says now is final, or it died.
      this.died(record, placement.attempt, why).catch((error: unknown) => {
        this.options.logger.debug("will look at the job again", { submissionId, error: messageOf(error) });
        this.wake();
      });
    });
    this.watches.set(submissionId, { attempt: placement.attempt, end });
  }

  private async died(record: JobRecord, attempt: number, why: string): Promise<void> {
    const ended = await this.options.store.update(record.submissionId, (r) =>
      r.placement?.attempt !== attempt
        ? { refused: "stale-attempt" }
        : finish(
            r,
            r.stopRequested
              ? { status: "STOPPED" }
              : { status: "FAILED", errorType: "JOB_SUPERVISOR_ACTOR_DIED", message: `Job supervisor actor died: ${why}` },
            this.options.clock.wallMs(),
          ),
    );
    if (ended?.applied) this.options.logger.warn("a job's supervisor is gone", { submissionId: record.submissionId, why });
  }

  private sendStop(record: JobRecord, placement: Placement): void {
    const nowMs = this.options.clock.now();
    const sentMs = this.stopsSent.get(record.submissionId);
    if (sentMs !== undefined && nowMs - sentMs < stopRepeatMs) return;
    this.stopsSent.set(record.submissionId, nowMs);
    this.options.cluster
      .raylet(placement.raylet)
      .stopJob({ submissionId: record.submissionId })
      .then(
        async ({ running }) => {
          // Placed but unknown there: it has not started and, by J2 and the stop flag, will not.
          if (!running && record.status === "PENDING") await this.end(record, { status: "STOPPED" });
        },
        () => undefined, // repeated
      )
      .catch((error: unknown) => this.options.logger.debug("will stop the job again", { error: messageOf(error) }));
  }

  private async end(record: JobRecord, outcome: Outcome): Promise<void> {
    await this.options.store.update(record.submissionId, (r) => finish(r, outcome, this.options.clock.wallMs()));
  }

  private dropWatches(open: readonly JobRecord[]): void {
    const ids = new Set(open.map((r) => r.submissionId));
    for (const [id, watch] of this.watches) {
      if (ids.has(id)) continue;
      watch.end();
      this.watches.delete(id);
    }
    for (const id of this.stopsSent.keys()) if (!ids.has(id)) this.stopsSent.delete(id);
  }
}
