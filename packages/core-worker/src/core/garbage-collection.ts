// Asks the user's thread to collect garbage: handles that user code has forgotten hold objects until then.
import { type Clock, type Deferred, deferred } from "@tray/common";

/** A user's thread that computes collects when it is done; nobody waits for that. */
const answerWithinMs = 1_000;

export class GarbageCollection {
  private underWay: Deferred<void> | undefined;

  constructor(
    private readonly clock: Clock,
    private readonly ask: () => void,
  ) {}

  /** Resolves when forgotten handles are let go, or the user's thread is too busy to say so. One at a time: who asks meanwhile shares it. */
  run(): Promise<void> {
    if (this.underWay === undefined) {
      const underWay = deferred<void>();
      this.underWay = underWay;
      const timer = this.clock.after(answerWithinMs, () => this.done());
      void underWay.promise.then(() => timer.cancel());
      this.ask();
    }
    return this.underWay.promise;
  }

  /** The user's thread has collected. */
  done(): void {
    this.underWay?.resolve();
    this.underWay = undefined;
  }
}
