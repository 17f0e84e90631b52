import { existsSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { JobDirs } from "./job-dirs.js";

let dir: string;
beforeEach(() => {
  dir = mkdtempSync(join(tmpdir(), "job-dirs-"));
});
afterEach(() => rmSync(dir, { recursive: true, force: true }));

const root = (): string => join(dir, "work");
/** A pid that no process has. */
const nobody = 2 ** 22 + 1;

async function job(dirs: JobDirs, id: string, bytes: number, pid: number, endedMs?: number): Promise<void> {
  await dirs.claim(id, pid);
  mkdirSync(join(dirs.dirOf(id), "deep"), { recursive: true });
  writeFileSync(join(dirs.dirOf(id), "deep", "file"), Buffer.alloc(bytes));
  if (endedMs !== undefined) await dirs.release(id, endedMs);
}

it("keeps directories of ended jobs while there is room, and removes the longest ended first", async () => {
  const dirs = new JobDirs(root(), 2_500);
  await job(dirs, "b", 1_000, nobody, 20);
  await job(dirs, "a", 1_000, nobody, 10);
  expect(await dirs.prune(50)).toEqual([]);
  await job(dirs, "c", 1_000, nobody, 30);
  expect(await dirs.prune(50)).toEqual(["a"]);
  expect(readdirSync(root()).sort()).toEqual(["b", "c"]);
  expect(await dirs.prune(50)).toEqual([]);
});

it("never removes what a living supervisor uses (D1)", async () => {
  const dirs = new JobDirs(root(), 0);
  await job(dirs, "released", 5_000, process.pid, 1);
  await job(dirs, "mine", 5_000, process.pid);
  await job(dirs, "running", 5_000, process.pid);
  expect(await dirs.prune(50)).toEqual(["released"]);
  // The pid is somebody else's by now: the start time differs.
  const file = join(`${root()}.owners`, "running.json");
  const owner = JSON.parse(readFileSync(file, "utf8")) as { startTicks: number };
  writeFileSync(file, JSON.stringify({ ...owner, startTicks: owner.startTicks - 1 }));
  expect(await dirs.prune(50)).toEqual(["running"]);
  expect(readdirSync(root())).toEqual(["mine"]);
});

it("counts what a killed supervisor left, and touches nothing that has no owner (D2)", async () => {
  const dirs = new JobDirs(root(), 3_000);
  mkdirSync(join(root(), "stranger"), { recursive: true });
  writeFileSync(join(root(), "stranger", "file"), Buffer.alloc(9_000));
  await job(dirs, "killed", 2_000, nobody);
  expect(await dirs.prune(70)).toEqual([]);
  await job(dirs, "next", 2_000, nobody, 80);
  expect(await dirs.prune(90)).toEqual(["killed"]);
  expect(existsSync(join(root(), "stranger"))).toBe(true);
});
