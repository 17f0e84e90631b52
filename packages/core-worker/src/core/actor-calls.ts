// ActorCalls: the actors that this process calls or created.
//
// Owns:     one ActorCaller per actor, creations under way, who waits for an actor to be ready.
// Not mine: order within an actor (actor-caller.ts), the actor table (GCS).
import { type Clock, type Deferred, deferred, isTrayError, type Logger, messageOf, type TrayError } from "@tray/common";
import { type ActorInfo, type ActorSpec, ActorState, type ErrorInfo, type TaskDone, type TasksDone, WorkerService } from "@tray/protocol";
import type { Session } from "@tray/rpc";
import { ActorCaller } from "./actor-caller.js";
import { errorInfo, errorInfoOf } from "./failures.js";
import type { GcsLink } from "./gcs-link.js";
import { newTemplates } from "./leases.js";
import type { Peers } from "./peers.js";
import type { Submitter } from "./submitter.js";
import type { TaskEntry } from "./task-entry.js";

const callsOnSession = Symbol("calls");

export interface ActorWaiter {
  resolve(): void;
  reject(error: ErrorInfo): void;
}

export class ActorCalls {
  private readonly callers = new Map<string, ActorCaller>();
  private readonly waiters = new Map<string, Set<ActorWaiter>>();
  /** Actors that existed under a wanted name: who of this process calls them by the id that it had made for its own. */
  private readonly aliases = new Map<string, Set<string>>();
  private readonly registrations = new Map<string, Deferred<void>>();

  constructor(
    private readonly gcs: GcsLink,
    private readonly peers: Peers,
    private readonly clock: Clock,
    private readonly logger: Logger,
    private readonly submitter: () => Submitter,
    private readonly answered: (session: Session, task: TaskEntry, done: TaskDone) => void,
  ) {}

  /** An actor of this process will be registered once its arguments and its class are there: `create` or `refuse` follows. */
  expect(actorId: string): void {
    this.registrations.set(actorId, deferred());
  }
  /**
   * Runs `fn` when the GCS has answered the registration of an actor of this process, at once for any other. A kill that overtook the registration
   * would find nobody to kill.
   */
  whenRegistered(actorId: string, fn: () => void): void {
    const registration = this.registrations.get(actorId);
    if (registration === undefined) fn();
    else void registration.promise.then(fn);
  }
  /** `alias` stands for an actor that existed: what is published about that one concerns it. */
  private follow(actorId: string, alias: string): void {
    this.gcs.unsubscribe(channelOf(alias));
    const known = this.aliases.get(actorId);
    if (known !== undefined) known.add(alias);
    else this.aliases.set(actorId, new Set([alias]));
    this.callerOf(actorId);
  }
  private registered(actorId: string): void {
    this.registrations.get(actorId)?.resolve();
    this.registrations.delete(actorId);
  }

  /** Registers the actor; calls may be queued before it answers. */
  create(spec: ActorSpec, getIfExists: boolean): void {
    this.callerOf(spec.actorId);
    this.gcs.client.registerActor({ spec, getIfExists }, { timeoutMs: 0, retry: true }).then(
      ({ info }) => {
        if (info !== undefined && info.actorId !== spec.actorId) this.follow(info.actorId, spec.actorId);
        if (info !== undefined) this.published(spec.actorId, info);
        this.registered(spec.actorId);
      },
      (error: unknown) => this.refuse(spec.actorId, errorInfoOf(error)),
    );
  }
  refuse(actorId: string, error: ErrorInfo): void {
    this.callerOf(actorId).refuse(error);
    this.settleWaiters(actorId, error);
    this.gcs.unsubscribe(channelOf(actorId));
    this.registered(actorId);
  }

  enqueued(task: TaskEntry, again: boolean): void {
    this.callerOf(task.template.options.actorId as string).enqueue(task, again);
  }
  ready(task: TaskEntry): void {
    this.callerOf(task.template.options.actorId as string).ready();
  }
  withdraw(task: TaskEntry): void {
    this.callerOf(task.template.options.actorId as string).withdraw(task);
  }
  cancelPushed(task: TaskEntry, force: boolean, recursive: boolean): void {
    const session = this.callers.get(task.template.options.actorId as string)?.sessionOf(task);
    session?.client(WorkerService).cancelTask({ number: task.number, force, recursive });
  }

