// The HTTP interface, put together: access checks first, then versions and health, jobs, packages, state, metrics.
import { getRequestListener } from "@hono/node-server";
import { isTrayError, type Logger, messageOf } from "@tray/common";
import { Hono } from "hono";
import type { IncomingMessage, RequestListener, ServerResponse } from "node:http";
import type { Cluster } from "../cluster.js";
import type { JobService } from "../jobs/job-service.js";
import { json, mountJobs } from "../jobs/routes.js";
import type { PackageStore } from "../packages/package-store.js";
import { mountPackages } from "../packages/routes.js";
import { renderMetrics } from "../state/metrics.js";
import { mountState } from "../state/routes.js";
import { type AccessPolicy, refuse, sameToken, shownToken, tokenCookie } from "./access.js";

export interface AppOptions {
  readonly cluster: Cluster;
  readonly jobs: JobService;
  readonly packages: PackageStore;
  readonly policy: AccessPolicy;
  readonly logger: Logger;
  /** tray's version. */
  readonly version: string;
  readonly sessionName: string;
}

/** What the wire is compatible with; Ray's client refuses anything that is no PEP 440 version. */
const rayVersion = "2.58.0";
const apiVersion = "4";
const healthTimeoutMs = 2_000;

export function createApp(options: AppOptions): RequestListener {
  const { cluster, jobs, packages, policy, logger } = options;
  const app = new Hono();

  for (const path of ["/api/version", "/api/ray/version"]) {
    app.get(path, (c) =>
      json(c, {
        version: apiVersion,
        ray_version: rayVersion,
        ray_commit: `tray-${options.version}`,
        session_name: `session_${options.sessionName}`,
      }),
    );
  }
  app.get("/", (c) =>
    c.text(`tray ${options.version}: Jobs API at /api/jobs/, State API at /api/v0/{nodes,actors,workers,jobs}, metrics at /metrics\n`),
  );
  for (const path of ["/api/healthz", "/-/healthz"]) app.get(path, (c) => c.text("success"));
  app.get("/api/gcs_healthz", async (c) => {
    try {
      await cluster.gcs.listNodes({}, { timeoutMs: healthTimeoutMs });
      return c.text("success");
    } catch (error) {
      return c.text(`the GCS does not answer: ${messageOf(error)}`, 503);
    }
  });
  app.get("/api/authentication_mode", (c) => json(c, { authentication_mode: policy.token === undefined ? "disabled" : "token" }));
  app.post("/api/authenticate", (c) => {
    if (policy.token === undefined) return c.text("Unauthorized: Token authentication is not enabled", 401);
    const shown = shownToken({ authorization: c.req.header("authorization"), "x-ray-authorization": c.req.header("x-ray-authorization") });
    if (shown === undefined) return c.text("Unauthorized: Missing authentication token", 401);
    if (!sameToken(shown, policy.token)) return c.text("Forbidden: Invalid authentication token", 403);
    c.header("Set-Cookie", `${tokenCookie}=${shown}; Max-Age=2592000; Path=/; HttpOnly; SameSite=Strict`);
    return json(c, { status: "authenticated", message: "Token is valid" });
  });
  app.get("/metrics", async (c) => {
    const [status, list] = await Promise.all([cluster.status(), jobs.list()]);
    const byStatus: Record<string, number> = {};
    for (const job of list) byStatus[job.status] = (byStatus[job.status] ?? 0) + 1;
    return c.body(renderMetrics(status, byStatus), 200, { "Content-Type": "text/plain; version=0.0.4; charset=utf-8" });
  });
  mountJobs(app, jobs);
  mountPackages(app, packages);
  mountState(app, cluster, jobs);

  app.notFound((c) => c.text("404: Not Found", 404));
  app.onError((error, c) => {
    if (isTrayError(error) && error.retryable) return c.text(`the cluster does not answer: ${error.message}`, 503);
    logger.error("request failed", { method: c.req.method, path: c.req.path, error });
    return c.text("500 Internal Server Error\n\nServer got itself in trouble", 500);
  });

  const handle = getRequestListener(app.fetch);
  // Refusals happen before the body is read: nobody without the token may make us read one.
  return (request: IncomingMessage, response: ServerResponse) => {
    const path = (request.url ?? "/").split("?", 1)[0] as string;
    const refusal = refuse({ method: request.method ?? "GET", path, headers: request.headers }, policy);
    if (refusal !== undefined) {
      response.writeHead(refusal.status, { "Content-Type": "text/plain; charset=utf-8", Connection: "close" }).end(refusal.text);
      return;
    }
    void handle(request, response);
  };
}
