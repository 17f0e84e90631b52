// ConcurrencyGroups: the calls of an actor that have not begun, in order of arrival, by the group whose limit they count against.
import { Deque } from "@tray/common";
import type { ExecActor } from "@tray/core-worker";
import type { Execution } from "./execution.js";

export interface Group {
  readonly limit: number;
  running: number;
  readonly queue: Deque<Execution>;
}

export class ConcurrencyGroups {
  private readonly main: Group;
  private readonly named = new Map<string, Group>();
  /** All of them, that of calls which name no group first. */
  readonly all: readonly Group[];

  constructor({ maxConcurrency, concurrencyGroups }: Pick<ExecActor, "maxConcurrency" | "concurrencyGroups">) {
    this.main = groupOf(maxConcurrency);
    for (const [name, limit] of Object.entries(concurrencyGroups)) this.named.set(name, groupOf(limit));
    this.all = [this.main, ...this.named.values()];
  }

  /** More than one call may run at a time. */
  get isConcurrent(): boolean {
    return this.main.limit > 1 || this.named.size > 0;
  }

  /** An unknown name, or "", stands for the calls that name none. */
  of(name: string): Group {
    return this.named.get(name) ?? this.main;
  }
}

function groupOf(limit: number): Group {
  return { limit, running: 0, queue: new Deque() };
}
