// ActorsCore: every actor's life, from registration to death.
//
//   1. register: the name is taken, PENDING_CREATION, waiting for a place
//   2. placed: a node was chosen, the raylet is told to create it
//   3. created: ALIVE, callers learn the address; or creationFailed: elsewhere, or DEAD
//   4. workerDied, nodeDied, kill: the next incarnation waits for a place (RESTARTING), or DEAD
//
// Owns:     records, phases, names, indexes by owner and node.
// Not mine: choosing nodes (placement.ts), talking to raylets and subscribers (shell.ts), arguments (on disk).
// Crosses:  in: the methods.  out: ActorStep.
//
// Invariants
//   A1. A name of a namespace belongs to at most one actor that is not DEAD.
//   A2. A report about another incarnation, or from another node than the one chosen, changes nothing; a copy that nobody chose is killed.
//   A3. No incarnation is placed before the one before it was killed, has died, or its node is dead.
//   A4. DEAD is final. Every other state has a reason to change: it waits for a place, a creation, a kill, or lives.
//   A5. numRestarts never passes maxRestarts (−1: no limit), except for creations that were lost with their node: those cost nothing.
import { checkEdge, type ErrorCode, TrayError } from "@tray/common";
import {
  type ActorCreated,
  type ActorCreationFailed,
  ActorInfo,
  type ActorSpec,
  ActorState,
  type KillActorRequest,
  type WorkerDied,
} from "@tray/protocol";
import { History } from "../storage/history.js";
import { MultiMap } from "../storage/multi-map.js";
import { type Death, deathCause, describeActor, describeExit } from "./death.js";
import { type ActorStateName, actorEdges, codeOf, stateNameOf } from "./states.js";
import { type ActorStep, emptyStep } from "./step.js";

export type Phase =
  /** `avoidNodeId`: it gave it back; others are preferred. */
  | { readonly kind: "waiting"; readonly rejections: number; readonly notBeforeMs: number; readonly avoidNodeId?: string | undefined }
  | { readonly kind: "creating"; readonly rejections: number }
  | { readonly kind: "alive"; readonly ending?: string | undefined }
  /** The incarnation before is being killed. */
  | { readonly kind: "releasing" }
  | { readonly kind: "dead" };

export interface ActorRecord {
  readonly info: ActorInfo;
  readonly phase: Phase;
}

export type Registration =
  | { readonly outcome: "registered" | "existing"; readonly info: ActorInfo }
  | { readonly outcome: "refused"; readonly error: TrayError };

const refused = (code: ErrorCode, message: string): Registration => ({ outcome: "refused", error: new TrayError(code, message) });
const nameKey = (namespace: string, name: string): string => `${namespace}\u0000${name}`;
const waiting: Phase = { kind: "waiting", rejections: 0, notBeforeMs: 0 };

export class ActorsCore {
  private readonly records = new Map<string, ActorRecord>();
  private readonly names = new Map<string, string>();
  private readonly byNode = new MultiMap();
  private readonly byOwner = new MultiMap();
  private readonly byOwnerNode = new MultiMap();
  private readonly byJob = new MultiMap();
  private readonly waitingIds = new Set<string>();
  private readonly dead: History;

  constructor(
    historyMax: number,
    private readonly wallMs: () => number,
  ) {
    this.dead = new History(historyMax);
  }

  /** `endings`: actors that were to end when the GCS stopped. What was being created or killed then is told again (`resume`). */
  replay(infos: Iterable<ActorInfo>, endings: ReadonlyMap<string, string>): void {
    for (const info of [...infos].sort((a, b) => a.endWallMs - b.endWallMs || a.startWallMs - b.startWallMs)) {
      const state = stateNameOf(info.state);
      const created: Phase = info.nodeId === "" ? waiting : { kind: "creating", rejections: 0 };
      this.set(info, state === "DEAD" ? { kind: "dead" } : state === "ALIVE" ? { kind: "alive", ending: endings.get(info.actorId) } : created);
      if (state === "DEAD") this.dead.add(info.actorId);
      else if (info.spec !== undefined && info.spec.name !== "") this.names.set(nameKey(info.spec.namespace, info.spec.name), info.actorId);
    }
  }

