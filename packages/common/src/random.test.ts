import fc from "fast-check";
import { randomInt, SeededRandom, systemRandom } from "./random.js";

describe.each([
  ["SeededRandom", new SeededRandom(1)],
  ["systemRandom", systemRandom],
])("%s", (_name, random) => {
  it("draws from [0, 1), evenly enough", () => {
    const buckets = new Array<number>(10).fill(0);
    for (let i = 0; i < 20_000; i++) {
      const draw = random.next();
      expect(draw >= 0 && draw < 1).toBe(true);
      buckets[Math.floor(draw * 10)] = (buckets[Math.floor(draw * 10)] ?? 0) + 1;
    }
    // 2000 expected a bucket, standard deviation 42: seven of them are out of reach of chance.
    for (const count of buckets) expect(Math.abs(count - 2000)).toBeLessThan(300);
  });

  it("draws integers below a bound, all of them", () => {
    const seen = new Set(Array.from({ length: 500 }, () => randomInt(random, 7)));
    expect([...seen].sort()).toEqual([0, 1, 2, 3, 4, 5, 6]);
  });

  it("makes hex ids of the length asked for, all different", () => {
    const ids = Array.from({ length: 1000 }, () => random.hex(8));
    for (const id of ids) expect(id).toMatch(/^[0-9a-f]{16}$/);
    expect(new Set(ids).size).toBe(1000);
  });
});

describe("SeededRandom", () => {
  const draws = (random: SeededRandom, n = 20): number[] => Array.from({ length: n }, () => random.next());

  it("repeats itself by seed, and only then", () => {
    fc.assert(
      fc.property(fc.integer(), fc.integer(), (a, b) => {
        expect(draws(new SeededRandom(a))).toEqual(draws(new SeededRandom(a)));
        if ((a | 0) !== (b | 0)) expect(draws(new SeededRandom(a))).not.toEqual(draws(new SeededRandom(b)));
      }),
    );
  });

  it("forks streams that do not depend on how much the parent draws afterwards", () => {
    const [one, two] = [new SeededRandom(5), new SeededRandom(5)];
    const [forkOfOne, forkOfTwo] = [one.fork(), two.fork()];
    draws(one, 100);
    expect(draws(forkOfOne)).toEqual(draws(forkOfTwo));
    expect(draws(new SeededRandom(5).fork())).not.toEqual(draws(new SeededRandom(5)));
  });
});
