// PackageStore: uploaded working directories, one file a name in a directory. Names are content hashes made by clients and opaque here, so a stored package
// never changes; an upload appears whole or not at all.
//
// Packages that no job uses are kept for the next submission of the same directory, up to a size; then the ones that were asked for longest ago go.
//
// Invariants
//   K1. A package of a job that has not ended is never removed.
//   K2. Nor one that was uploaded or asked for lately: its submission is on its way.
import { type Clock, TrayError } from "@tray/common";
import { createHash } from "node:crypto";
import { createReadStream, createWriteStream } from "node:fs";
import { mkdir, readdir, rename, rm, stat, utimes } from "node:fs/promises";
import { join } from "node:path";
import type { Readable } from "node:stream";
import { Transform } from "node:stream";
import { pipeline } from "node:stream/promises";

const namePattern = /^[A-Za-z0-9_][A-Za-z0-9_.+-]{0,199}$/;

export interface PackageStoreOptions {
  readonly dir: string;
  /** Of one package. */
  readonly bytesMax: number;
  /** Of all packages, where those in use alone do not take more. */
  readonly keptBytesMax: number;
  readonly pid: number;
  readonly clock: Clock;
  /** Names of packages of jobs that have not ended. */
  readonly inUse: () => Promise<ReadonlySet<string>>;
  /** Room could not be made: no reason for an upload to fail. */
  readonly onPruneError: (error: unknown) => void;
}

/** Time from an upload to its submission. */
const pinnedMs = 10 * 60_000;
/** An upload that nothing was written to for so long has broken off, and its process with it. */
const partMs = 24 * 3_600_000;

export class PackageStore {
  private uploads = 0;

  constructor(private readonly options: PackageStoreOptions) {}

  /** The file of a package, whether it is there or not. @throws INVALID_ARGUMENT for a name that is no plain file name. */
  fileOf(name: string): string {
    if (!namePattern.test(name)) throw new TrayError("INVALID_ARGUMENT", `package name ${JSON.stringify(name)} is not a plain file name`);
    return join(this.options.dir, name);
  }

  async has(name: string): Promise<boolean> {
    const file = this.fileOf(name);
    const found = await stat(file).catch(() => undefined); // ENOENT is the answer
    if (found === undefined || !found.isFile()) return false;
    return await this.touch(file);
  }

  /** K2. False: it was removed just now. */
  private async touch(file: string): Promise<boolean> {
    const now = this.options.clock.wallMs() / 1000;
    return await utimes(file, now, now).then(
      () => true,
      () => false,
    );
  }

  /** @returns the names of the packages that were removed. */
  async prune(): Promise<string[]> {
    const { dir, keptBytesMax, clock } = this.options;
    const found = [];
    for (const name of await readdir(dir)) {
      const file = await stat(join(dir, name)).catch(() => undefined); // an upload that was renamed or broke off
      if (file?.isFile() === true) found.push({ name, bytes: file.size, ageMs: clock.wallMs() - file.mtimeMs });
    }
    let total = found.reduce((sum, { bytes }) => sum + bytes, 0);
    const inUse = total > keptBytesMax ? await this.options.inUse() : new Set<string>();
    const removed: string[] = [];
    for (const { name, bytes, ageMs } of found.sort((a, b) => b.ageMs - a.ageMs)) {
      const isPart = name.endsWith(".part");
      if (isPart ? ageMs < partMs : total <= keptBytesMax || ageMs < pinnedMs || inUse.has(name)) continue; // K1, K2
      await rm(join(dir, name), { force: true });
      total -= bytes;
      removed.push(name);
    }
    return removed;
  }

  /** @throws RESOURCE_EXHAUSTED beyond the size limit; nothing is stored then. */
  async put(name: string, body: Readable): Promise<{ bytes: number; sha256: string }> {
    const target = this.fileOf(name);
    await mkdir(this.options.dir, { recursive: true, mode: 0o700 });
    const fresh = `${target}.${this.options.pid}.${++this.uploads}.part`;
    const hash = createHash("sha256");
    let bytes = 0;
    const meter = new Transform({
      transform: (chunk: Buffer, _encoding, done) => {
        bytes += chunk.length;
        hash.update(chunk);
        if (bytes > this.options.bytesMax)
          done(
            new TrayError("RESOURCE_EXHAUSTED", `the package is larger than ${this.options.bytesMax} bytes`, {
              hint: "exclude files with .trayignore, or raise packageMaxSize",
            }),
          );
        else done(null, chunk);
      },
    });
    try {
      await pipeline(body, meter, createWriteStream(fresh, { mode: 0o600 }));
      await rename(fresh, target);
      await this.touch(target);
      await this.prune().catch(this.options.onPruneError);
      return { bytes, sha256: hash.digest("hex") };
    } catch (error) {
      await rm(fresh, { force: true });
      throw error;
    }
  }

  read(name: string): Readable {
    return createReadStream(this.fileOf(name));
  }
}
