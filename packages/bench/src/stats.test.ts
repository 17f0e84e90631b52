import { formatFigure, ratio, summarize } from "./stats.js";

describe("summarize", () => {
  it("gives the middle, or the mean of the two in the middle", () => {
    expect(summarize([9, 1, 5])).toEqual({ median: 5, min: 1, max: 9, count: 3 });
    expect(summarize([10, 2, 4, 8]).median).toBe(6);
  });
  it("compares as numbers, not as text", () => {
    expect(summarize([10, 9, 100]).median).toBe(10);
  });
  it("leaves its input alone", () => {
    const samples = [3, 1, 2];
    summarize(samples);
    expect(samples).toEqual([3, 1, 2]);
  });
});

describe("ratio", () => {
  it("is above one when ours is better, whichever way is better", () => {
    expect(ratio(200, 100, "higher")).toBe(2);
    expect(ratio(100, 200, "lower")).toBe(2);
  });
});

describe("formatFigure", () => {
  it.each([
    [1234567.8, "1,234,568"],
    [123.4, "123"],
    [12.34, "12.3"],
    [0.012345, "0.0123"],
    [0, "0"],
    [Number.NaN, "–"],
  ])("%p is %p", (value, text) => expect(formatFigure(value)).toBe(text));
});
