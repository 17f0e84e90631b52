// JobDirs: the directories that jobs ran in on this node. One is kept after its job's end (people look for what a job wrote, and a detached actor still imports from
// it) until all of them together take more room than they may; then the one whose job ended first goes first.
//
// Owns:     <root>/<submission id>/ and, beside them, <root>.owners/<submission id>.json: whose it is, and once the job has ended how large it is.
// Not mine: what is in them; uploaded packages (packages/package-store.ts).
//
// Invariants
//   D1. The directory of a job whose supervisor lives and has not released it is never removed. A pid alone proves nothing: its start time must match.
//   D2. Only directories with an owner's file are looked at.
// Supervisors of several jobs do this at the same time: everything here may find that another one was faster.
import { isSameProcess, readProcess } from "@tray/node-launcher";
import { lstat, mkdir, readdir, readFile, rename, rm, writeFile } from "node:fs/promises";
import { join } from "node:path";

interface Owner {
  readonly pid: number;
  readonly startTicks: number;
  /** Once it has ended. */
  readonly ended?: { readonly atMs: number; readonly bytes: number };
}

interface Ended {
  readonly id: string;
  readonly atMs: number;
  readonly bytes: number;
}

export class JobDirs {
  private readonly owners: string;

  constructor(
    private readonly root: string,
    private readonly bytesMax: number,
  ) {
    this.owners = `${root}.owners`;
  }

  dirOf(submissionId: string): string {
    return join(this.root, submissionId);
  }

  /** Says that the process `pid` uses the job's directory. */
  async claim(submissionId: string, pid: number): Promise<void> {
    await mkdir(this.owners, { recursive: true, mode: 0o700 });
    await this.write(submissionId, { pid, startTicks: readProcess(pid)?.startTicks ?? -1 });
  }

  /** The job has ended. */
  async release(submissionId: string, nowMs: number): Promise<void> {
    const owner = await this.read(submissionId);
    if (owner !== undefined) await this.write(submissionId, { ...owner, ended: { atMs: nowMs, bytes: await bytesBelow(this.dirOf(submissionId)) } });
  }

  /** Removes directories of ended jobs, the longest ended first, until the rest may stay. @returns the jobs whose directories went. */
  async prune(nowMs: number): Promise<string[]> {
    const names = await readdir(this.owners).catch(() => []); // the first job here
    const ended: Ended[] = [];
    for (const id of names.flatMap((name) => (name.endsWith(".json") ? [name.slice(0, -".json".length)] : []))) {
      const one = await this.endedJob(id, nowMs);
      if (one !== undefined) ended.push(one);
    }
    ended.sort((a, b) => a.atMs - b.atMs);
    let total = ended.reduce((sum, { bytes }) => sum + bytes, 0);
    const removed: string[] = [];
    for (const { id, bytes } of ended) {
      if (total <= this.bytesMax) break;
      await rm(this.dirOf(id), { recursive: true, force: true });
      await rm(this.fileOf(id), { force: true });
      total -= bytes;
      removed.push(id);
    }
    return removed;
  }

  private async endedJob(id: string, nowMs: number): Promise<Ended | undefined> {
    const owner = await this.read(id);
    if (owner === undefined) return undefined;
    if (owner.ended !== undefined) return { id, ...owner.ended };
    const live = readProcess(owner.pid);
    if (live !== undefined && live.startTicks === owner.startTicks && isSameProcess(live)) return undefined; // D1
    // It was killed before it could say so.
    await this.release(id, nowMs);
    return { id, atMs: nowMs, bytes: (await this.read(id))?.ended?.bytes ?? 0 };
  }

  private fileOf(id: string): string {
    return join(this.owners, `${id}.json`);
  }

  private async read(id: string): Promise<Owner | undefined> {
    try {
      const owner = JSON.parse(await readFile(this.fileOf(id), "utf8")) as Partial<Owner> | null;
      return typeof owner?.pid === "number" && typeof owner.startTicks === "number" ? (owner as Owner) : undefined;
    } catch {
      return undefined; // D2
    }
  }

  private async write(id: string, owner: Owner): Promise<void> {
    const fresh = `${this.fileOf(id)}.${owner.pid}.new`;
    await writeFile(fresh, JSON.stringify(owner), { mode: 0o600 });
    await rename(fresh, this.fileOf(id));
  }
}

/** Bytes of the files below a directory; links are not followed. What vanishes meanwhile counts nothing. */
async function bytesBelow(dir: string): Promise<number> {
  let sum = 0;
  for (const name of await readdir(dir).catch(() => [])) {
    const path = join(dir, name);
    const found = await lstat(path).catch(() => undefined);
    if (found !== undefined) sum += found.isDirectory() ? await bytesBelow(path) : found.size;
  }
  return sum;
}
