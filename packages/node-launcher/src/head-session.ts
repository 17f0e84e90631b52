// Which session `tray start --head` works on: a new one, or one whose GCS died and whose tables are still there.
import { TrayError } from "@tray/common";
import { readdirSync } from "node:fs";
import { gcsAddressOf, hasEnded, listLocalNodes, type LocalNode } from "./discover.js";

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
  const unfinished = heads.find((node) => !hasEnded(node.layout) && hasTables(node.layout.session.tablesDir));
  return unfinished === undefined ? { kind: "new" } : { kind: "continue", node: unfinished };
}

function hasTables(dir: string): boolean {
  try {
    return readdirSync(dir).length > 0;
  } catch {
    return false; // never started
  }
}
