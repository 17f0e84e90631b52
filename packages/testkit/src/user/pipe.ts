// Pipe: one direction between the two threads of a process: in order, a moment later, never from within the sender's call.
import type { Clock, Random } from "@tray/common";

const delayMsMax = 0.05;

export class Pipe {
  private queue: (() => void)[] = [];

  constructor(
    private readonly clock: Clock,
    private readonly random: Random,
    private readonly alive: () => boolean,
    /** False: what is posted waits for open(). */
    private isOpen: boolean,
  ) {}

  open(): void {
    this.isOpen = true;
    if (this.queue.length > 0) this.deliverSoon();
  }

  post(deliver: () => void): void {
    this.queue.push(deliver);
    if (this.isOpen && this.queue.length === 1) this.deliverSoon();
  }

  private deliverSoon(): void {
    this.clock.after(this.random.next() * delayMsMax, () => {
      const batch = this.queue;
      this.queue = [];
      for (const fn of batch) if (this.alive()) fn();
    });
  }
}
