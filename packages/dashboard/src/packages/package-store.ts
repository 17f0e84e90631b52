// PackageStore: uploaded working directories, one file a name in a directory. Names are content hashes made by clients and opaque here, so a stored package
// never changes; an upload appears whole or not at all.
import { TrayError } from "@tray/common";
import { createHash } from "node:crypto";
import { createReadStream, createWriteStream } from "node:fs";
import { mkdir, rename, rm, stat } from "node:fs/promises";
import { join } from "node:path";
import type { Readable } from "node:stream";
import { Transform } from "node:stream";
import { pipeline } from "node:stream/promises";

const namePattern = /^[A-Za-z0-9_][A-Za-z0-9_.+-]{0,199}$/;

export class PackageStore {
  private uploads = 0;

  constructor(
    readonly dir: string,
    private readonly bytesMax: number,
    private readonly pid: number,
  ) {}

  /** The file of a package, whether it is there or not. @throws INVALID_ARGUMENT for a name that is no plain file name. */
  fileOf(name: string): string {
    if (!namePattern.test(name)) throw new TrayError("INVALID_ARGUMENT", `package name ${JSON.stringify(name)} is not a plain file name`);
    return join(this.dir, name);
  }

  async has(name: string): Promise<boolean> {
    const found = await stat(this.fileOf(name)).catch(() => undefined); // ENOENT is the answer
    return found?.isFile() ?? false;
  }

  /** @throws RESOURCE_EXHAUSTED beyond the size limit; nothing is stored then. */
  async put(name: string, body: Readable): Promise<{ bytes: number; sha256: string }> {
    const target = this.fileOf(name);
    await mkdir(this.dir, { recursive: true, mode: 0o700 });
    const fresh = `${target}.${this.pid}.${++this.uploads}.part`;
    const hash = createHash("sha256");
    let bytes = 0;
    const meter = new Transform({
      transform: (chunk: Buffer, _encoding, done) => {
        bytes += chunk.length;
        hash.update(chunk);
        if (bytes > this.bytesMax)
          done(
            new TrayError("RESOURCE_EXHAUSTED", `the package is larger than ${this.bytesMax} bytes`, {
              hint: "exclude files with .trayignore, or raise packageMaxSize",
            }),
          );
        else done(null, chunk);
      },
    });
    try {
      await pipeline(body, meter, createWriteStream(fresh, { mode: 0o600 }));
      await rename(fresh, target);
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
