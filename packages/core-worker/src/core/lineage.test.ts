import fc from "fast-check";
import { Lineage, lineageBytesOf } from "./lineage.js";
import type { TaskEntry } from "./task-entry.js";

const task = (argBytes: number): TaskEntry =>
  ({ returns: [{}], stream: undefined, refs: [], held: [], args: new Uint8Array(argBytes) }) as unknown as TaskEntry;

describe("Lineage", () => {
  it("L1, L2: never keeps more than the limit, and what it evicts is what was kept longest", () => {
    const op = fc.record({ kind: fc.constantFrom("keep", "again", "drop", "grow", "shrink", "limit"), n: fc.nat({ max: 3000 }) });
    fc.assert(
      fc.property(fc.array(op, { maxLength: 60 }), fc.nat({ max: 20_000 }), (ops, limit) => {
        const kept: TaskEntry[] = [];
        let values = 0;
        const lineage = new Lineage({ evict: (evicted) => expect(evicted).toBe(kept.shift()) });
        lineage.limitBytes = limit;
        for (const { kind, n } of ops) {
          const known = kept[n % Math.max(1, kept.length)];
          if (kind === "keep" || (kind === "again" && known !== undefined)) {
            const one = kind === "keep" || known === undefined ? task(n) : known;
            if (kind === "again") kept.splice(kept.indexOf(one), 1);
            kept.push(one);
            lineage.keep(one);
          } else if (kind === "drop" && known !== undefined) {
            kept.splice(kept.indexOf(known), 1);
            lineage.drop(known);
            lineage.drop(known); // once more changes nothing
          } else if (kind === "grow") {
            values += n;
            lineage.values(n);
          } else if (kind === "shrink") {
            const less = Math.min(n, values);
            values -= less;
            lineage.values(-less);
          } else if (kind === "limit") lineage.limitBytes = n * 5;
          expect(lineage.size).toBe(kept.length);
          expect(lineage.bytes).toBe(kept.reduce((sum, one) => sum + lineageBytesOf(one), values));
          expect(kept.length === 0 || lineage.bytes <= lineage.limitBytes).toBe(true);
        }
      }),
    );
  });

  it("counts a task with its arguments, and evicts no more than a tenth beyond the limit", () => {
    const evicted: TaskEntry[] = [];
    const lineage = new Lineage({ evict: (one) => evicted.push(one) });
    const tasks = Array.from({ length: 100 }, () => task(200));
    lineage.limitBytes = 100 * lineageBytesOf(task(200));
    for (const one of tasks) lineage.keep(one);
    expect([evicted.length, lineage.size, lineage.bytes]).toEqual([0, 100, lineage.limitBytes]);
    lineage.keep(task(200));
    expect(evicted).toEqual(tasks.slice(0, 11));
    expect(lineage.evicted).toBe(11);
  });
});
