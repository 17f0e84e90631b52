// Which session `tray start --head` works on: a new one, or one whose GCS died and whose tables are still there.
import { TrayError } from "@tray/common";
import { existsSync, readdirSync } from "node:fs";
import { gcsAddressOf, listLocalNodes, type LocalNode, readPlan } from "./discover.js";
import { listNodeDirs, type SessionLayout } from "./layout.js";

export type HeadSession =
  | { readonly kind: "new" }
  /** Restart what is missing on this node, with the plan that it had. */
  | { readonly kind: "continue"; readonly node: LocalNode };

/** @throws CONFLICT when a head already serves from this data directory. */
export function headSession(dataDir: string): HeadSession {
  const heads = listLocalNodes(dataDir).filter((n) => n.plan.isHead && !n.plan.endWithStarter); // a driver's own cluster ends with it
  for (const node of heads) {
    const whole =
      node.gcs !== undefined &&
      node.raylet !== undefined &&
      (node.supervisorPid !== undefined || node.plan.dashboard === undefined || node.dashboard !== undefined);
    if (whole) {
      throw new TrayError("CONFLICT", `a head already serves at ${gcsAddressOf(node)} from the data directory ${dataDir}`, {
        hint: "end it with: tray stop          (a second head needs --port and --data-dir of its own)",
      });
    }
  }
  const unfinished = heads.find((node) => isUnfinished(node.layout.session));
  return unfinished === undefined ? { kind: "new" } : { kind: "continue", node: unfinished };
}

/** True for the session of a cluster that `tray start --head` would go on with. */
export function isContinuable(session: SessionLayout): boolean {
  return (
    isUnfinished(session) &&
    listNodeDirs(session).some((layout) => {
      const plan = readPlan(layout);
      return plan !== undefined && plan.isHead && !plan.endWithStarter;
    })
  );
}

const isUnfinished = (session: SessionLayout): boolean => !existsSync(session.endedFile) && hasTables(session.tablesDir);

function hasTables(dir: string): boolean {
  try {
    return readdirSync(dir).length > 0;
  } catch {
    return false; // never started
  }
}
