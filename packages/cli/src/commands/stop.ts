// tray stop: ends the nodes that the data directory knows, or with --all every node of this user on the machine.
import { parseDuration } from "@tray/common";
import { dataDirsInUse, type StopResult, stopNodes } from "@tray/node-launcher";
import { CliFailure, exitCodes } from "../failure.js";
import type { Session } from "../globals.js";
import { printValue } from "../output/format.js";

export interface StopFlags {
  force?: boolean;
  gracePeriod?: string;
  all?: boolean;
}

export async function stop(session: Session, flags: StopFlags): Promise<number> {
  const { context, format } = session;
  const graceMs = parseDuration(/^\d+$/.test(flags.gracePeriod ?? "10s") ? `${flags.gracePeriod}s` : (flags.gracePeriod ?? "10s"), "--grace-period");
  const dataDirs = new Set([session.dataDir, ...(flags.all === true ? dataDirsInUse() : [])]);
  const results: StopResult[] = [];
  for (const dataDir of dataDirs)
    results.push(await stopNodes(dataDir, context.clock, { force: flags.force === true, graceMs, sparePids: new Set([context.pid]) }));
  const nodes = results.flatMap((r) => r.nodes);
  const killed = results.reduce((sum, r) => sum + r.killed, 0);
  const survivors = results.flatMap((r) => r.survivors);
  if (format === "json" || format === "yaml")
    await printValue(context, format, { nodes, ended: results.reduce((sum, r) => sum + r.ended, 0), killed, survivors });
  else if (nodes.length === 0 && killed === 0) session.say(`nothing of tray runs here (looked in ${[...dataDirs].join(", ")})`);
  else session.say(`stopped ${nodes.length === 1 ? "1 node" : `${nodes.length} nodes`}${killed > 0 ? `; ${killed} processes had to be killed` : ""}`);
  if (survivors.length > 0)
    throw new CliFailure(
      exitCodes.failed,
      "SYSTEM",
      `processes ${survivors.join(", ")} did not end`,
      "see what they wait for with: ps -o pid,stat,wchan,cmd -p PID",
    );
  return exitCodes.ok;
}
