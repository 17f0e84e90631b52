import fc from "fast-check";
import { type Change, finish, isTerminal, type JobRecord, newRecord, place, requestStop, run, unplace } from "./record.js";

const needs = { numCpus: 0, numGpus: 0, memoryBytes: 0, resources: {}, labelSelector: {} };
const fresh = (): JobRecord => newRecord({ submissionId: "j", entrypoint: "true", metadata: null, runtimeEnv: null, needs }, 1000.5);
const node = { nodeId: "n", raylet: "h:1", host: "h" };
const self = { address: "h:2", incarnation: "i", pid: 1 };
const after = (change: Change): JobRecord => {
  if ("refused" in change) throw new Error(`refused: ${change.refused}`);
  return change.record;
};

const step = fc.oneof(
  fc.constant((r: JobRecord) => place(r, node)),
  fc.nat(3).map((attempt) => (r: JobRecord) => unplace(r, attempt)),
  fc.nat(3).map((attempt) => (r: JobRecord) => run(r, attempt, self, 2000)),
  fc.constant((r: JobRecord) => requestStop(r, 3000)),
  fc
    .constantFrom("STOPPED" as const, "SUCCEEDED" as const, "FAILED" as const)
    .map(
      (status) => (r: JobRecord) =>
        r.status === "PENDING" && status === "SUCCEEDED" ? { refused: "unchanged" as const } : finish(r, { status }, 4000),
    ),
);

describe("JobRecord", () => {
  it("J1: a terminal record never changes; J2: at most one attempt ever runs", () => {
    fc.assert(
      fc.property(fc.array(step, { maxLength: 20 }), (steps) => {
        let record = fresh();
        let runs = 0;
        for (const apply of steps) {
          const before = record;
          const change = apply(record);
          if ("refused" in change) continue;
          expect(isTerminal(before.status)).toBe(false);
          record = change.record;
          if (before.status === "PENDING" && record.status === "RUNNING") {
            runs++;
            expect(record.placement?.attempt).toBe(record.attempts);
            expect(before.stopRequested).toBe(false);
          }
          expect(record.endMs !== null).toBe(isTerminal(record.status));
        }
        expect(runs).toBeLessThanOrEqual(1);
      }),
    );
  });
  it("refuses a late supervisor of an earlier attempt", () => {
    const twice = after(place(after(unplace(after(place(fresh(), node)), 1)), node));
    expect(run(twice, 1, self, 1)).toEqual({ refused: "stale-attempt" });
    expect(after(run(twice, 2, self, 1)).status).toBe("RUNNING");
  });
  it("stops a job that no node has at once, another when its supervisor asks to run", () => {
    expect(after(requestStop(fresh(), 5)).status).toBe("STOPPED");
    const asked = after(requestStop(after(place(fresh(), node)), 5));
    expect(asked.status).toBe("PENDING");
    expect(after(run(asked, 1, self, 6))).toMatchObject({ status: "STOPPED", endMs: 6, message: "Job was intentionally stopped." });
  });
  it("has Ray's messages and whole milliseconds", () => {
    expect(fresh()).toMatchObject({ startMs: 1000, message: "Job has not started yet." });
    const needy = newRecord({ submissionId: "j", entrypoint: "x", metadata: null, runtimeEnv: { a: 1 }, needs: { ...needs, numCpus: 1 } }, 1);
    expect(needy.message).toBe(
      "Job has not started yet. It may be waiting for resources (CPUs, GPUs, memory, custom resources) to become available. It may be waiting for the runtime environment to be set up.",
    );
  });
});
