// Deadlines of many calls with few timers: calls with the same timeout expire in the order in which they were made, so each timeout value has
// one linked list and one timer for its head. Adding and removing are O(1); nothing is left behind by a call that was answered.
import type { Clock, Timer } from "@tray/common";

/** Embedded in what has a deadline; belongs to one list at a time. */
export interface DeadlineEntry {
  expiresAt: number;
  deadlineList: DeadlineList | undefined;
  previous: DeadlineEntry | undefined;
  next: DeadlineEntry | undefined;
  onDeadline(): void;
}

class DeadlineList {
  head: DeadlineEntry | undefined;
  tail: DeadlineEntry | undefined;
  timer: Timer | undefined;
  constructor(readonly timeoutMs: number) {}
}

export class Deadlines {
  private readonly lists = new Map<number, DeadlineList>();
  constructor(private readonly clock: Clock) {}

  add(entry: DeadlineEntry, timeoutMs: number): void {
    let list = this.lists.get(timeoutMs);
    if (list === undefined) this.lists.set(timeoutMs, (list = new DeadlineList(timeoutMs)));
    entry.expiresAt = this.clock.now() + timeoutMs;
    entry.deadlineList = list;
    entry.previous = list.tail;
    entry.next = undefined;
    if (list.tail === undefined) list.head = entry;
    else list.tail.next = entry;
    list.tail = entry;
    if (list.timer === undefined) this.arm(list, timeoutMs);
  }

  /** Idempotent. */
  remove(entry: DeadlineEntry): void {
    const list = entry.deadlineList;
    if (list === undefined) return;
    if (entry.previous === undefined) list.head = entry.next;
    else entry.previous.next = entry.next;
    if (entry.next === undefined) list.tail = entry.previous;
    else entry.next.previous = entry.previous;
    entry.previous = entry.next = entry.deadlineList = undefined;
    // The timer stays: it finds a later head or an empty list, and a busy session does not arm one per call.
  }

  close(): void {
    for (const list of this.lists.values()) list.timer?.cancel();
    this.lists.clear();
  }

  private arm(list: DeadlineList, delayMs: number): void {
    list.timer = this.clock.after(delayMs, () => this.expire(list));
  }

  private expire(list: DeadlineList): void {
    list.timer = undefined;
    const now = this.clock.now();
    // Half a millisecond of grace: timers may fire a little before their time.
    while (list.head !== undefined && list.head.expiresAt <= now + 0.5) {
      const entry = list.head;
      this.remove(entry);
      entry.onDeadline();
    }
    if (list.timer !== undefined) return; // an expiring call made another
    if (list.head !== undefined) this.arm(list, Math.max(1, list.head.expiresAt - now));
    else this.lists.delete(list.timeoutMs);
  }
}
