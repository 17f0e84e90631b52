// Answers: what became of the tasks that were pushed here, on its way to their callers.
//
// Owns:     answers not yet sent, by caller; who pushed something, and so may have answers on their way.
// Not mine: what an answer says and that there is one for each task (executor.ts), returned references until they are confirmed (handovers.ts).
// Crosses:  in: add, acknowledge, joined, lost, send. out: CallerService.tasksDone.
//
// Invariants
//   N1. an answer leaves after the references that stay here are known to their owners (docs/decisions/0004).
//   N2. the answers of one turn leave in one message to each caller, in order.
import { type Clock, type Logger, messageOf } from "@tray/common";
import { CallerService, type TaskDone } from "@tray/protocol";
import type { Session } from "@tray/rpc";
import type { Registrar } from "./registrar.js";

/** What every message says of the worker, too. */
export interface AnsweringWorker {
  readonly isExiting: boolean;
  readonly isBlocked: boolean;
}

export class Answers {
  private readonly bySession = new Map<Session, TaskDone[]>();
  private scheduled = false;
  private readonly pushers = new Set<Session>();
  /** One of them was lost, perhaps with answers on their way. */
  private missed = false;

  constructor(
    private readonly registrar: Registrar,
    private readonly clock: Clock,
    private readonly logger: Logger,
    private readonly worker: AnsweringWorker,
  ) {}

  joined(session: Session): void {
    this.pushers.add(session);
  }

  /** inOrder: it said goodbye, and misses nothing. */
  lost(session: Session, inOrder: boolean): void {
    if (!inOrder) this.missed = true;
    this.bySession.delete(session);
    this.pushers.delete(session);
  }

  /** Of a task that passes nothing on. */
  add(session: Session, done: TaskDone): void {
    let batch = this.bySession.get(session);
    if (batch === undefined) {
      batch = [];
      this.bySession.set(session, batch);
    }
    batch.push(done);
    this.schedule();
  }

  /** Of a task whose user code has run, and may have left references here. */
  addSettled(session: Session, done: TaskDone): void {
    const settled = this.registrar.settled();
    if (settled === undefined) this.add(session, done);
    else void settled.then(() => this.add(session, done)); // N1
  }

  /** N1, of what is said otherwise. */
  whenSettled(say: () => void): void {
    const settled = this.registrar.settled();
    if (settled === undefined) say();
    else void settled.then(say);
  }

  /** The caller hears of this turn in any case, if only that there is no answer for it. */
  acknowledge(session: Session): void {
    if (!this.bySession.has(session)) this.bySession.set(session, []);
    this.schedule();
  }

  /** At the end of the turn. */
  schedule(): void {
    if (this.scheduled) return;
    this.scheduled = true;
    this.clock.soon(() => this.send());
  }

  /** Called at the end of the turn, and at once when the process is about to end. */
  send(): void {
    this.scheduled = false;
    for (const [session, tasks] of this.bySession) {
      try {
        session.client(CallerService).tasksDone({ tasks, workerExiting: this.worker.isExiting, workerBlocked: this.worker.isBlocked });
      } catch (error) {
        this.logger.debug("answers dropped: the caller is gone", { error: messageOf(error) });
      }
    }
    this.bySession.clear();
  }

  /** Sends what has been answered, and resolves when every caller has it. False: one of them may not. */
  async deliver(): Promise<boolean> {
    await this.registrar.settled(); // N1: some wait for it
    this.send();
    const all = await Promise.allSettled([...this.pushers].map((session) => session.delivered()));
    return !this.missed && all.every(({ status }) => status === "fulfilled");
  }
}