  get(actorId: string): ActorRecord | undefined {
    return this.records.get(actorId);
  }
  /** The living actor of that name. */
  named(namespace: string, name: string): ActorRecord | undefined {
    const actorId = this.names.get(nameKey(namespace, name));
    return actorId === undefined ? undefined : this.records.get(actorId);
  }
  all(): Iterable<ActorRecord> {
    return this.records.values();
  }
  /** Actors that want a place, in the order in which they began to. */
  waiting(): string[] {
    return [...this.waitingIds];
  }
  hasLiving(jobId: string): boolean {
    return this.byJob.of(jobId).length > 0;
  }

  register(spec: ActorSpec, getIfExists: boolean): { result: Registration; step: ActorStep } {
    const step = emptyStep();
    const before = this.records.get(spec.actorId);
    if (before !== undefined) return { result: { outcome: "existing", info: before.info }, step }; // a repeated request
    const holder = spec.name === "" ? undefined : this.named(spec.namespace, spec.name);
    if (holder !== undefined && getIfExists) return { result: { outcome: "existing", info: holder.info }, step };
    if (holder !== undefined) {
      const where = spec.namespace === "" ? "" : ` in namespace '${spec.namespace}'`;
      return { result: refused("NAME_TAKEN", `the name '${spec.name}' is taken${where} by ${describeActor(holder.info)}`), step }; // A1
    }
    const info = ActorInfo.create({
      actorId: spec.actorId,
      state: ActorState.PENDING_CREATION,
      spec: withoutArguments(spec),
      startWallMs: this.wallMs(),
      wait: { cause: "waiting-for-resources", detail: "", sinceWallMs: this.wallMs() },
    });
    if (spec.name !== "") this.names.set(nameKey(spec.namespace, spec.name), spec.actorId);
    step.specs.push(spec);
    this.set(info, waiting);
    step.persist.push(info);
    step.then.push({ kind: "publish", info }, { kind: "schedule", actorId: spec.actorId });
    return { result: { outcome: "registered", info }, step };
  }

  /** A node was chosen. */
  placed(actorId: string, nodeId: string): ActorStep {
    const step = emptyStep();
    const record = this.records.get(actorId);
    if (record?.phase.kind !== "waiting") return step;
    const info = { ...record.info, nodeId, wait: this.reason(record.info, "waiting-for-worker", `being created on node ${nodeId}`) };
    this.change(step, info, { kind: "creating", rejections: record.phase.rejections });
    step.then.push({ kind: "create", actorId, incarnation: info.incarnation, nodeId });
    return step;
  }

  /** No node could take it now: why, for people. Memory only: the next attempt says it anew. @returns whether the cause changed. */
  unplaced(actorId: string, cause: "waiting-for-resources" | "waiting-for-node" | "infeasible", detail: string): boolean {
    const record = this.records.get(actorId);
    if (record?.phase.kind !== "waiting") return false;
    const { wait } = record.info;
    if (wait?.cause === cause && wait.detail === detail) return false;
    this.records.set(actorId, { ...record, info: { ...record.info, wait: this.reason(record.info, cause, detail) } });
    return wait?.cause !== cause;
  }

  /** It can never be placed. */
  unschedulable(actorId: string, detail: string): ActorStep {
    return this.end(actorId, { reason: "unschedulable", sentence: `it can never be placed: ${detail}` });
  }

