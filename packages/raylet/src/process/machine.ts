// What this machine, or the control group that we run in, has to offer.
import { readdirSync, readFileSync, statfsSync } from "node:fs";
import { availableParallelism, totalmem } from "node:os";
import type { MemoryProbe } from "../introspection/status.js";

const first = (...paths: string[]): string | undefined => {
  for (const path of paths) {
    try {
      return readFileSync(path, "utf8").trim();
    } catch {
      // not this version of control groups
    }
  }
  return undefined;
};

/** Whole processors, at least 1. */
export function detectCpus(root = "/sys/fs/cgroup"): number {
  const machine = availableParallelism();
  const [quota, period] = (
    first(`${root}/cpu.max`) ?? `${first(`${root}/cpu/cpu.cfs_quota_us`) ?? "max"} ${first(`${root}/cpu/cpu.cfs_period_us`) ?? "100000"}`
  )
    .split(" ")
    .map(Number);
  if (quota === undefined || period === undefined || !(quota > 0) || !(period > 0)) return machine;
  return Math.max(1, Math.min(machine, Math.floor(quota / period)));
}

/** Bytes that processes here may use together. */
export function detectMemory(root = "/sys/fs/cgroup"): number {
  const limit = Number(first(`${root}/memory.max`, `${root}/memory/memory.limit_in_bytes`));
  return limit > 0 && limit < totalmem() ? limit : totalmem();
}

/** Graphics processors that the kernel driver shows. */
export function detectGpus(path = "/proc/driver/nvidia/gpus"): number {
  try {
    return readdirSync(path).length;
  } catch {
    return 0;
  }
}

const heapPart = 0.7;
/** Others use /dev/shm too. */
const shmPart = 0.9;
const arenaMin = 64 * 2 ** 20;

/** Memory for user heaps and for the arena, bytes: 70 % and 30 %, the arena not larger than its file system allows. */
export function divideMemory(total: number, shmDir: string): { heap: number; arena: number } {
  const { bavail, bsize } = statfsSync(shmDir);
  const arena = Math.floor(Math.min(total * (1 - heapPart), bavail * bsize * shmPart));
  return { heap: Math.floor(total * heapPart), arena: Math.max(arenaMin, arena) };
}

const pageBytes = 4096;

export const procMemoryProbe = (totalBytes: number, root = "/sys/fs/cgroup"): MemoryProbe => ({
  residentBytes: (pid) => {
    const statm = pid > 0 ? first(`/proc/${pid}/statm`)?.split(" ") : undefined;
    if (statm === undefined) return 0;
    return Math.max(0, Number(statm[1]) - Number(statm[2])) * pageBytes; // without shared pages: the arena is counted once, elsewhere
  },
  node: () => {
    const current = Number(first(`${root}/memory.current`, `${root}/memory/memory.usage_in_bytes`) ?? Number.NaN);
    const cache = Number(/^inactive_file (\d+)/m.exec(first(`${root}/memory.stat`) ?? "")?.[1] ?? 0);
    const limited = detectMemory(root) < totalmem();
    if (limited && current > 0) return { usedBytes: Math.max(0, current - cache), totalBytes };
    const available = Number(/^MemAvailable:\s+(\d+)/m.exec(first("/proc/meminfo") ?? "")?.[1] ?? 0) * 1024;
    return { usedBytes: available > 0 ? Math.max(0, totalmem() - available) : 0, totalBytes };
  },
});
