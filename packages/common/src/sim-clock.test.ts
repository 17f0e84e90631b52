import fc from "fast-check";
import { sleep } from "./clock.js";
import { SimClock } from "./sim-clock.js";

describe("SimClock", () => {
  it("runs timers by due time, then insertion", async () => {
    await fc.assert(
      fc.asyncProperty(fc.array(fc.integer({ min: 0, max: 20 }), { maxLength: 40 }), async (delays) => {
        const clock = new SimClock();
        const ran: number[] = [];
        delays.forEach((delay, i) => void clock.after(delay, () => ran.push(i)));
        await clock.advance(20);
        const expected = delays.map((delay, i) => ({ delay, i })).sort((a, b) => a.delay - b.delay || a.i - b.i);
        expect(ran).toEqual(expected.map((e) => e.i));
      }),
      { numRuns: 50 },
    );
  });

  it("drains promises and end-of-turn functions before the next timer", async () => {
    const clock = new SimClock();
    const seen: string[] = [];
    clock.after(1, () => {
      void Promise.resolve()
        .then(() => seen.push("promise"))
        .then(() => clock.endOfTurn(() => seen.push("turn")));
    });
    clock.after(1, () => seen.push("second"));
    await clock.advance(1);
    expect(seen).toEqual(["promise", "turn", "second"]);
  });

  it("repeats, cancels, and counts what is pending", async () => {
    const clock = new SimClock();
    let ticks = 0;
    const periodic = clock.every(10, () => ticks++);
    const never = clock.after(5, () => {
      throw new Error("cancelled timers do not run");
    });
    never.cancel();
    never.cancel();
    await clock.advance(35);
    expect(ticks).toBe(3);
    periodic.cancel();
    await clock.advance(100);
    expect(ticks).toBe(3);
    await clock.runUntilIdle(0);
    const timer = clock.after(50, () => undefined);
    await clock.runUntilIdle();
    expect(clock.now()).toBe(185);
    timer.cancel();
    await clock.runUntilIdle(0);
  });

  it("lets time pass for a promise, and says when it does not end", async () => {
    const clock = new SimClock();
    await clock.complete(sleep(clock, 1234));
    expect(clock.now()).toBe(1234);
    await expect(clock.complete(new Promise(() => undefined), 100)).rejects.toThrow("not done within 100 ms");
  });
});
