// Where a raylet spills: a directory of its own below each that was configured. Several nodes may share those; whose one is, its name tells, so that what a
// crash left can be told from what is in use.
import { mkdirSync, readdirSync, rmSync } from "node:fs";
import { join } from "node:path";
import { messageOf, TrayError } from "@tray/common";
import { startTimeOf } from "./proc.js";

const prefix = (uid: number): string => `tray-spill-${uid}-`;

/** Makes "<directory>/tray-spill-<uid>-<node id>-<pid>-<start time of the process>". @throws CONFIG when that is not possible. */
export function makeSpillDirectory(directory: string, uid: number, nodeId: string, pid: number): string {
  const path = join(directory, `${prefix(uid)}${nodeId}-${pid}-${startTimeOf(pid)}`);
  try {
    mkdirSync(directory, { recursive: true, mode: 0o700 });
    mkdirSync(path, { mode: 0o700 });
  } catch (error) {
    throw new TrayError("CONFIG", `cannot spill to ${directory}: ${messageOf(error)}`, {
      cause: error,
      hint: "name a directory that this user may write to (--spill-dir, objectSpillingDirectory)",
    });
  }
  return path;
}

/** Removes what raylets of this user that are gone have spilled below `directory`: nobody knows of it any more. @returns the paths. */
export function removeDeadSpills(directory: string, uid: number): string[] {
  const removed: string[] = [];
  let names: string[] = [];
  try {
    names = readdirSync(directory);
  } catch {
    return removed; // it is made when it is needed
  }
  for (const name of names) {
    const match = name.startsWith(prefix(uid)) ? /-(\d+)-(\d+)$/.exec(name) : null;
    if (match === null || startTimeOf(Number(match[1])) === match[2]) continue;
    try {
      rmSync(join(directory, name), { recursive: true, force: true });
      removed.push(join(directory, name));
    } catch {
      // another raylet that starts at the same moment is at it, too
    }
  }
  return removed;
}
