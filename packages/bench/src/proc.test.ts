import { spawn } from "node:child_process";
import { cpuMsOf, findDescendant, memoryOf } from "./proc.js";

describe("processes", () => {
  it("counts a process and its descendants, and finds one by its command line", async () => {
    const child = spawn("sh", ["-c", "echo up; cat; : tray-bench-marker"], { stdio: ["pipe", "pipe", "inherit"] });
    try {
      await new Promise((resolve) => child.stdout.once("data", resolve));
      expect(findDescendant(process.pid, "tray-bench-marker")).toBe(child.pid);
      expect(findDescendant(process.pid, "tray-bench-other-marker")).toBeUndefined();
      const own = memoryOf(process.pid);
      const its = memoryOf(child.pid as number);
      expect(its.residentMebibytes).toBeGreaterThan(0);
      expect(own.residentMebibytes).toBeGreaterThan(its.residentMebibytes);
      // What is shared is counted in part only.
      expect(its.proportionalMebibytes).toBeLessThan(its.residentMebibytes);
    } finally {
      child.stdin.end();
      await new Promise((resolve) => child.once("close", resolve));
    }
    expect(memoryOf(child.pid as number)).toEqual({ residentMebibytes: 0, proportionalMebibytes: 0 });
  });

  it("counts the time that a process computes", () => {
    const before = cpuMsOf(process.pid);
    const begin = process.hrtime.bigint();
    while (process.hrtime.bigint() - begin < 30_000_000n);
    expect(cpuMsOf(process.pid) - before).toBeGreaterThan(10);
    expect(cpuMsOf(0)).toBe(0);
  });
});
