// Brings a local directory (or zip file) to the cluster: named by its content, uploaded only when it is not there yet.
import { formatSize } from "@tray/common";
import { createHash } from "node:crypto";
import { closeSync, mkdtempSync, openSync, readFileSync, rmSync, statSync, writeSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { DashboardClient } from "../dashboard-client.js";
import { CliFailure, exitCodes } from "../failure.js";
import { collectFiles, type PackageFile } from "./collect.js";
import { zipOf } from "./zip.js";

/** Default of packageMaxSize; the server has the last word. */
const bytesMax = 512 * 2 ** 20;

/** @returns the URI for `runtime_env.working_dir`. */
export async function uploadWorkingDir(
  client: DashboardClient,
  path: string,
  excludes: readonly string[],
  say: (text: string) => void,
): Promise<string> {
  const info = statSync(path, { throwIfNoEntry: false });
  if (info === undefined) throw new CliFailure(exitCodes.usage, "NOT_FOUND", `--working-dir: there is no ${path}`);
  if (info.isFile()) {
    if (!path.endsWith(".zip"))
      throw new CliFailure(exitCodes.usage, "INVALID_ARGUMENT", `--working-dir: ${path} is neither a directory nor a .zip file`);
    const name = `_ray_pkg_${createHash("sha1").update(readFileSync(path)).digest("hex")}.zip`;
    return await uploadFile(client, path, name, say);
  }
  const files = collectFiles(path, excludes);
  const bytes = files.reduce((sum, f) => sum + f.bytes, 0);
  if (bytes > bytesMax) throw tooLarge(path, files, bytes);
  const dir = mkdtempSync(join(tmpdir(), "tray-package-"));
  try {
    const archive = join(dir, "package.zip");
    const name = `_ray_pkg_${writeArchive(archive, files).slice(0, 40)}.zip`;
    return await uploadFile(client, archive, name, say);
  } finally {
    rmSync(dir, { recursive: true, force: true });
  }
}

/** @returns the hash of the archive, which depends on content alone. */
function writeArchive(archive: string, files: readonly PackageFile[]): string {
  const hash = createHash("sha256");
  const fd = openSync(archive, "w", 0o600);
  try {
    for (const piece of zipOf(files, (file) => readFileSync(file.absolute))) {
      hash.update(piece);
      writeSync(fd, piece);
    }
  } finally {
    closeSync(fd);
  }
  return hash.digest("hex");
}

async function uploadFile(client: DashboardClient, file: string, name: string, say: (text: string) => void): Promise<string> {
  if (!(await client.hasPackage(name))) {
    say(`uploading ${name} (${formatSize(statSync(file).size)})`);
    await client.putPackage(name, file);
  }
  return `gcs://${name}`;
}

function tooLarge(path: string, files: readonly PackageFile[], bytes: number): CliFailure {
  const largest = [...files].sort((a, b) => b.bytes - a.bytes).slice(0, 3);
  return new CliFailure(
    exitCodes.usage,
    "RESOURCE_EXHAUSTED",
    `${path} is ${formatSize(bytes)}, more than the ${formatSize(bytesMax)} that a package may have; the largest files are ${largest.map((f) => `${f.path} (${formatSize(f.bytes)})`).join(", ")}`,
    "name what the job does not need in .trayignore",
  );
}
