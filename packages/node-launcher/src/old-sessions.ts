// Sessions that have ended are kept for a while, for their logs, and then removed with all they hold: at most so many, and none that ended too long ago.
//
// Invariants
//   H1. A session with a living process is never removed, nor one that is so young that its first process may still be on its way.
//   H2. A cluster that died and can be continued (tables, and never ended on purpose) is never removed: it is state, not history.
//   H3. Nothing of another user is touched.
import { readdirSync, rmSync, statSync } from "node:fs";
import { isContinuable } from "./head-session.js";
import { isOwn, listSessions, type SessionLayout } from "./layout.js";

export interface KeepSessions {
  readonly nowMs: number;
  readonly sessionsMax: number;
  /** Since the session's last sign of life. */
  readonly ageMaxMs: number;
  isLive(sessionName: string): boolean;
}

const youngMs = 60_000;

/** @returns the names of the sessions that were removed. Failures to remove are left to the next start. */
export function removeOldSessions(dataDir: string, { nowMs, sessionsMax, ageMaxMs, isLive }: KeepSessions): string[] {
  const removed: string[] = [];
  let kept = 0;
  // Newest first.
  for (const session of listSessions(dataDir)) {
    const ageMs = nowMs - lastSignMs(session);
    if (isLive(session.name) || ageMs < youngMs || !isOwn(session.dir) || isContinuable(session)) continue; // H1 to H3
    if (ageMs <= ageMaxMs && kept < sessionsMax) {
      kept++;
      continue;
    }
    try {
      rmSync(session.dir, { recursive: true, force: true });
      removed.push(session.name);
    } catch {
      // A file in it is another user's, or somebody else removes it just now.
    }
  }
  return removed;
}

/** When something was last written: logs are appended to until the end. */
function lastSignMs(session: SessionLayout): number {
  const logs = entries(session.logsDir).map((name) => `${session.logsDir}/${name}`);
  return Math.max(...[session.dir, session.endedFile, ...logs].map((path) => statSync(path, { throwIfNoEntry: false })?.mtimeMs ?? 0));
}

function entries(dir: string): string[] {
  try {
    return readdirSync(dir);
  } catch {
    return []; // never got as far as to have one
  }
}
