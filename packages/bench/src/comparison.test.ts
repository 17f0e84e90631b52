import { systemClock } from "@tray/common";
import { existsSync } from "node:fs";
import type { Case, Samples } from "./case.js";
import { compare, type ComparisonOptions, type Failure, type Measured } from "./comparison.js";
import type { PeerRequest, PeerSystem } from "./peers/peer.js";

const caseOf = (name: string, more: Partial<Case> = {}): Case => ({
  name,
  group: "tasks",
  rows: [{ name, unit: "calls/s", better: "higher", what: name }],
  systems: ["ray", "piscina"],
  ownCluster: false,
  once: false,
  ...more,
});

type Measure = (caseName: string, request: PeerRequest) => Promise<Samples>;
const peer = (system: "ray" | "piscina", measure: Measure): PeerSystem => ({ system, title: system, detail: "", measure });

/** Runs a comparison of peers alone: their side needs no processes of tray. */
async function comparison(peers: readonly PeerSystem[], cases: readonly Case[], more: Partial<ComparisonOptions> = {}) {
  const order: string[] = [];
  const measured: Measured[] = [];
  const failed: Failure[] = [];
  await compare({
    clock: systemClock,
    env: {},
    signal: new AbortController().signal,
    bundleFile: "",
    cases,
    peers,
    windows: { warmUpMs: 1, windowMs: 1, count: 1, repetitions: 1 },
    cpus: 2,
    address: undefined,
    rounds: 1,
    caseLimitMs: 60_000,
    onMeasured: (m) => {
      order.push(`${m.system} ${m.case.name}`);
      measured.push(m);
    },
    onFailed: (f) => {
      order.push(`${f.system} ${f.caseName} failed`);
      failed.push(f);
    },
    ...more,
  });
  return { order, measured, failed };
}

const answering: Measure = (caseName) => Promise.resolve({ [caseName]: [1] });

describe("compare", () => {
  it("lets systems take turns within a case, and another one begin in the next round", async () => {
    const { order } = await comparison([peer("ray", answering), peer("piscina", answering)], [caseOf("a"), caseOf("b")], { rounds: 2 });
    expect(order).toEqual(["ray a", "piscina a", "ray b", "piscina b", "piscina a", "ray a", "piscina b", "ray b"]);
  });

  it("asks only those who can run a case, and once for what is not repeated", async () => {
    const cases = [caseOf("a", { systems: ["ray"] }), caseOf("b", { once: true })];
    const { order } = await comparison([peer("ray", answering), peer("piscina", answering)], cases, { rounds: 2 });
    expect(order).toEqual(["ray a", "ray b", "piscina b", "ray a"]);
  });

  it("goes on after a failure, and hands over its reason", async () => {
    const measure: Measure = (caseName, request) => (caseName === "a" ? Promise.reject(new Error("no room")) : answering(caseName, request));
    const { order, failed } = await comparison([peer("ray", measure)], [caseOf("a"), caseOf("b")]);
    expect(order).toEqual(["ray a failed", "ray b"]);
    expect(failed).toEqual([{ system: "ray", caseName: "a", reason: "no room" }]);
  });

  it("ends a measurement that takes too long, and says so", async () => {
    const forever: Measure = (_, { signal }) => new Promise((_resolve, reject) => signal.addEventListener("abort", () => reject(new Error("ended"))));
    const { failed } = await comparison([peer("ray", forever)], [caseOf("a")], { caseLimitMs: 20 });
    expect(failed).toMatchObject([{ caseName: "a", reason: "it took longer than 0.02 s" }]);
  });

  it("stops altogether when it is interrupted", async () => {
    const interruption = new AbortController();
    const asked: string[] = [];
    const measure: Measure = (caseName) => {
      asked.push(caseName);
      interruption.abort(new Error("enough"));
      return Promise.reject(new Error("ended"));
    };
    await expect(comparison([peer("ray", measure)], [caseOf("a"), caseOf("b")], { signal: interruption.signal })).rejects.toThrow("enough");
    expect(asked).toEqual(["a"]);
  });

  it("gives each measurement a directory of its own, and removes it", async () => {
    const seen: string[] = [];
    const measure: Measure = (caseName, { scratchDir, ...request }) => {
      expect(existsSync(scratchDir)).toBe(true);
      seen.push(scratchDir);
      return seen.length === 1 ? Promise.reject(new Error("no")) : answering(caseName, { scratchDir, ...request });
    };
    await comparison([peer("ray", measure)], [caseOf("a"), caseOf("b")]);
    expect(new Set(seen).size).toBe(2);
    expect(seen.map((dir) => existsSync(dir))).toEqual([false, false]);
  });
});
