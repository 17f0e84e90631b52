// ResourceLedger: who holds which part of this node's resources.
//
// Owns:     the total, what is available, one entry per holder (a lease, an actor, a job supervisor).
// Not mine: who should get something next (lease/core.ts), what the cluster has (view/).
// Crosses:  in: acquire, swap, block, unblock, release.  out: answers only.
//
// Invariants
//   R1. available = total − Σ held (without what blocked holders gave back), in exact fixed point.
//   R2. acquire never makes a quantity negative. Only unblock and a swap upwards may, because a running task cannot be stopped halfway;
//       while a quantity is in debt nothing that needs it is granted.
//   R3. A holder appears once; release and unblock of an unknown holder change nothing (the message was late).
import { invariant } from "@tray/common";
import { add, covers, noResources, type Resources, subtract } from "@tray/protocol";

interface Holding {
  held: Resources;
  /** The part that was given back while it waits; undefined = not blocked. */
  lent: Resources | undefined;
}

/** What a task gives back while it waits for others: processors, never devices or memory, whose contents it still uses. */
const lendable = "CPU";

export class ResourceLedger {
  private free: Resources;
  private readonly holdings = new Map<string, Holding>();

  constructor(readonly total: Resources) {
    this.free = total;
  }

  /** Quantities may be negative (debt of resumed tasks, R2). */
  get available(): Resources {
    return this.free;
  }
  get holders(): number {
    return this.holdings.size;
  }
  /** Whether this node could ever serve `want`. */
  feasible(want: Resources): boolean {
    return covers(this.total, want);
  }
  fits(want: Resources): boolean {
    return covers(this.free, want);
  }
  heldBy(holder: string): Resources | undefined {
    return this.holdings.get(holder)?.held;
  }

  /** True when `holder` now has `want`; false changes nothing. */
  acquire(holder: string, want: Resources): boolean {
    invariant(!this.holdings.has(holder), () => `R3: ${holder} holds resources already`);
    if (!covers(this.free, want)) return false;
    this.free = subtract(this.free, want); // R2: throws where covers() lied
    this.holdings.set(holder, { held: want, lent: undefined });
    return true;
  }

  /** Replaces what `holder` has, e.g. an actor's placement requirements by its lifetime resources. */
  swap(holder: string, next: Resources): boolean {
    const holding = this.holdings.get(holder);
    if (holding === undefined) return false;
    this.unblock(holder);
    this.free = subtract(add(this.free, holding.held), next, true);
    holding.held = next;
    return true;
  }

  /** `holder` waits for others: its processors are for them meanwhile. */
  block(holder: string): boolean {
    const holding = this.holdings.get(holder);
    if (holding === undefined || holding.lent !== undefined) return false;
    const cpus = holding.held[lendable] ?? 0;
    holding.lent = cpus === 0 ? noResources : { [lendable]: cpus };
    this.free = add(this.free, holding.lent);
    return true;
  }

  /** `holder` goes on: it takes its processors again at once, in debt if need be (R2). */
  unblock(holder: string): boolean {
    const holding = this.holdings.get(holder);
    if (holding?.lent === undefined) return false;
    this.free = subtract(this.free, holding.lent, true);
    holding.lent = undefined;
    return true;
  }

  isBlocked(holder: string): boolean {
    return this.holdings.get(holder)?.lent !== undefined;
  }

  release(holder: string): boolean {
    const holding = this.holdings.get(holder);
    if (holding === undefined) return false;
    this.unblock(holder);
    this.free = add(this.free, holding.held);
    this.holdings.delete(holder);
    return true;
  }

  /** Throws InvariantError when R1 does not hold. For tests. */
  check(): void {
    let sum: Resources = this.free;
    for (const { held, lent } of this.holdings.values()) sum = subtract(add(sum, held), lent ?? noResources, true);
    for (const name of new Set([...Object.keys(sum), ...Object.keys(this.total)])) {
      invariant((sum[name] ?? 0) === (this.total[name] ?? 0), () => `R1: ${name} ${sum[name]} of ${this.total[name]}`);
    }
  }
}
