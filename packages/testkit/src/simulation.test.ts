import { simulate } from "./simulation.js";

const firstFourteen = "plain,nested,fanIn,counter,named,kills,endings,keeping,cancels,large,borrowed,waits,failing,handles".split(",");

describe("simulation", () => {
  it.each([1, 2, 3, 4, 5, 6, 7, 8])("seed %i holds", async (seed) => {
    const { failures, events } = await simulate(seed);
    expect(failures).toEqual([]);
    expect(events).toBeGreaterThan(100);
  });

  // Each of these found a bug: docs/testing.md.
  it.each([39, 42, 54, 55, 57, 90, 123, 239, 280, 8217])("seed %i, which failed once, holds", async (seed) => {
    expect((await simulate(seed)).failures).toEqual([]);
  });

  // As they were drawn before later workloads came.
  it.each([439, 644, 857, 6839, 7673, 7686])("seed %i of the first fourteen workloads, which failed once, holds", async (seed) => {
    expect((await simulate(seed, { only: firstFourteen })).failures).toEqual([]);
  });
  it.each([6001])("seed %i of the first fifteen workloads, which failed once, holds", async (seed) => {
    expect((await simulate(seed, { only: [...firstFourteen, "products"] })).failures).toEqual([]);
  });

  it.each([117])("seed %i of hoarders and killers, which failed once, holds", async (seed) => {
    expect((await simulate(seed, { only: ["hoard", "large", "borrowed", "kills"] })).failures).toEqual([]);
  });

  it("replays a seed exactly, whoever watches", async () => {
    const lines: string[] = [];
    const first = await simulate(25, { trace: (line) => lines.push(line) });
    const second = await simulate(25);
    expect(second).toEqual(first);
    expect(lines.length).toBeGreaterThan(50);
    expect((await simulate(26)).hash).not.toBe(second.hash);
  });

  it("fails a seed whose work is not answered in time", async () => {
    const failed: string[] = [];
    for (let seed = 1; seed <= 10; seed++) failed.push(...(await simulate(seed, { liveMs: 0 })).failures.slice(0, 1));
    expect(failed.length).toBeGreaterThan(0);
    for (const failure of failed) expect(failure).toMatch(/not answered|not whole/);
  });
});