  created(report: ActorCreated): ActorStep {
    const step = emptyStep();
    const record = this.records.get(report.actorId);
    const nodeId = report.address?.nodeId ?? "";
    if (record === undefined || !this.isChosen(record, report.incarnation, nodeId)) {
      step.then.push(this.killOrder(report.actorId, report.incarnation, nodeId, "another copy of this actor was chosen, or it is dead")); // A2
      return step;
    }
    if (record.phase.kind === "alive") {
      // The raylet tells again after a reset. What it was to do with it may have been lost as well.
      if (record.phase.ending !== undefined) step.then.push(this.killOrder(report.actorId, report.incarnation, nodeId, record.phase.ending, true));
      return step;
    }
    this.become(step, record, "ALIVE", { ...record.info, address: report.address, pid: report.pid, wait: undefined }, { kind: "alive" });
    return step;
  }

  /** `retryAtMs`: when to try again after so many rejections. */
  creationFailed(report: ActorCreationFailed, nodeId: string, retryAtMs: (rejections: number) => number): ActorStep {
    const record = this.records.get(report.actorId);
    if (record === undefined || record.phase.kind !== "creating" || record.info.incarnation !== report.incarnation || record.info.nodeId !== nodeId)
      return emptyStep(); // A2
    if (report.rejected) {
      const rejections = record.phase.rejections + 1;
      return this.placeElsewhere(record, report.error?.message ?? "it had no room", {
        kind: "waiting",
        rejections,
        notBeforeMs: retryAtMs(rejections),
        avoidNodeId: nodeId,
      });
    }
    const sentence =
      report.error?.code === "TASK_ERROR"
        ? `its constructor threw: ${report.error.message}`
        : `it could not be created: ${report.error?.message ?? "why is unknown"}`;
    return this.end(report.actorId, { reason: "creation-failed", sentence, error: report.error });
  }

  workerDied(report: WorkerDied): ActorStep {
    const record = this.records.get(report.actorId);
    if (record?.phase.kind === "releasing" && record.info.incarnation === report.incarnation + 1)
      return this.released(report.actorId, record.info.incarnation); // A3
    if (record === undefined || !this.isChosen(record, report.incarnation, report.exit?.nodeId ?? record.info.nodeId)) return emptyStep(); // A2
    const { exit } = report;
    if (record.phase.kind === "alive" && record.phase.ending !== undefined)
      return this.end(report.actorId, { reason: "out-of-scope", sentence: record.phase.ending, exit });
    if (report.intended) return this.end(report.actorId, { reason: "exited", sentence: exit?.message || "it exited on purpose", exit });
    return this.restartOrEnd(record, { reason: "worker-died", sentence: describeExit(exit), exit }, false);
  }

  /** Actors there restart or die; what its workers owned dies. */
  nodeDied(nodeId: string, why: string): ActorStep {
    const step = emptyStep();
    for (const actorId of this.byOwnerNode.of(nodeId)) {
      if (this.records.get(actorId)?.info.spec?.detached !== true)
        merge(step, this.end(actorId, { reason: "owner-died", sentence: `the node ${nodeId} of its owner died: ${why}` }));
    }
    for (const actorId of this.byNode.of(nodeId)) {
      const record = this.records.get(actorId);
      if (record === undefined) continue;
      const death: Death = { reason: "node-died", sentence: `its node ${nodeId} died: ${why}` };
      if (record.phase.kind === "alive" && record.phase.ending !== undefined)
        merge(step, this.end(actorId, { reason: "out-of-scope", sentence: record.phase.ending }));
      else if (record.phase.kind === "releasing") merge(step, this.released(actorId, record.info.incarnation));
      else merge(step, this.restartOrEnd(record, death, record.phase.kind === "creating"));
    }
    return step;
  }

  ownerDied(workerId: string, why: string): ActorStep {
    const step = emptyStep();
    for (const actorId of this.byOwner.of(workerId)) {
      if (this.records.get(actorId)?.info.spec?.detached !== true)
        merge(step, this.end(actorId, { reason: "owner-died", sentence: `its owner, worker ${workerId}, died: ${why}` }));
    }
    return step;
  }

  jobFinished(jobId: string): ActorStep {
    const step = emptyStep();
    for (const actorId of this.byJob.of(jobId)) {
      if (this.records.get(actorId)?.info.spec?.detached !== true)
        merge(step, this.end(actorId, { reason: "job-ended", sentence: `its job ${jobId} ended` }));
    }
    return step;
  }

