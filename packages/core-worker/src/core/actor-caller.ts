// ActorCaller: this process's calls to one actor, in order.
//
// Owns:     the queue of calls not yet sent, calls in flight, the actor's state as last published, the session with its worker.
// Not mine: retry budgets and results (submitter.ts), the subscription itself (gcs-link.ts).
// Crosses:  in: enqueue, ready, publication, done. out: ActorCallerHost.
//
// Invariants
//   A1. calls leave in the order of their submission, each once per incarnation and attempt; one whose arguments are missing holds back those behind it.
//   A2. a call in flight when its worker is lost waits for the actor's fate, then fails or goes back to its place, at the cost of a retry. Its fate is
//       known when the GCS tells of it, or when the worker is reached again: it lived, only the way to it was cut for too long, and the GCS has
//       nothing to tell.
//   A3. nothing is sent to an actor that is not ALIVE, or to an address of an older incarnation.
import { Deque } from "@tray/common";
import { type ActorInfo, ActorState, type ErrorInfo } from "@tray/protocol";
import type { Session } from "@tray/rpc";
import { cancelledError, errorInfo } from "./failures.js";
import type { TaskEntry } from "./task-entry.js";

export interface ActorCallerHost {
  dial(address: string): Session;
  push(session: Session, tasks: TaskEntry[], incarnation: number): void;
  fail(task: TaskEntry, error: ErrorInfo): void;
  /** Takes a retry from the call's budget. */
  takeRetry(task: TaskEntry): boolean;
  soon(fn: () => void): void;
  after(delayMs: number, fn: () => void): void;
}

/** Between attempts to reach a worker that was lost and is alive as far as the GCS has told. */
const redialMinMs = 50;
const redialMaxMs = 2_000;

export class ActorCaller {
  private readonly queue = new Deque<TaskEntry>();
  private readonly inflight = new Map<number, TaskEntry>();
  /** Calls that were in flight over a session that was lost. */
  private readonly astray = new Map<number, TaskEntry>();
  private redialing = false;
  private info: ActorInfo | undefined;
  private session: Session | undefined;
  private incarnation = -1;
  private nextSequence = 0;
  private scheduled = false;
  /** The creator's registration failed: no publication will ever come. */
  private refused: ErrorInfo | undefined;

  constructor(
    readonly actorId: string,
    private readonly host: ActorCallerHost,
  ) {}

  get pending(): number {
    return this.queue.length + this.inflight.size + this.astray.size;
  }
  get state(): ActorInfo | undefined {
    return this.info;
  }

  enqueue(task: TaskEntry, again: boolean): void {
    const dead = this.deathError;
    if (dead !== undefined) {
      this.host.soon(() => this.host.fail(task, dead));
      return;
    }
    this.inflight.delete(task.number);
    if (!again) this.queue.push(task);
    else this.insertInOrder(task);
    this.schedule();
  }

  ready(): void {
    this.schedule();
  }

  withdraw(task: TaskEntry): void {
    this.queue.removeFirst((t) => t === task);
    this.schedule();
  }

  /** The worker that has a call, for cancel. */
  sessionOf(task: TaskEntry): Session | undefined {
    return this.inflight.has(task.number) ? this.session : undefined;
  }

  done(number: number): TaskEntry | undefined {
    const task = this.inflight.get(number);
    this.inflight.delete(number);
    return task;
  }

  /** Registration was refused (name taken) or the class cannot be created: every call fails with `error`. */
  refuse(error: ErrorInfo): void {
    this.refused = error;
    this.failAll(error);
  }

  published(info: ActorInfo): void {
    const before = this.info;
    // Stale, however it comes: the answer to a registration is handled after publications that arrived in the same frame.
    if (before !== undefined && (info.incarnation < before.incarnation || before.state === ActorState.DEAD)) return;
    if (before !== undefined && info.incarnation === before.incarnation && before.state === ActorState.ALIVE && isBeginning(info.state)) return;
    this.info = info;
    if (info.state === ActorState.ALIVE && info.address !== undefined) {
      if (this.incarnation !== info.incarnation) this.connect(info.incarnation, info.address.endpoint);
      else if (this.session === undefined) this.redialSoon(0); // told again of the life that we have lost the way to: A2
      return;
    }
    if (info.state === ActorState.DEAD) {
      this.session = undefined;
      this.failAll(this.deathError as ErrorInfo);
      return;
    }
    if (info.state === ActorState.RESTARTING) {
      this.session = undefined;
      this.fateKnown(
        errorInfo(
          "ACTOR_UNAVAILABLE",
          `${describe(info)} is restarting; this call was in flight when it died and was not retried: it may or may not have run`,
          {
            hint: "set maxTaskRetries to have calls repeated after a restart",
            details: { actorId: info.actorId },
          },
        ),
      );
    }
  }

  private connect(incarnation: number, address: string): void {
    // What was in flight to an earlier life has met its fate by now.
    if (this.incarnation !== incarnation) {
      this.fateKnown(
        errorInfo(
          "ACTOR_UNAVAILABLE",
          `actor ${this.actorId} was restarted while this call was in flight and was not retried: it may or may not have run`,
          {
            details: { actorId: this.actorId },
          },
        ),
      );
    }
    this.incarnation = incarnation;
    this.attach(this.host.dial(address));
  }

