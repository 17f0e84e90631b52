// ServiceOrder: whose turn it is to get a lease: round between owners, and between the classes of an owner.
//
// Owns:     the order among the classes that wait for resources of this node.
// Not mine: which classes those are, and what they get (core.ts).
// Crosses:  in: set, moveToBack, forget.  out: the order.
//
// Invariants
//   V1. an owner is in it while one of its classes is; each owner and each class once.
//   V2. who is served goes behind all others; who comes anew as well.
import type { DemandClass, DemandOwner } from "./demand.js";

export class ServiceOrder {
  /** Insertion order is the order of service, of both maps. */
  private readonly waiting = new Map<DemandOwner, Map<string, DemandClass>>();

  get isEmpty(): boolean {
    return this.waiting.size === 0;
  }
  has(demand: DemandClass): boolean {
    return this.waiting.get(demand.owner)?.get(demand.key) === demand;
  }
  /** As they are now: the order may be changed meanwhile. */
  owners(): readonly DemandOwner[] {
    return [...this.waiting.keys()];
  }
  /** Stop iterating when the order is changed. */
  classesOf(owner: DemandOwner): Iterable<DemandClass> {
    return this.waiting.get(owner)?.values() ?? nobody;
  }

  /** The class waits, or does not any more. Its place stays when nothing changes. */
  set(demand: DemandClass, waits: boolean): void {
    const { owner, key } = demand;
    const classes = this.waiting.get(owner);
    if (!waits) {
      if (classes?.delete(key) === true && classes.size === 0) this.waiting.delete(owner);
    } else if (classes === undefined) this.waiting.set(owner, new Map([[key, demand]]));
    else if (!classes.has(key)) classes.set(key, demand);
  }

  /** V2. `waits`: it wants more. */
  moveToBack(demand: DemandClass, waits: boolean): void {
    const { owner, key } = demand;
    const classes = this.waiting.get(owner);
    if (classes === undefined) return;
    if (classes.delete(key) && waits) classes.set(key, demand);
    this.waiting.delete(owner);
    if (classes.size > 0) this.waiting.set(owner, classes);
  }

  forget(owner: DemandOwner): void {
    this.waiting.delete(owner);
  }
}

const nobody: readonly DemandClass[] = [];