  kill(request: KillActorRequest): ActorStep {
    const record = this.records.get(request.actorId);
    if (record === undefined || record.phase.kind === "dead") return emptyStep();
    if (request.outOfScope) return this.endOutOfScope(record, request.reason || "the last handle to it is gone");
    const sentence = request.reason || "it was killed";
    if (request.noRestart) return this.end(request.actorId, { reason: "killed", sentence });
    const hasProcess = record.phase.kind === "alive" || record.phase.kind === "creating";
    return hasProcess ? this.restartOrEnd(record, { reason: "killed", sentence }, false, true) : emptyStep();
  }

  /** The process of the incarnation before is gone, or was given enough time. */
  released(actorId: string, incarnation: number): ActorStep {
    const step = emptyStep();
    const record = this.records.get(actorId);
    if (record?.phase.kind !== "releasing" || record.info.incarnation !== incarnation) return step;
    this.change(step, { ...record.info, nodeId: "" }, waiting);
    step.then.push({ kind: "schedule", actorId });
    return step;
  }

  /** What a node must be told (again) that has just (re-)registered: creations under way. */
  resume(nodeId: string): ActorStep {
    const step = emptyStep();
    for (const actorId of this.byNode.of(nodeId)) {
      const record = this.records.get(actorId);
      if (record?.phase.kind === "creating") step.then.push({ kind: "create", actorId, incarnation: record.info.incarnation, nodeId });
    }
    return step;
  }

  // ---- moves

  private isChosen(record: ActorRecord, incarnation: number, nodeId: string): boolean {
    const { kind } = record.phase;
    return (kind === "creating" || kind === "alive") && record.info.incarnation === incarnation && record.info.nodeId === nodeId;
  }

  private placeElsewhere(record: ActorRecord, why: string, phase: Phase): ActorStep {
    const step = emptyStep();
    const wait = this.reason(record.info, "waiting-for-resources", `node ${record.info.nodeId} gave it back: ${why}`);
    this.change(step, { ...record.info, nodeId: "", wait }, phase);
    step.then.push({ kind: "schedule", actorId: record.info.actorId });
    return step;
  }

  private restartOrEnd(record: ActorRecord, death: Death, free: boolean, killFirst = false): ActorStep {
    const { info } = record;
    const max = info.spec?.maxRestarts ?? 0;
    if (!free && max !== -1 && info.numRestarts >= max) {
      const spent = max === 0 ? "" : `; its ${max} restart${max === 1 ? " is" : "s are"} spent`;
      return this.end(info.actorId, { ...death, sentence: `${death.sentence}${spent}` }); // A5
    }
    const step = emptyStep();
    const next: ActorInfo = {
      ...info,
      incarnation: info.incarnation + 1,
      numRestarts: info.numRestarts + (free ? 0 : 1),
      address: undefined,
      pid: 0,
      nodeId: killFirst ? info.nodeId : "",
      wait: this.reason(info, "waiting-for-resources", `restarting: ${death.sentence}`),
    };
    this.become(step, record, "RESTARTING", next, killFirst ? { kind: "releasing" } : waiting);
    if (killFirst) {
      step.then.push({ ...this.killOrder(info.actorId, info.incarnation, info.nodeId, death.sentence), release: true }); // A3
      // After a crash of ours it reads as one being created there (replay): its raylet ends the older copy before it makes the newer, and when that node
      // is dead, so is the copy (A3).
    } else {
      step.then.push({ kind: "schedule", actorId: info.actorId });
    }
    return step;
  }

  private endOutOfScope(record: ActorRecord, why: string): ActorStep {
    const { info, phase } = record;
    if (phase.kind !== "alive") return this.end(info.actorId, { reason: "out-of-scope", sentence: why });
    const step = emptyStep();
    this.set(info, { kind: "alive", ending: why });
    step.endings.set(info.actorId, why);
    step.then.push(this.killOrder(info.actorId, info.incarnation, info.nodeId, why, true));
    return step;
  }

