// Checks: what must hold at every moment of a simulation, whatever fails. The books are kept apart from those of the code under test.
//
// Invariants (of the code under test)
//   K1. A task's function begins at most 1 + maxRetries times; a call of an actor with maxTaskRetries 0 at most once.
//   K2. The processors of what runs on a node are no more than the node has. Leases do not count whose processors were lent to others while a task
//       waited: what resumes takes them again at once (docs/protocols, Tasks 5).
//   K3. Of an actor one process is alive, except on nodes that the cluster has given up; and never two of one incarnation.
//   K4. Calls of one caller begin in the order of their submission within an incarnation; one that began there already may begin again as a retry.
//   K5. Acknowledged effects of a later incarnation do not precede those of an earlier one.
//   K7. A generator is not asked for an item while its limit of items wait for their consumer.
//   K6. The cores of the daemons pass their own checks.
import type { ExecActor, ExecTemplate, TemplateOptions } from "@tray/core-worker";
import type { UserThread } from "../user/user-thread.js";
import type { EventLog } from "../world/event-log.js";

interface Submitted {
  readonly name: string;
  readonly maxRetries: number;
  begun: number;
  /** Streams: how many items may wait for their consumer, and how many it has asked for. */
  readonly backpressure: number;
  asked: number;
}

interface ActorBook {
  readonly maxRestarts: number;
  readonly maxTaskRetries: number;
  /** Processes that were it, by incarnation. */
  readonly lives: { readonly user: UserThread; readonly incarnation: number }[];
  /** Submission numbers begun, by incarnation and caller. */
  readonly order: Map<string, { last: number; readonly begun: Set<number> }>;
  /** Times of acknowledged effects, by incarnation. */
  readonly effects: Map<number, { first: number; last: number }>;
}

export interface CheckedWorld {
  readonly log: EventLog;
  now(): number;
  /** The cluster has declared the node dead. */
  isGivenUp(nodeId: string): boolean;
  cpusOf(nodeId: string): number;
  usersOn(nodeId: string): Iterable<UserThread>;
  /** The lease that the worker serves was blocked at some time. */
  wasLent(user: UserThread): boolean;
  checkDaemons(): void;
}

export class Checks {
  private readonly tasks = new Map<string, Submitted>();
  private readonly actors = new Map<string, ActorBook>();
  /** Processes that user code ended: by a crash of its own, or by a cancel with force. */
  private readonly endedByUser = new Set<number>();
  private events = 0;

  constructor(
    private readonly world: CheckedWorld,
    /** The daemons' own checks run once in so many events. */
    private readonly every: number,
  ) {}

  /** Before each event: all that the one before caused has happened. */
  beforeEvent(): void {
    if (++this.events % this.every === 0) this.world.checkDaemons(); // K6
  }
  get eventCount(): number {
    return this.events;
  }

  processEndedByUser(pid: number): void {
    this.endedByUser.add(pid);
  }
  /** The failure names a process that user code ended. */
  blamesUser(message: string): boolean {
    const pid = /\bworker process (\d+) /.exec(message)?.[1];
    return pid !== undefined && this.endedByUser.has(Number(pid));
  }

  submitted(taskId: string, options: TemplateOptions): void {
    if (this.tasks.has(taskId)) this.world.log.violated(`task id ${taskId} was given twice`);
    this.tasks.set(taskId, { name: options.name, maxRetries: options.maxRetries, begun: 0, backpressure: options.backpressure ?? 0, asked: 0 });
  }
  actorCreated(actorId: string, options: { maxRestarts: number; maxTaskRetries: number }): void {
    this.actors.set(actorId, { ...options, lives: [], order: new Map(), effects: new Map() });
  }

