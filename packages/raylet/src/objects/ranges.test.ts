import fc from "fast-check";
import { Ranges } from "./ranges.js";

describe("Ranges", () => {
  it("cover an object of any size, each byte once, whoever brings them and however often they break off", async () => {
    await fc.assert(
      fc.asyncProperty(
        fc.nat({ max: 100 }),
        fc.integer({ min: 1, max: 40 }),
        fc.array(fc.record({ bytes: fc.integer({ min: 1, max: 20 }), goesOn: fc.boolean() })),
        async (size, rangeBytes, steps) => {
          const ranges = new Ranges(size, rangeBytes);
          const brought = new Uint8Array(size);
          let told = -1;
          void ranges.until(Math.ceil(size / 2)).then(() => (told = ranges.prefix));
          const taken: ReturnType<Ranges["take"]>[] = [];
          const bring = (bytes: number): boolean => {
            const range = taken.pop() ?? ranges.take();
            if (range === undefined) return false;
            for (let left = Math.min(bytes, range.end - range.at); left > 0; left--) {
              brought[range.at] = (brought[range.at] as number) + 1;
              ranges.arrived(range, 1);
            }
            if (range.at < range.end) taken.push(range);
            else ranges.putBack(range);
            return true;
          };
          let prefix = 0;
          for (const { bytes, goesOn } of steps) {
            if (taken.length === 0 || goesOn) taken.push(ranges.take());
            if (taken.at(-1) === undefined) taken.pop();
            bring(bytes);
            if (!goesOn) for (const range of taken.splice(0)) if (range !== undefined) ranges.putBack(range);
            expect(ranges.prefix).toBeGreaterThanOrEqual(prefix);
            prefix = ranges.prefix;
            expect(brought.subarray(0, prefix).every((times) => times === 1)).toBe(true);
          }
          for (const range of taken.splice(0)) if (range !== undefined) ranges.putBack(range);
          while (bring(7));
          expect(ranges.isComplete).toBe(true);
          expect(brought.every((times) => times === 1)).toBe(true);
          await Promise.resolve();
          expect(told).toBeGreaterThanOrEqual(Math.ceil(size / 2));
        },
      ),
    );
  });

  it("tell those who wait when nothing more will come", async () => {
    const ranges = new Ranges(10, 10);
    const range = ranges.take() as NonNullable<ReturnType<Ranges["take"]>>;
    ranges.arrived(range, 4);
    await ranges.until(4);
    const waiting = ranges.until(5);
    ranges.fail(new Error("gone"));
    await expect(waiting).rejects.toThrow("gone");
    await expect(ranges.until(6)).rejects.toThrow("gone");
  });
});
