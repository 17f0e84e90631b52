// Admission: whose objects are fetched next. Not more at a time than the store has room for.
//
// Owns:     requests that wait for their turn, requests that have it.
// Not mine: room for one object (ObjectTableCore), how objects come (Fetches), what is done when nothing fits (Pressure).
// Crosses:  in: enter, leave, kick, favourOne, refuseAll.  out: a request has its turn, or has to give it up.
//
// The unit is a request: the objects that somebody needs together. Two tasks that each hold half of their arguments, in a store that is full of those,
// would wait for each other for ever.
//
// Invariants
//   A1. What admitted requests still lack fits into the store together with what is pinned there, when they are admitted.
//   A2. Turns go by purpose (get, wait, arguments), then by arrival; a request that would fit does not overtake (a large one would starve), unless nothing
//       else moves.
//   A3. A request that its caller gave up leaves no place behind.
import { deferred, type Deferred, TrayError } from "@tray/common";

/** What somebody wants objects for, in the order of urgency: a program waits for it; it wants to know; a task will need it. */
export const purposes = ["get", "wait", "argument"] as const;
export type Purpose = (typeof purposes)[number];

/** The objects that one request needs together. */
export interface Bundle {
  /** When it was asked for. */
  readonly sinceMs: number;
  readonly purpose: Purpose;
  /** Bytes of its objects that have no place in the store yet, or only until somebody needs it. Asked again and again. */
  lacking(): number;
  /** It has to let go of what it has, leave, and may enter again. `alone`: for its own sake. */
  giveUp(alone: boolean): void;
}

export class Admission {
  private readonly waiting: Record<Purpose, Map<Bundle, Deferred<void>>> = { get: new Map(), wait: new Map(), argument: new Map() };
  /** In the order of their admission. */
  private readonly admitted = new Set<Bundle>();
  private favoured: Bundle | undefined;
  private count = 0;

  constructor(
    /** Bytes that are free or can be made free: what is not pinned and not being written. */
    private readonly room: () => number,
    private readonly waitingMax: number,
  ) {}

  get waitingCount(): number {
    return this.count;
  }
  waitingBundles(): Bundle[] {
    return purposes.flatMap((purpose) => [...this.waiting[purpose].keys()]);
  }
  /** Requests wait, and none that could end is under way. */
  get isStuck(): boolean {
    return this.count > 0 && this.admitted.size === 0;
  }

  /** Resolves when the request has its turn; who had it calls leave(). @throws RESOURCE_EXHAUSTED too many wait. A refusal. The signal's reason. */
  async enter(bundle: Bundle, signal: AbortSignal): Promise<void> {
    signal.throwIfAborted();
    if (this.count >= this.waitingMax)
      throw new TrayError("RESOURCE_EXHAUSTED", `${this.count} requests wait for objects to be fetched to this node`);
    const turn = deferred<void>();
    this.waiting[bundle.purpose].set(bundle, turn);
    this.count++;
    const aborted = (): void => {
      if (!this.remove(bundle)) return; // it has its turn
      turn.reject(signal.reason as Error);
      this.kick(); // A3: it may have been the one that did not fit
    };
    signal.addEventListener("abort", aborted, { once: true });
    this.kick();
    await turn.promise.finally(() => signal.removeEventListener("abort", aborted));
  }

  leave(bundle: Bundle): void {
    if (this.favoured === bundle) this.favoured = undefined;
    if (this.admitted.delete(bundle)) this.kick();
  }

  /** There may be more room. */
  kick(): void {
    if (this.count === 0 || this.favoured !== undefined) return;
    let reserved = 0;
    for (const bundle of this.admitted) reserved += bundle.lacking();
    const room = this.room();
    for (const purpose of purposes) {
      for (const [bundle, turn] of this.waiting[purpose]) {
        reserved += bundle.lacking();
        if (reserved > room) return; // A1, A2
        this.admit(bundle, turn);
      }
    }
  }

  private admit(bundle: Bundle, turn: Deferred<void>): void {
    this.remove(bundle);
    this.admitted.add(bundle);
    turn.resolve();
  }

  /**
   * All but one give up their turns, and nobody has one until that one is done: what the others hold may split the room that it needs. The one is the
   * first that was admitted. One that is alone begins anew: what it holds itself may be in the way of the rest. Those that lack no room are let be.
   * @param filling bytes are on their way: one that is alone may yet find room when they have come.
   */
  favourOne(filling: boolean): void {
    if (this.admitted.size === 0) {
      this.letOnePass();
      return;
    }
    const [first, ...others] = [...this.admitted].filter((bundle) => bundle.lacking() > 0);
    if (others.length === 0) {
      if (!filling) first?.giveUp(true);
      return;
    }
    this.favoured = first;
    for (const bundle of others) bundle.giveUp(false);
  }

  /** The first that fits, whoever is before it: a task that holds what these wait for may itself wait for this one. */
  private letOnePass(): void {
    const room = this.room();
    for (const purpose of purposes) {
      for (const [bundle, turn] of this.waiting[purpose]) {
        if (bundle.lacking() > room) continue;
        this.admit(bundle, turn);
        return;
      }
    }
  }

  /** Nobody who waits will have a turn. */
  refuseAll(refusal: (bundle: Bundle) => TrayError): void {
    for (const purpose of purposes) {
      for (const [bundle, turn] of this.waiting[purpose]) {
        this.remove(bundle);
        turn.reject(refusal(bundle));
      }
    }
  }

  private remove(bundle: Bundle): boolean {
    const wasWaiting = this.waiting[bundle.purpose].delete(bundle);
    if (wasWaiting) this.count--;
    return wasWaiting;
  }
}
