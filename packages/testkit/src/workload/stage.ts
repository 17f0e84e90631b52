// What a workload works with, and how it judges answers.
import { randomInt, type SeededRandom } from "@tray/common";
import type { Checks } from "../checks/checks.js";
import type { Activation } from "../user/activation.js";
import { SimFailure } from "../user/activation.js";
import type { SimRef, SimValue } from "../user/value.js";
import { Violation } from "../world/event-log.js";

/** Answers that the death of a process explains. */
export const deathCodes = ["WORKER_CRASHED", "OWNER_DIED", "ACTOR_DIED", "ACTOR_UNAVAILABLE", "OBJECT_RECONSTRUCTION_FAILED"] as const;

export type Outcome = { readonly ok: true; readonly value: SimValue } | { readonly ok: false; readonly code: string; readonly message: string };

/** The code at the root of a failure: a task that fails because what it waited for failed names that in its message. */
export function rootCode({ code, message }: { code: string; message: string }): string {
  let [root, text] = [code, message];
  for (;;) {
    const next = /^([A-Z_]+): /.exec(text);
    if (root !== "TASK_ERROR" || next === null) return root;
    root = next[1] as string;
    text = text.slice(next[0].length);
  }
}

export class Stage {
  constructor(
    readonly act: Activation,
    readonly random: SeededRandom,
    /** Processes may die in this simulation other than by the workload's own doing. */
    readonly deadly: boolean,
    /** Workloads of the same job end processes on purpose; such a process may own objects that it made as the worker of a task. */
    readonly ownersMayDie: boolean,
    readonly checks: Checks,
    /** Node ids at the beginning. */
    readonly nodeIds: readonly string[],
  ) {}

  int(below: number): number {
    return randomInt(this.random, below);
  }
  between(min: number, max: number): number {
    return min + randomInt(this.random, max - min + 1);
  }
  chance(p: number): boolean {
    return this.random.next() < p;
  }
  pick<T>(...from: T[]): T {
    return from[randomInt(this.random, from.length)] as T;
  }

  async outcome(ref: SimRef, timeoutMs?: number): Promise<Outcome> {
    try {
      return { ok: true, value: await this.act.get(ref, timeoutMs) };
    } catch (error) {
      if (!(error instanceof SimFailure) || this.act.user.lostWith !== undefined) throw error;
      return { ok: false, code: error.code, message: error.message };
    }
  }

  /** @returns the value; undefined when it failed for a reason that may be. `sure`: nothing that dies can excuse it. */
  async value(what: string, ref: SimRef, also: readonly string[] = [], sure = false): Promise<SimValue | undefined> {
    const outcome = await this.outcome(ref);
    if (outcome.ok) return outcome.value;
    this.mayFail(what, outcome, also, sure);
    return undefined;
  }
  mayFail(what: string, failure: { code: string; message: string }, also: readonly string[] = [], sure = false): void {
    const root = rootCode(failure);
    if (also.includes(root) || also.includes(failure.code)) return;
    // Its raylet is dead and the cluster knows it before the driver, which is about to end.
    if (this.deadly && /\bjob \S+ (has )?ended\b/.test(failure.message)) return;
    // It was on a worker together with a task that ended their process: whether it had begun, and whether it had ended, its owner cannot know.
    if (!sure && root === "WORKER_CRASHED" && this.checks.blamesUser(failure.message)) return;
    if (!sure && this.ownersMayDie && root === "OWNER_DIED") return;
    if (!sure && this.deadly && (deathCodes as readonly string[]).includes(root)) return;
    throw new Violation(`${what} failed with ${failure.code}: ${failure.message}`);
  }
  equal(what: string, actual: unknown, expected: unknown): void {
    if (JSON.stringify(actual) !== JSON.stringify(expected))
      throw new Violation(`${what}: ${JSON.stringify(actual)}, expected ${JSON.stringify(expected)}`);
  }
}