  executing(user: UserThread, template: ExecTemplate, number: number, taskId: string, attempt: number): void {
    const task = this.tasks.get(taskId);
    if (task === undefined) {
      this.world.log.violated(`${user.process.host} runs ${template.name} ${taskId}, which nobody submitted`);
      return;
    }
    task.begun++;
    if (task.maxRetries >= 0 && task.begun > task.maxRetries + 1) {
      this.world.log.violated(
        `K1: ${template.name} ${taskId} begins for the ${task.begun}. time (attempt ${attempt}), with ${task.maxRetries} retries`,
      );
    }
    if (template.actorId === "") this.checkProcessors(user);
    else this.checkOrder(user, template, number, attempt);
  }
  askedForItem(taskId: string): void {
    const task = this.tasks.get(taskId);
    if (task !== undefined) task.asked++;
  }
  /** K7 */
  yielded(taskId: string, index: number): void {
    const task = this.tasks.get(taskId);
    if (task !== undefined && task.backpressure > 0 && index - task.asked > task.backpressure)
      this.world.log.violated(
        `K7: stream ${task.name} ${taskId} yields item ${index} when ${task.asked} were asked for, with a limit of ${task.backpressure}`,
      );
  }
  actorBegan(user: UserThread, spec: ExecActor): void {
    const book = this.actors.get(spec.actorId);
    if (book === undefined) {
      this.world.log.violated(`${user.process.host} became actor ${spec.actorId}, which nobody created`);
      return;
    }
    for (const life of book.lives) {
      if (!life.user.process.alive) continue;
      if (life.incarnation === spec.incarnation)
        this.world.log.violated(
          `K3: actor ${spec.actorId} incarnation ${spec.incarnation} is made twice, in ${life.user.process.host} and ${user.process.host}`,
        );
      else if (!this.world.isGivenUp(life.user.facts.nodeId)) {
        this.world.log.violated(
          `K3: actor ${spec.actorId} lives as incarnation ${spec.incarnation} in ${user.process.host} while incarnation ${life.incarnation} is alive in ${life.user.process.host}`,
        );
      }
    }
    book.lives.push({ user, incarnation: spec.incarnation });
  }

  /** A caller has the answer of a call that ran at `atMs`. */
  acknowledged(actorId: string, incarnation: number, atMs: number): void {
    const book = this.actors.get(actorId);
    if (book === undefined) return;
    const known = book.effects.get(incarnation);
    book.effects.set(incarnation, { first: Math.min(known?.first ?? atMs, atMs), last: Math.max(known?.last ?? atMs, atMs) });
    if (book.lives.some((life) => this.world.isGivenUp(life.user.facts.nodeId))) return; // a node behind a partition may answer its own a little longer
    for (const [other, times] of book.effects) {
      if (other < incarnation ? times.last > atMs : other > incarnation && times.first < atMs) {
        this.world.log.violated(`K5: actor ${actorId}: effects of incarnations ${other} and ${incarnation} are acknowledged out of order`);
      }
    }
  }

  private checkOrder(user: UserThread, template: ExecTemplate, number: number, attempt: number): void {
    const book = this.actors.get(template.actorId);
    const { actor } = user.executor;
    if (book === undefined || actor === undefined) return;
    const key = `${actor.spec.incarnation}|${template.callerWorkerId}`;
    const order = book.order.get(key) ?? { last: -1, begun: new Set() };
    const { last, begun } = order;
    if (number <= last && !(attempt > 0 && begun.has(number)))
      this.world.log.violated(
        `K4: actor ${template.actorId} incarnation ${actor.spec.incarnation} begins call ${number} of ${template.callerWorkerId.slice(0, 8)} after call ${last}`,
      );
    order.last = Math.max(last, number);
    begun.add(number);
    book.order.set(key, order);
  }

  private checkProcessors(user: UserThread): void {
    const { nodeId } = user.facts;
    let sum = 0;
    const who: string[] = [];
    const count = (other: UserThread, what: string, cpus: number): void => {
      sum += cpus;
      if (cpus > 0) who.push(`${other.process.host} ${what} ${cpus / 10_000}`);
    };
    for (const other of this.world.usersOn(nodeId)) {
      if (other.executor.actor !== undefined) count(other, other.executor.actor.spec.actorId, other.executor.actor.spec.resources["CPU"] ?? 0);
      for (const { activation, template } of other.executor.running.values()) {
        if (template.actorId === "" && !activation.waited && !this.world.wasLent(other))
          count(other, `${template.name} ${activation.taskId}`, template.resources["CPU"] ?? 0);
      }
    }
    const total = this.world.cpusOf(nodeId);
    if (sum > total) this.world.log.violated(`K2: ${sum / 10_000} processors are in use on a node of ${total / 10_000}: ${who.join(", ")}`);
  }
}