  private attach(session: Session): void {
    this.session = session;
    this.nextSequence = 0;
    let opened = false;
    session.opened().then(
      () => (opened = true),
      () => undefined, // onLost tells
    );
    session.onLost(() => {
      if (this.session !== session) return;
      this.session = undefined;
      const calls = [...this.inflight.values()];
      this.inflight.clear();
      for (const task of calls) {
        if (opened) this.astray.set(task.number, task);
        else this.putBack(task); // nothing leaves before a session is open
      }
      this.redialSoon(redialMinMs);
    });
    this.schedule();
  }

  /** A2: the GCS will say what happened, or the worker is there after all. */
  private redialSoon(delayMs: number): void {
    if (this.redialing) return;
    this.redialing = true;
    this.host.after(delayMs, () => {
      this.redialing = false;
      if (this.isLost && this.pending > 0) this.redial(Math.min(redialMaxMs, delayMs * 2));
    });
  }

  private redial(nextDelayMs: number): void {
    const { incarnation, info } = this;
    const { endpoint = "", workerId = "" } = info?.address ?? {};
    this.redialing = true;
    const session = this.host.dial(endpoint);
    session.opened().then(
      () => {
        this.redialing = false;
        if (!this.isLost) return;
        // Another process may have the address by now: then the GCS has yet to tell of the end of the one before.
        if (this.incarnation !== incarnation || session.peer?.id !== workerId || session.state === "lost") return this.redialSoon(nextDelayMs);
        this.fateKnown(
          errorInfo(
            "ACTOR_UNAVAILABLE",
            `the connection with actor ${this.actorId} was lost while this call was in flight, and it was not retried: it may or may not have run`,
            { hint: "set maxTaskRetries to have such calls repeated", details: { actorId: this.actorId } },
          ),
        );
        this.attach(session);
      },
      () => {
        this.redialing = false;
        if (this.isLost) this.redialSoon(nextDelayMs);
      },
    );
  }

  /** There is no way to the worker, though the GCS says that it lives. */
  private get isLost(): boolean {
    return this.session === undefined && this.info?.state === ActorState.ALIVE;
  }

  private putBack(task: TaskEntry): void {
    if (task.cancelled) {
      this.host.fail(task, cancelledError(task));
      return;
    }
    task.state = "queued";
    this.insertInOrder(task);
  }

  /** Calls in flight to a lost worker: back to their place, or failed. */
  private fateKnown(error: ErrorInfo): void {
    const calls = [...this.astray.values(), ...this.inflight.values()];
    this.astray.clear();
    this.inflight.clear();
    for (const task of calls) {
      if (this.host.takeRetry(task)) {
        task.attempt++;
        this.putBack(task);
      } else this.host.fail(task, error);
    }
    this.schedule();
  }

  private failAll(error: ErrorInfo): void {
    const calls = [...this.astray.values(), ...this.inflight.values(), ...this.queue];
    this.astray.clear();
    this.inflight.clear();
    this.queue.clear();
    for (const task of calls) this.host.fail(task, error);
  }

  /** Why no call will ever be answered: it is dead, or was never registered. */
  get deathError(): ErrorInfo | undefined {
    if (this.refused !== undefined) return this.refused;
    if (this.info?.state !== ActorState.DEAD) return undefined;
    return this.info.deathCause ?? errorInfo("ACTOR_DIED", `${describe(this.info)} is dead`, { details: { actorId: this.actorId } });
  }

  private insertInOrder(task: TaskEntry): void {
    const rest: TaskEntry[] = [];
    for (let head = this.queue.peek(); head !== undefined && head.number < task.number; head = this.queue.peek())
      rest.push(this.queue.shift() as TaskEntry);
    this.queue.unshift(task);
    for (let i = rest.length - 1; i >= 0; i--) this.queue.unshift(rest[i] as TaskEntry);
  }

  private schedule(): void {
    if (this.scheduled) return;
    this.scheduled = true;
    this.host.soon(() => {
      this.scheduled = false;
      this.sendReady();
    });
  }

  private sendReady(): void {
    const { session } = this;
    if (this.isLost && this.queue.length > 0) this.redialSoon(redialMinMs);
    if (session === undefined || this.info?.state !== ActorState.ALIVE) return; // A3
    const batch: TaskEntry[] = [];
    for (let head = this.queue.peek(); head !== undefined; head = this.queue.peek()) {
      if (head.state !== "queued") {
        if (head.state === "waiting") break; // A1
        this.queue.shift(); // ended meanwhile (cancelled, failed dependency)
        continue;
      }
      this.queue.shift();
      head.state = "pushed";
      head.sequence = this.nextSequence++;
      this.inflight.set(head.number, head);
      batch.push(head);
    }
    if (batch.length > 0) this.host.push(session, batch, this.incarnation);
  }
}

/** What an incarnation is before it is ALIVE. */
const isBeginning = (state: ActorState): boolean => state !== ActorState.ALIVE && state !== ActorState.DEAD;

function describe(info: ActorInfo): string {
  return `actor ${info.spec?.name !== undefined && info.spec.name !== "" ? `"${info.spec.name}"` : info.actorId} (${info.spec?.className ?? "class unknown"})`;
}
