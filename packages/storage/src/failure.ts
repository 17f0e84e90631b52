// One way to tell a full disk from a broken one, for all stores.
import { messageOf, TrayError } from "@tray/common";

/** errno of what a full disk, quota, file-size limit or address space looks like. LMDB reports a short write, which a full disk causes, as EIO. */
const outOfSpace: ReadonlySet<unknown> = new Set([5, 12, 27, 28, 122, -30792, -30788, "ENOSPC", "EDQUOT", "EFBIG"]);

/** What LMDB's errors mean. Errors of ours are bugs and come back as they are. */
export function storeFailure(path: string, what: string, error: unknown): unknown {
  const errno = (error as { code?: unknown }).code;
  if (errno === undefined) return error; // not LMDB's: a bug of ours, and it must look like one
  const details = { path, errno };
  if (!outOfSpace.has(errno)) return new TrayError("SYSTEM", `cannot ${what} the store ${path}: ${messageOf(error)}`, { cause: error, details });
  return new TrayError("OUT_OF_DISK", `cannot ${what} the store ${path}: no space is left, or the disk fails (${messageOf(error)})`, {
    cause: error,
    details,
    hint: `free space on the disk that holds ${path}`,
  });
}
