// OrderlyExit: how this worker ends by itself, so that nobody loses what it began, answered or owns.
//
// Owns:     that it is on its way out, and what is still waited for.
// Not mine: what is given back unstarted (executor.ts), deaths that nobody asked for (the raylet tells of them).
// Crosses:  in: whenDone (an actor exits, maxCalls), drain and now (WorkerService.exit). out: RayletService.killWorker, ToUser.exit.
//
// Invariants
//   X1. the process ends by way of now(), once; the raylet hears that the end is meant before it comes.
//   X2. unless it is to end at once, what runs here has ended before. A worker of tasks stays, too, until nobody uses what it owns and everybody has what it
//       passed on; an actor, whose objects go with it, for `confirmWithinMs` at most, until everybody has what it passed on.
//   X3. exit code 0: every caller has its answers. Whoever has none has nothing that this worker began (Submitter U3).
import { type Clock, type Logger, messageOf } from "@tray/common";
import type { Client, RayletService } from "@tray/protocol";
import type { ToUser } from "../thread/to-user.js";
import type { Executor } from "./executor.js";
import type { Handovers } from "./handovers.js";
import type { ReferenceTable } from "./reference-table.js";

export interface OrderlyExitHost {
  readonly workerId: string;
  raylet(): Client<typeof RayletService>;
  /** Ends what this process holds elsewhere: its leases. */
  close(): void;
}

/** For what runs to end, or what was passed on to be confirmed, before it is looked at again. */
const lookAgainMs = 10;
/** For others to let go of what this worker owns. */
const lookAgainForOthersMs = 100;
/** An actor that exits waits so long for those who have its last answers. */
const confirmWithinMs = 5_000;
/** For the raylet to hear of it. */
const tellWithinMs = 1_000;

export class OrderlyExit {
  private leaving = false;

  constructor(
    private readonly user: ToUser,
    private readonly executor: Executor,
    private readonly references: ReferenceTable,
    private readonly handovers: Handovers,
    private readonly clock: Clock,
    private readonly logger: Logger,
    private readonly host: OrderlyExitHost,
  ) {}

  /** Ends on its own account. The executor takes nothing more. */
  whenDone(reason: string): void {
    // The user's thread may have begun the next task before this one's end came here.
    if (this.executor.pending > 0) this.clock.after(lookAgainMs, () => this.whenDone(reason));
    else if (this.executor.isActor) this.whenConfirmed(reason, this.clock.now() + confirmWithinMs);
    else if (!this.isNeeded) this.clock.endOfTurn(() => this.now(reason));
    else {
      // Others still use what this worker owns: it takes no more work, and ends when they are done.
      void this.announce(reason, 0);
      this.drain(reason);
    }
  }

  private whenConfirmed(reason: string, untilMs: number): void {
    if (this.handovers.count > 0 && this.clock.now() < untilMs) this.clock.after(lookAgainMs, () => this.whenConfirmed(reason, untilMs));
    else this.clock.endOfTurn(() => this.now(reason));
  }

  /** Its end would lose objects that others use, or are about to. */
  private get isNeeded(): boolean {
    return this.handovers.count > 0 || this.references.holdsForOthers();
  }

  /** Asked for by the raylet, gracefully: after what is queued. */
  drain(reason: string): void {
    if (this.executor.pending > 0) this.clock.after(lookAgainMs, () => this.drain(reason));
    else if (this.isNeeded) {
      this.user.collectGarbage(); // perhaps only forgotten handles keep them
      this.clock.after(lookAgainForOthersMs, () => this.drain(reason));
    } else {
      this.executor.isExiting = true;
      this.now(reason);
    }
  }

  /** Ends this process when what was sent has arrived. */
  now(reason: string): void {
    if (this.leaving) return;
    this.leaving = true; // X1
    this.logger.info("leaving", { reason });
    this.host.close();
    const told = this.announce(reason, tellWithinMs); // so that it counts as meant: no crash, no restart
    void Promise.all([this.executor.answers.deliver(), told]).then(([delivered]) => this.user.exit(delivered ? 0 : 1)); // X3
  }

  /** Tells the raylet that this worker takes no more work and will end by itself. timeoutMs: 0 = none. */
  private announce(reason: string, timeoutMs: number): Promise<unknown> {
    return this.host
      .raylet()
      .killWorker({ workerId: this.host.workerId, reason, graceful: true }, { timeoutMs, retry: true })
      .catch((error: unknown) => this.logger.debug("the raylet was not told", { error: messageOf(error) }));
  }
}
