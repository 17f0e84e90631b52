// Names of arena files in /dev/shm: who made one is in its name, so that what a crash left can be told from what is in use.
import { readdirSync, unlinkSync } from "node:fs";
import { join } from "node:path";
import { startTimeOf } from "./proc.js";

const prefix = (uid: number): string => `tray-${uid}-`;

/** "<shmDir>/tray-<uid>-<node id>-<pid>-<start time of the process>" */
export function arenaPath(shmDir: string, uid: number, nodeId: string, pid: number): string {
  return join(shmDir, `${prefix(uid)}${nodeId}-${pid}-${startTimeOf(pid)}`);
}

/** Removes arena files of this user whose raylets are gone. @returns their paths. */
export function removeDeadArenas(shmDir: string, uid: number): string[] {
  const removed: string[] = [];
  for (const name of readdirSync(shmDir)) {
    const match = name.startsWith(prefix(uid)) ? /-(\d+)-(\d+)$/.exec(name) : null;
    if (match === null || startTimeOf(Number(match[1])) === match[2]) continue;
    try {
      unlinkSync(join(shmDir, name));
      removed.push(join(shmDir, name));
    } catch {
      // another raylet that starts at the same moment was faster
    }
  }
  return removed;
}
