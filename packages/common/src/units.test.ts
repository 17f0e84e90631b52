import fc from "fast-check";
import { formatDuration, formatSize, parseDuration, parseSize } from "./units.js";

describe("parseDuration", () => {
  it.each([
    [250, 250],
    [0, 0],
    ["250ms", 250],
    ["1.5s", 1500],
    [" 30 S ", 30_000],
    ["5m", 300_000],
    ["5min", 300_000],
    ["2h", 7_200_000],
    ["1d", 86_400_000],
  ])("%j is %d ms", (text, ms) => expect(parseDuration(text)).toBe(ms));

  it.each(["", "5", "ms", "-1s", "1s2m", "1e3ms", "5 weeks", "5constructor", -1, Number.NaN, Number.POSITIVE_INFINITY])(
    "%j is refused with the name of what it is for",
    (text) => {
      expect(() => parseDuration(text, "timeout")).toThrow(
        expect.objectContaining({ code: "INVALID_ARGUMENT", message: expect.stringMatching(/^timeout: .* is not a duration$/) }),
      );
    },
  );
});

describe("parseSize", () => {
  it.each([
    [1048576, 1048576],
    [1.9, 1],
    ["512", 512],
    ["512b", 512],
    ["1k", 1000],
    ["1kb", 1000],
    ["1KiB", 1024],
    ["64MiB", 64 * 2 ** 20],
    ["2GB", 2e9],
    ["2 gi", 2 ** 31],
    ["0.5TiB", 2 ** 39],
    ["1.0001KiB", 1024],
  ])("%j is %d bytes", (text, bytes) => expect(parseSize(text)).toBe(bytes));

  it.each(["", "MiB", "-1", "1 parsec", "1.5.2k", "5constructor", -1, Number.NaN])("%j is refused", (text) => {
    expect(() => parseSize(text, "memory")).toThrow(
      expect.objectContaining({ code: "INVALID_ARGUMENT", message: expect.stringMatching(/^memory: .* is not a size$/) }),
    );
  });
});

describe("formatting", () => {
  it.each([
    [0, "0 B"],
    [1023, "1023 B"],
    [1024, "1.0 KiB"],
    [1536, "1.5 KiB"],
    [100 * 1024, "100 KiB"],
    [1.5 * 2 ** 30, "1.5 GiB"],
    [5000 * 2 ** 40, "5000 TiB"],
  ])("%d bytes are %s", (bytes, text) => expect(formatSize(bytes)).toBe(text));

  it.each([
    [0, "0ms"],
    [999, "999ms"],
    [3200, "3.2s"],
    [42_000, "42s"],
    [250_000, "4m 10s"],
    [7_500_000, "2h 5m"],
  ])("%d ms are %s", (ms, text) => expect(formatDuration(ms)).toBe(text));

  it("writes sizes that parse back to within the digits shown", () => {
    fc.assert(
      fc.property(fc.integer({ min: 0, max: 2 ** 50 }), (bytes) => {
        expect(Math.abs(parseSize(formatSize(bytes)) - bytes)).toBeLessThanOrEqual(bytes * 0.05 + 1);
      }),
    );
  });
});
