import fc from "fast-check";
import { startFailuresMax } from "../limits.js";
import { type PoolEffect, type PoolOptions, WorkerPoolCore } from "./core.js";
import type { Ticket } from "./worker.js";

const options = (more: Partial<PoolOptions> = {}): PoolOptions => {
  let n = 0;
  return {
    workersMax: 4,
    startsMax: 2,
    prestartsMax: 2,
    idleKept: 1,
    idleTimeoutMs: 1000,
    startTimeoutMs: 500,
    exitGraceMs: 100,
    newWorkerId: () => `w${++n}`,
    newStartToken: () => `t${n}`,
    ...more,
  };
};
const ticket = (id: string, jobId = "j", envHash = ""): Ticket => ({
  id,
  kind: { jobId, envHash, envJson: "" },
  use: { kind: "lease", leaseId: id },
  sinceMs: 0,
});
const told = (effects: PoolEffect[]): string[] =>
  effects.map((e) =>
    e.kind === "spawn"
      ? `spawn ${e.workerId}`
      : e.kind === "assign"
        ? `${e.ticket.id}→${e.worker.workerId}`
        : e.kind === "refuse"
          ? `refuse ${e.ticket.id}`
          : `${e.kind} ${e.worker.workerId}`,
  );

describe("WorkerPoolCore", () => {
  it("starts within its budget, assigns in order, reuses for the same job", () => {
    const pool = new WorkerPoolCore(options());
    expect(told(pool.request(ticket("a"), 0))).toEqual(["spawn w1"]);
    expect(told(pool.request(ticket("b"), 0))).toEqual(["spawn w2"]);
    expect(told(pool.request(ticket("c"), 0))).toEqual([]); // W2
    expect([pool.waitOf("a")?.cause, pool.waitOf("c")?.cause]).toEqual(["waiting-for-worker", "worker-start-budget"]);
    expect(told(pool.registered("w1", "t1", 11, "e:1", 1).effects)).toEqual(["a→w1", "spawn w3"]);
    expect(told(pool.giveBack("w1", 2))).toEqual(["b→w1"]); // b was first, although w2 starts for it
    expect(told(pool.registered("w2", "t2", 12, "e:2", 3).effects)).toEqual(["c→w2"]);
    pool.check();
  });

  it("W3: refuses wrong tokens, unknown ids and latecomers", () => {
    const pool = new WorkerPoolCore(options());
    pool.request(ticket("a"), 0);
    expect(pool.registered("w1", "wrong", 1, "", 0).refused).toBeDefined();
    expect(pool.registered("w9", "t1", 1, "", 0).refused).toBeDefined();
    expect(told(pool.tick(500))).toEqual(["kill w1", "spawn w2"]); // start timeout; the next try
    expect(pool.registered("w1", "t1", 1, "", 501).refused).toMatch(/too late/);
    pool.exited("w1", 502);
    expect(pool.registered("w1", "t1", 1, "", 503).refused).toBeDefined();
  });

  it("W4: dedicates a worker to its first job; the end of the job kills it, but not what is to be kept", () => {
    const pool = new WorkerPoolCore(options());
    pool.request(ticket("a", "j1"), 0);
    pool.registered("w1", "t1", 1, "", 0);
    pool.giveBack("w1", 1);
    expect(told(pool.request(ticket("b", "j2"), 2))).toEqual(["spawn w2"]);
    expect(told(pool.jobFinished("j1", 3, () => true).effects)).toEqual([]);
    expect(told(pool.jobFinished("j1", 3).effects)).toEqual(["kill w1"]);
    const { dropped, effects } = pool.jobFinished("j2", 4);
    expect([dropped.map((t) => t.id), told(effects)]).toEqual([["b"], []]);
    expect(pool.exited("w1", 5).departed).toMatchObject({ reason: "job-ended", use: undefined });
  });

  it("makes room for another environment by letting the longest idle worker go", () => {
    const pool = new WorkerPoolCore(options({ workersMax: 1 }));
    pool.request(ticket("a"), 0);
    pool.registered("w1", "t1", 1, "", 0);
    pool.giveBack("w1", 1);
    expect(told(pool.request(ticket("b", "j", "env"), 2))).toEqual(["askExit w1"]);
    expect(told(pool.tick(50))).toEqual([]);
    expect(told(pool.tick(102))).toEqual(["kill w1"]); // the grace is over
    expect(told(pool.exited("w1", 103).effects)).toEqual(["spawn w2"]);
  });

  it("backs off after failed starts, and refuses after several", () => {
    const pool = new WorkerPoolCore(options());
    pool.request(ticket("a"), 0);
    let now = 0;
    let spawned = 1;
    let last: string[] = [];
    for (let failure = 1; failure <= startFailuresMax; failure++) {
      last = told(pool.exited(`w${spawned}`, now, "no such file").effects);
      if (failure === startFailuresMax) break;
      expect(last).toEqual([]); // not at once
      now += 10_000;
      expect(told(pool.tick(now))).toEqual([`spawn w${++spawned}`]);
    }
    expect(last).toEqual(["refuse a"]);
  });

  it("prestarts a few at a time, once", () => {
    const pool = new WorkerPoolCore(options({ workersMax: 10, startsMax: 4 }));
    expect(told(pool.prestart(3, 0))).toEqual(["spawn w1", "spawn w2"]);
    expect(told(pool.registered("w1", "t1", 1, "", 1).effects)).toEqual(["spawn w3"]);
    pool.registered("w2", "t2", 2, "", 1);
    pool.registered("w3", "t3", 3, "", 1);
    expect(told(pool.request(ticket("a"), 2))).toEqual(["a→w3"]);
    expect(told(pool.tick(3))).toEqual([]); // what is taken is not made up for
    expect(told(pool.tick(1500))).toEqual(["askExit w1"]); // idle beyond those kept
  });

  it("property: W1–W5 hold, and every ticket is answered at most once", () => {
    const step = fc.record({
      act: fc.constantFrom("request", "cancel", "register", "giveBack", "retire", "exit", "job", "tick", "prestart"),
      n: fc.nat(8),
      job: fc.constantFrom("j1", "j2"),
      env: fc.constantFrom("", "e"),
    });
    fc.assert(
      fc.property(fc.array(step, { maxLength: 120 }), (steps) => {
        const pool = new WorkerPoolCore(options());
        const answered = new Set<string>();
        const cancelled = new Set<string>();
        let now = 0;
        let tickets = 0;
        const see = (effects: PoolEffect[]): void => {
          for (const effect of effects) {
            if (effect.kind !== "assign" && effect.kind !== "refuse") continue;
            expect(answered.has(effect.ticket.id) || cancelled.has(effect.ticket.id)).toBe(false);
            answered.add(effect.ticket.id);
            if (effect.kind === "assign")
              expect([effect.worker.jobId, effect.worker.envHash]).toEqual([effect.ticket.kind.jobId, effect.ticket.kind.envHash]);
          }
          pool.check();
        };
        for (const { act, n, job, env } of steps) {
          now += 50;
          const worker = [...pool.all()][n % Math.max(1, pool.size)];
          if (act === "request") see(pool.request(ticket(`k${++tickets}`, job, env), now));
          else if (act === "cancel") {
            if (pool.cancel(`k${n}`)) cancelled.add(`k${n}`);
          } else if (act === "tick") see(pool.tick(now));
          else if (act === "prestart") see(pool.prestart(n % 4, now));
          else if (act === "job") {
            const { dropped, effects } = pool.jobFinished(job, now);
            for (const t of dropped) cancelled.add(t.id);
            see(effects);
          } else if (worker !== undefined) {
            if (act === "register") see(pool.registered(worker.workerId, worker.startToken, n + 1, "e", now).effects);
            else if (act === "giveBack") see(pool.giveBack(worker.workerId, now));
            else if (act === "retire") see(pool.retire(worker.workerId, { reason: "killed", detail: "", graceful: n % 2 === 0 }, now));
            else if (act === "exit") see(pool.exited(worker.workerId, now).effects);
          }
        }
      }),
    );
  });
});
