// Unpacks a job's working directory. The archive is somebody's: members that would land outside the target are skipped, sizes are bounded.
import { TrayError } from "@tray/common";
import { createWriteStream } from "node:fs";
import { chmod, mkdir } from "node:fs/promises";
import { dirname, isAbsolute, relative, resolve, sep } from "node:path";
import { pipeline } from "node:stream/promises";
import { type Entry, getFileNameLowLevel, openPromise, type ZipFile } from "yauzl";

/** Unpacked bytes at most: a small archive can describe a very large tree. */
const unpackedBytesMax = 16 * 2 ** 30;
const unixDirectory = 0o040000;
const unixSymlink = 0o120000;
const unixTypeMask = 0o170000;

export interface Unpacked {
  readonly files: number;
  /** Names of members that were refused. */
  readonly skipped: readonly string[];
}

/** @throws RUNTIME_ENV_SETUP when the archive is damaged or too large. */
export async function unpackZip(file: string, target: string, signal: AbortSignal): Promise<Unpacked> {
  const root = resolve(target);
  await mkdir(root, { recursive: true, mode: 0o700 });
  let zip: ZipFile;
  try {
    // Names are judged here rather than by yauzl, which would refuse the whole archive for one bad member.
    zip = await openPromise(file, { lazyEntries: true, autoClose: false, decodeStrings: false, validateEntrySizes: true });
  } catch (error) {
    throw damaged(file, error);
  }
  const skipped: string[] = [];
  let files = 0;
  let bytes = 0;
  try {
    for await (const entry of zip.eachEntry()) {
      signal.throwIfAborted();
      const name = getFileNameLowLevel(entry.generalPurposeBitFlag, entry.fileName as unknown as Buffer, entry.extraFields, true);
      const path = memberPath(root, name);
      const mode = entry.externalFileAttributes >>> 16;
      if (path === undefined || (mode & unixTypeMask) === unixSymlink) {
        skipped.push(name);
        continue;
      }
      if (name.endsWith("/") || (mode & unixTypeMask) === unixDirectory) {
        await mkdir(path, { recursive: true });
        continue;
      }
      bytes += entry.uncompressedSize;
      if (bytes > unpackedBytesMax) throw new TrayError("RUNTIME_ENV_SETUP", `${file} unpacks to more than ${unpackedBytesMax} bytes`);
      await writeMember(zip, entry, path, mode, signal);
      files++;
    }
  } catch (error) {
    if (error instanceof TrayError || signal.aborted) throw error;
    throw damaged(file, error);
  } finally {
    zip.close();
  }
  return { files, skipped };
}

/** Where a member goes; undefined when that is not inside `root`. */
export function memberPath(root: string, name: string): string | undefined {
  if (name === "" || name.includes("\\") || name.includes("\0") || isAbsolute(name) || /^[A-Za-z]:/.test(name)) return undefined;
  const path = resolve(root, name);
  const inside = relative(root, path);
  return inside === "" || inside === ".." || inside.startsWith(`..${sep}`) || isAbsolute(inside) ? undefined : path;
}

async function writeMember(zip: ZipFile, entry: Entry, path: string, mode: number, signal: AbortSignal): Promise<void> {
  await mkdir(dirname(path), { recursive: true });
  // "wx" would follow no link either, but the target is fresh and links are never made, so nothing can stand in the way but a doubled name: the last one wins.
  await pipeline(await zip.openReadStreamPromise(entry), createWriteStream(path), { signal });
  const permissions = mode & 0o777;
  if (permissions !== 0) await chmod(path, permissions | 0o600);
}

const damaged = (file: string, error: unknown): TrayError =>
  new TrayError("RUNTIME_ENV_SETUP", `cannot unpack ${file}: ${error instanceof Error ? error.message : String(error)}`, { cause: error });
