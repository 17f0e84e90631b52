// Pressure: what is done when objects wait for room and nothing that is under way will make any.
//
// Owns:     since when that is so, the timer of the next measure.
// Not mine: the measures themselves.
// Crosses:  in: look, progress.  out: PressureMeasures.
//
// In order: readers are asked to collect their garbage, at once and again and again (V8 does not know that their views keep shared memory); of several
// requests that hold some of their objects and wait for others, all but one give up what they hold; in the end those who wait are refused, because nobody
// lets go.
//
// Invariants
//   S1. Nobody is refused as long as anything is granted, completed or on its way within storeFullMs, however long the queue, or the way.
import type { Clock, Timer } from "@tray/common";
import { collectPauseMaxMs, collectPauseMinMs, storeFullMs, favourAfterMs } from "../limits.js";

export interface PressureMeasures {
  /** Something waits for room, and nothing that is being spilled will make it. */
  isStuck(): boolean;
  /** Bytes are on their way to where they have room. */
  isFilling(): boolean;
  collectGarbage(): void;
  favourOne(): void;
  refuseAll(): void;
}

export class Pressure {
  private stuckSinceMs: number | undefined;
  private collectAtMs = 0;
  private collectPauseMs = collectPauseMinMs;
  private favourAtMs = 0;
  private refuseAtMs = 0;
  private timer: Timer | undefined;
  private closed = false;

  constructor(
    private readonly clock: Clock,
    private readonly measures: PressureMeasures,
  ) {}

  /** Anything may have changed. */
  look(): void {
    if (this.closed) return;
    const nowMs = this.clock.now();
    if (!this.measures.isStuck()) {
      this.stuckSinceMs = undefined;
      this.timer?.cancel();
      this.timer = undefined;
      return;
    }
    if (this.stuckSinceMs === undefined) {
      this.stuckSinceMs = nowMs;
      this.collectAtMs = nowMs;
      this.collectPauseMs = collectPauseMinMs;
      this.favourAtMs = nowMs + favourAfterMs;
      this.refuseAtMs = nowMs + storeFullMs;
    }
    this.timer ??= this.clock.after(Math.max(0, Math.min(this.collectAtMs, this.favourAtMs, this.refuseAtMs) - nowMs), () => this.act());
  }

  /** S1. What waited was granted, or a request was completed. @param ofAll false: there are others whom that brings no nearer to their turns. */
  progress(ofAll = true): void {
    if (this.stuckSinceMs === undefined) return;
    const nowMs = this.clock.now();
    if (ofAll) this.favourAtMs = nowMs + favourAfterMs;
    this.refuseAtMs = nowMs + storeFullMs;
  }

  close(): void {
    this.closed = true;
    this.timer?.cancel();
  }

  private act(): void {
    this.timer = undefined;
    if (!this.measures.isStuck()) return this.look();
    const nowMs = this.clock.now();
    if (nowMs >= this.refuseAtMs && this.measures.isFilling()) this.refuseAtMs = nowMs + storeFullMs; // S1
    if (nowMs >= this.refuseAtMs) {
      this.stuckSinceMs = undefined;
      this.measures.refuseAll();
    } else if (nowMs >= this.favourAtMs) {
      this.favourAtMs = nowMs + favourAfterMs;
      this.measures.favourOne();
    } else if (nowMs >= this.collectAtMs) {
      this.collectAtMs = nowMs + this.collectPauseMs;
      this.collectPauseMs = Math.min(collectPauseMaxMs, this.collectPauseMs * 2);
      this.measures.collectGarbage();
    }
    this.look();
  }
}
