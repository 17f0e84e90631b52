import { sleep, systemClock } from "./clock.js";
import { SimClock } from "./sim-clock.js";

describe("sleep", () => {
  it("ends after its delay and not before", async () => {
    const clock = new SimClock();
    let slept = false;
    void sleep(clock, 100).then(() => (slept = true));
    await clock.advance(99);
    expect(slept).toBe(false);
    await clock.advance(1);
    expect(slept).toBe(true);
  });

  it("rejects with the signal's reason, at once when it aborted before, and leaves no timer behind", async () => {
    const clock = new SimClock();
    const aborter = new AbortController();
    const sleeping = sleep(clock, 100, aborter.signal);
    aborter.abort(new Error("why"));
    await expect(sleeping).rejects.toThrow("why");
    await expect(sleep(clock, 100, aborter.signal)).rejects.toThrow("why");
    await clock.runUntilIdle(0);
  });

  it("does not listen to the signal once it ended", async () => {
    const clock = new SimClock();
    const { signal } = new AbortController();
    const removed = jest.spyOn(signal, "removeEventListener");
    await clock.complete(sleep(clock, 1, signal));
    expect(removed).toHaveBeenCalledWith("abort", expect.any(Function));
  });
});

describe("systemClock", () => {
  it("runs timers in the order of their delays, once, and cancelled ones never", async () => {
    const seen: string[] = [];
    const cancelled = systemClock.after(1, () => seen.push("cancelled"));
    cancelled.cancel();
    cancelled.cancel();
    const started = systemClock.now();
    await new Promise<void>((resolve) => {
      systemClock.after(15, () => {
        seen.push("late");
        resolve();
      });
      systemClock.after(2, () => seen.push("early"));
    });
    expect(seen).toEqual(["early", "late"]);
    expect(systemClock.now() - started).toBeGreaterThan(13);
  });

  it("repeats until cancelled, from within its own call too", async () => {
    let count = 0;
    await new Promise<void>((resolve) => {
      const timer = systemClock.every(1, () => {
        if (++count < 3) return;
        timer.cancel();
        systemClock.after(10, resolve);
      });
    });
    expect(count).toBe(3);
  });

  it("ends a turn after the promises of the turn", async () => {
    const order: string[] = [];
    await new Promise<void>((resolve) => {
      systemClock.endOfTurn(() => {
        order.push("end of turn");
        resolve();
      });
      void Promise.resolve().then(() => order.push("promise"));
      order.push("code");
    });
    expect(order).toEqual(["code", "promise", "end of turn"]);
  });

  it("knows the wall clock", () => {
    expect(Math.abs(systemClock.wallMs() - new Date().getTime())).toBeLessThan(1000);
  });
});