  /** Resolves when the actor is ALIVE, rejects when it is dead or was refused. Answers how to stop waiting. */
  whenReady(actorId: string, waiter: ActorWaiter): () => void {
    const caller = this.callerOf(actorId);
    const { deathError } = caller;
    if (deathError !== undefined) {
      waiter.reject(deathError);
      return () => undefined;
    }
    if (caller.state?.state === ActorState.ALIVE) {
      waiter.resolve();
      return () => undefined;
    }
    let set = this.waiters.get(actorId);
    if (set === undefined) {
      set = new Set();
      this.waiters.set(actorId, set);
    }
    set.add(waiter);
    return () => set.delete(waiter);
  }

  /** No handle of this process is left: stop following it, once nothing is queued. */
  forget(actorId: string): void {
    const caller = this.callers.get(actorId);
    if (caller === undefined || caller.pending > 0 || this.aliases.has(actorId)) return;
    this.callers.delete(actorId);
    for (const [followed, aliases] of this.aliases) {
      if (!aliases.delete(actorId) || aliases.size > 0) continue;
      this.aliases.delete(followed);
      this.forget(followed); // a handle that is left to it follows it again with its next call
    }
    this.gcs.unsubscribe(channelOf(actorId));
  }

  tasksDone(session: Session, message: TasksDone): void {
    const callers = session.local.get(callsOnSession) as Set<ActorCaller> | undefined;
    if (callers === undefined) return;
    for (const done of message.tasks) {
      for (const caller of callers) {
        const task = caller.done(done.number);
        if (task === undefined) continue;
        this.answered(session, task, done);
        break;
      }
    }
  }

  private published(actorId: string, info: ActorInfo): void {
    const caller = this.callers.get(actorId);
    if (caller === undefined) return;
    caller.published(info);
    for (const alias of this.aliases.get(actorId) ?? []) this.published(alias, info);
    if (info.state === ActorState.ALIVE) this.settleWaiters(actorId, undefined);
    else if (info.state === ActorState.DEAD) this.settleWaiters(actorId, info.deathCause ?? errorInfo("ACTOR_DIED", `actor ${actorId} is dead`));
  }

  private settleWaiters(actorId: string, error: ErrorInfo | undefined): void {
    const set = this.waiters.get(actorId);
    this.waiters.delete(actorId);
    if (set === undefined) return;
    for (const waiter of set) {
      if (error === undefined) waiter.resolve();
      else waiter.reject(error);
    }
  }

  private callerOf(actorId: string): ActorCaller {
    let caller = this.callers.get(actorId);
    if (caller !== undefined) return caller;
    const made = new ActorCaller(actorId, {
      dial: (address) => this.peers.worker(address),
      push: (session, tasks, incarnation) => this.push(session, made, tasks, incarnation),
      fail: (task, error) => {
        this.submitter().abandoned(task);
        this.submitter().fail(task, error);
      },
      takeRetry: (task) => {
        this.submitter().abandoned(task);
        return this.submitter().takeRetry(task);
      },
      soon: (fn) => this.clock.soon(fn),
      after: (delayMs, fn) => void this.clock.after(delayMs, fn),
    });
    caller = made;
    this.callers.set(actorId, caller);
    this.gcs.subscribe(channelOf(actorId), (publication) => {
      if (publication.body?.$case === "actor") this.published(actorId, publication.body.value);
      else if (publication.gap) this.reread(actorId);
    });
    return caller;
  }

  private reread(actorId: string): void {
    this.gcs.client.getActor({ actorId, name: "", namespace: "" }, { timeoutMs: 0, retry: true }).then(
      ({ info }) => {
        if (info !== undefined) this.published(actorId, info);
      },
      (error: TrayError | unknown) =>
        this.logger.warn("an actor's state could not be read", { actorId, error: isTrayError(error) ? error.code : messageOf(error) }),
    );
  }

  private push(session: Session, caller: ActorCaller, tasks: TaskEntry[], incarnation: number): void {
    let callers = session.local.get(callsOnSession) as Set<ActorCaller> | undefined;
    if (callers === undefined) {
      callers = new Set();
      session.local.set(callsOnSession, callers);
    }
    callers.add(caller);
    const templates = newTemplates(session, tasks);
    const submitter = this.submitter();
    session
      .client(WorkerService)
      .pushTasks({ templates, tasks: tasks.map((task) => ({ ...submitter.toWire(task, session), incarnation })), leaseId: "" });
  }
}

const channelOf = (actorId: string): string => `actor/${actorId}`;