  /** Moves it to DEAD, whatever it was doing, and gets its process killed. */
  private end(actorId: string, death: Death): ActorStep {
    const step = emptyStep();
    const record = this.records.get(actorId);
    if (record === undefined || record.phase.kind === "dead") return step;
    const { info } = record;
    const hadProcess = record.phase.kind === "creating" || record.phase.kind === "alive";
    const dead: ActorInfo = {
      ...info,
      address: undefined,
      wait: undefined,
      deathCause: deathCause(info, death, this.wallMs()),
      endWallMs: this.wallMs(),
    };
    this.become(step, record, "DEAD", dead, { kind: "dead" });
    if (hadProcess) step.then.push(this.killOrder(actorId, info.incarnation, info.nodeId, death.sentence));
    const key = nameKey(info.spec?.namespace ?? "", info.spec?.name ?? "");
    if (this.names.get(key) === actorId) this.names.delete(key);
    step.dropSpecs.push(actorId);
    step.endings.set(actorId, undefined);
    step.then.push({ kind: "jobMaybeUnused", jobId: info.spec?.jobId ?? "" });
    for (const old of this.dead.add(actorId)) {
      this.records.delete(old);
      step.forget.push(old);
    }
    return step;
  }

  private killOrder(
    actorId: string,
    incarnation: number,
    nodeId: string,
    reason: string,
    graceful = false,
  ): Extract<ActorStep["then"][number], { kind: "kill" }> {
    return { kind: "kill", actorId, incarnation, nodeId, graceful, reason, release: false };
  }

  private reason(info: ActorInfo, cause: string, detail: string): ActorInfo["wait"] {
    return { cause, detail, sinceWallMs: info.wait?.cause === cause ? info.wait.sinceWallMs : this.wallMs() };
  }

  /** The one way to another state. */
  private become(step: ActorStep, record: ActorRecord, to: ActorStateName, info: ActorInfo, phase: Phase): void {
    checkEdge("actor", actorEdges, stateNameOf(record.info.state), to);
    this.change(step, { ...info, state: codeOf(to) }, phase);
  }
  private change(step: ActorStep, info: ActorInfo, phase: Phase): void {
    this.set(info, phase);
    step.persist.push(info);
    step.then.push({ kind: "publish", info });
  }

  /** Sets the record and its indexes together. */
  private set(info: ActorInfo, phase: Phase): void {
    const { actorId, spec } = info;
    const before = this.records.get(actorId);
    if (before !== undefined) this.byNode.delete(before.info.nodeId, actorId);
    this.records.set(actorId, { info, phase });
    if (phase.kind === "waiting") this.waitingIds.add(actorId);
    else this.waitingIds.delete(actorId);
    if (phase.kind === "dead") {
      this.byOwner.delete(spec?.owner?.workerId ?? "", actorId);
      this.byOwnerNode.delete(spec?.owner?.nodeId ?? "", actorId);
      this.byJob.delete(spec?.jobId ?? "", actorId);
      return;
    }
    this.byNode.add(info.nodeId, actorId);
    if (before !== undefined) return;
    this.byOwner.add(spec?.owner?.workerId ?? "", actorId);
    this.byOwnerNode.add(spec?.owner?.nodeId ?? "", actorId);
    this.byJob.add(spec?.jobId ?? "", actorId);
  }
}

const withoutArguments = (spec: ActorSpec): ActorSpec => ({ ...spec, args: Buffer.alloc(0), refs: [] });

function merge(into: ActorStep, from: ActorStep): void {
  into.specs.push(...from.specs);
  into.persist.push(...from.persist);
  for (const [actorId, ending] of from.endings) into.endings.set(actorId, ending);
  into.dropSpecs.push(...from.dropSpecs);
  into.forget.push(...from.forget);
  into.then.push(...from.then);
}
