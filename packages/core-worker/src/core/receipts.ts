// Receipts: what workers answer for tasks of this process, and the word back to them that the references in it are safe: the taker's side of handovers.ts.
//
// Owns:     nothing: what must be known before a word may leave is the registrar's.
// Not mine: what an answer means (submitter.ts), telling owners (registrar.ts), the giver's hold until it has the word (handovers.ts).
// Crosses:  in: done, itemsMade, progress. out: Submitter.done / itemMade, WorkerService.confirmReturns / streamProgress.
//
// Invariants
//   P1. references are confirmed once their owners know that they are held here (docs/decisions/0004), also those that nobody here wants any more.
import { type Logger, messageOf } from "@tray/common";
import { type StreamItems, type StreamProgress, type TaskDone, WorkerService } from "@tray/protocol";
import type { Session } from "@tray/rpc";
import type { Registrar } from "./registrar.js";
import type { Submitter } from "./submitter.js";
import type { TaskEntry } from "./task-entry.js";

export class Receipts {
  constructor(
    private readonly submitter: Submitter,
    private readonly registrar: Registrar,
    private readonly logger: Logger,
  ) {}

  readonly done = (session: Session, task: TaskEntry, done: TaskDone): void => {
    this.submitter.done(task, done);
    if (!done.needsConfirmation) return;
    this.whenSettled(() => session.client(WorkerService).confirmReturns({ numbers: [done.number] }));
  };

  itemsMade(session: Session, message: StreamItems): void {
    for (const item of message.items) {
      const task = this.submitter.get(item.number);
      if (task !== undefined) this.submitter.itemMade(task, item);
      if (item.item === undefined || item.item.contained.length === 0) continue;
      const { number, attempt, index } = item;
      const consumed = task?.stream?.consumed ?? 0;
      this.whenSettled(() => this.progress(session, { number, attempt, consumed, confirmed: [index] }));
    }
  }

  /** To the producer of a stream. */
  progress(session: Session, progress: StreamProgress): void {
    try {
      session.client(WorkerService).streamProgress(progress);
    } catch (error) {
      this.logger.debug("a stream's producer is gone", { error: messageOf(error) }); // its loss is told elsewhere
    }
  }

  private whenSettled(confirm: () => void): void {
    const settled = this.registrar.settled();
    if (settled === undefined) confirm();
    else void settled.then(confirm).catch((error: unknown) => this.logger.debug("confirmation not sent", { error: messageOf(error) })); // P1
  }
}
