// tray health-check: does the GCS answer, is a node alive, does the dashboard serve.
import { messageOf } from "@tray/common";
import { DashboardClient } from "../dashboard-client.js";
import { withConnection } from "../connection.js";
import { exitCodes } from "../failure.js";
import { findTarget, type Session } from "../globals.js";
import { printValue, renderTable } from "../output/format.js";
import { statusReport } from "./status.js";

interface Check {
  readonly name: string;
  readonly ok: boolean;
  readonly detail: string;
}

/** @throws CONNECTION or AUTHENTICATION when the GCS cannot be asked at all. */
export async function healthCheck(session: Session): Promise<number> {
  const { context } = session;
  const target = findTarget(session);
  const report = await withConnection(session, target, async ({ gcs }) =>
    statusReport(await gcs.status({}, { retry: true, timeoutMs: 5_000 }), context.clock.wallMs()),
  );
  const alive = report.nodes.filter((n) => n.state === "ALIVE");
  const checks: Check[] = [
    { name: "gcs", ok: true, detail: `${report.gcsAddress} answers (pid ${report.gcsPid})` },
    { name: "nodes", ok: alive.length > 0, detail: `${alive.length} alive, ${report.nodes.length - alive.length} dead` },
    { name: "head", ok: alive.some((n) => n.isHead), detail: alive.some((n) => n.isHead) ? "alive" : "the head's raylet is not alive" },
  ];
  if (report.dashboardUrl !== null) {
    try {
      const { status, text } = await DashboardClient.at(report.dashboardUrl, target, context).health("/api/gcs_healthz");
      checks.push({ name: "dashboard", ok: status === 200, detail: status === 200 ? `${report.dashboardUrl} serves` : text });
    } catch (error) {
      checks.push({ name: "dashboard", ok: false, detail: messageOf(error) });
    }
  }
  const healthy = checks.every((c) => c.ok);
  if (session.format === "json" || session.format === "yaml") await printValue(context, session.format, { healthy, checks });
  else if (session.flags.quiet !== true)
    context.stdout.write(
      renderTable(checks, [
        { title: "CHECK", value: (c) => c.name },
        { title: "RESULT", value: (c) => (c.ok ? "ok" : "FAILED") },
        { title: "DETAIL", value: (c) => c.detail },
      ]),
    );
  return healthy ? exitCodes.ok : exitCodes.failed;
}
