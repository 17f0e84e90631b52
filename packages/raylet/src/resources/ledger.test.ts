import { toFixedPoint } from "@tray/protocol";
import fc from "fast-check";
import { ResourceLedger } from "./ledger.js";

const cpus = (n: number): Record<string, number> => toFixedPoint({ CPU: n });

describe("ResourceLedger", () => {
  it("grants only what is there", () => {
    const ledger = new ResourceLedger(toFixedPoint({ CPU: 2, GPU: 1 }));
    expect(ledger.acquire("a", toFixedPoint({ CPU: 1.5 }))).toBe(true);
    expect(ledger.acquire("b", cpus(1))).toBe(false);
    expect(ledger.acquire("c", toFixedPoint({ CPU: 0.5, GPU: 1 }))).toBe(true);
    expect(ledger.available).toEqual({ CPU: 0, GPU: 0 });
    ledger.release("a");
    expect(ledger.fits(cpus(1.5))).toBe(true);
  });

  it("lends the processors of a blocked task, not its devices, and lets it resume in debt", () => {
    const ledger = new ResourceLedger(toFixedPoint({ CPU: 1, GPU: 1 }));
    ledger.acquire("parent", toFixedPoint({ CPU: 1, GPU: 1 }));
    ledger.block("parent");
    expect(ledger.available).toEqual({ CPU: 10_000, GPU: 0 });
    expect(ledger.acquire("child", cpus(1))).toBe(true);
    ledger.unblock("parent");
    expect(ledger.available["CPU"]).toBe(-10_000); // R2
    expect(ledger.acquire("other", cpus(0.1))).toBe(false);
    ledger.release("child");
    expect(ledger.available["CPU"]).toBe(0);
    ledger.check();
  });

  it("swaps placement requirements for lifetime resources", () => {
    const ledger = new ResourceLedger(cpus(1));
    ledger.acquire("actor", cpus(1));
    ledger.swap("actor", {});
    expect(ledger.available["CPU"]).toBe(10_000);
    ledger.release("actor");
    ledger.check();
  });

  it("property: R1, R2 hold over any history", () => {
    const step = fc.record({
      act: fc.constantFrom("acquire", "release", "block", "unblock", "swap"),
      who: fc.integer({ min: 0, max: 5 }),
      cpu: fc.integer({ min: 0, max: 30_000 }),
      gpu: fc.integer({ min: 0, max: 10_000 }),
    });
    fc.assert(
      fc.property(fc.array(step, { maxLength: 80 }), (steps) => {
        const ledger = new ResourceLedger({ CPU: 40_000, GPU: 10_000 });
        for (const { act, who, cpu, gpu } of steps) {
          const holder = `h${who}`;
          const want: Record<string, number> = { ...(cpu > 0 ? { CPU: cpu } : {}), ...(gpu > 0 ? { GPU: gpu } : {}) };
          const before = ledger.available;
          if (act === "acquire" && ledger.heldBy(holder) === undefined) {
            const granted = ledger.acquire(holder, want);
            if (granted) for (const name in want) expect(ledger.available[name]).toBeGreaterThanOrEqual(0);
            else expect(ledger.available).toBe(before);
          } else if (act === "release") ledger.release(holder);
          else if (act === "block") ledger.block(holder);
          else if (act === "unblock") ledger.unblock(holder);
          else if (act === "swap") ledger.swap(holder, want);
          ledger.check();
        }
        for (let who = 0; who <= 5; who++) ledger.release(`h${who}`);
        expect(ledger.available).toEqual({ CPU: 40_000, GPU: 10_000 });
      }),
    );
  });
});
