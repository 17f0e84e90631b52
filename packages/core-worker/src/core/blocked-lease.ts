// BlockedLease: whether what runs under this worker's lease waits for something that is not there; the lease's CPU goes back to the raylet meanwhile, since
// who makes that may need it.
//
// Owns:     what waits here (gets, generators, missing arguments), and what the raylet was told of it.
// Not mine: what is waited for (requests.ts, dependencies.ts, outgoing-streams.ts), resources (the raylet's), what is done with tasks behind one that waits.
// Crosses:  in: blockedBegin, blockedEnd, lackingBegin, lackingEnd, consider. out: BlockedLeaseHost.
//
// Invariants
//   K1. the raylet is told in pairs: lent, taken back; of one lease at a time.
//   K2. an actor has its CPU, if any, for good: only its construction lends.
//   K3. nothing that takes less than `blockedAfterMs` is told.
import type { Clock } from "@tray/common";

export interface BlockedLeaseHost {
  /** To the raylet. leaseId: "" = that of an actor under construction. */
  blocked(leaseId: string, blocked: boolean): void;
  /** Executions that the user's thread has. */
  handed(): number;
  /** What has not begun would wait behind a task that waits, perhaps for it. */
  giveBackAll(): void;
}

/** For what waits to be called waiting. */
export const blockedAfterMs = 2;

export class BlockedLease {
  /** What this worker does with its lease. */
  private serves: "tasks" | "construction" | "actor" = "tasks";
  /** The last one under which tasks came. */
  private leaseId = "";
  private waiting = 0;
  private lacking = 0;
  /** The lease whose CPU was given back. */
  private lent: string | undefined;

  constructor(
    private readonly clock: Clock,
    private readonly host: BlockedLeaseHost,
  ) {}

  /** User code waits, and the raylet knows. */
  get isBlocked(): boolean {
    return this.waiting > 0 && this.lent !== undefined;
  }

  /** Tasks came under this lease. */
  servesTasks(leaseId: string): void {
    if (leaseId !== "") this.leaseId = leaseId;
  }
  servesConstruction(): void {
    this.serves = "construction";
  }
  /** Its constructor begins. */
  servesActor(): void {
    this.serves = "actor";
  }

  /** User code of a task waits for something that is not there. Paired with blockedEnd(). */
  blockedBegin(): void {
    this.waiting++;
    if (this.waiting > 1 || this.serves !== "tasks") return; // K2
    this.clock.after(blockedAfterMs, () => {
      if (this.waiting === 0 || this.lent !== undefined || this.host.handed() === 0) return;
      this.lend(this.leaseId);
      this.host.giveBackAll();
    });
  }
  blockedEnd(): void {
    this.waiting--;
    if (this.waiting === 0) this.takeBack();
  }

  /** A task, or the constructor of an actor, waits for an argument that somebody has yet to make. Paired with lackingEnd(); consider() follows. */
  lackingBegin(): void {
    this.lacking++;
  }
  lackingEnd(): void {
    this.lacking--;
  }

  /** What is lacking, or runs, may have changed: while nothing runs and something lacks an argument, the CPU is lent. */
  consider(): void {
    if (this.lacking === 0 && this.lent === undefined) return;
    const starved = this.lacking > 0 && this.host.handed() === 0;
    if (starved && this.lent === undefined) {
      if (this.serves === "construction") this.lend("");
      else if (this.serves === "tasks" && this.leaseId !== "") this.lend(this.leaseId);
    } else if (!starved && this.waiting === 0) this.takeBack();
  }

  private lend(leaseId: string): void {
    this.lent = leaseId;
    this.host.blocked(leaseId, true);
  }
  private takeBack(): void {
    if (this.lent === undefined) return; // K1
    const leaseId = this.lent;
    this.lent = undefined;
    this.host.blocked(leaseId, false);
  }
}
