// Ray's Jobs HTTP API. Success is exactly 200; errors are plain text; answers of submit, stop, delete and logs have exactly the documented keys.
import type { Context, Hono } from "hono";
import type { FoundJob, JobService } from "./job-service.js";
import { InvalidRequest } from "./submit-request.js";

export const jsonBytesMax = 10 * 1024 * 1024;

export function mountJobs(app: Hono, jobs: JobService): void {
  for (const path of ["/api/jobs", "/api/jobs/"]) {
    app.get(path, async (c) => json(c, await jobs.list()));
    app.post(path, async (c) => {
      const text = await c.req.text();
      if (text.length > jsonBytesMax) return c.text("413: Request Entity Too Large", 413);
      let body: unknown;
      try {
        body = JSON.parse(text);
      } catch {
        return c.text("400: the body is not JSON", 400);
      }
      try {
        const id = await jobs.submit(body);
        return json(c, { job_id: id, submission_id: id });
      } catch (error) {
        if (error instanceof InvalidRequest) return c.text(error.message, 400);
        throw error;
      }
    });
  }

  app.get("/api/jobs/:id", async (c) => {
    const found = await jobs.find(c.req.param("id"));
    return found === undefined ? missing(c) : json(c, jobs.details(found));
  });

  app.post("/api/jobs/:id/stop", async (c) => {
    const found = await jobs.find(c.req.param("id"));
    if (found?.kind !== "submission") return notSubmission(c, found, "stop");
    return json(c, { stopped: await jobs.stop(found.record.submissionId) });
  });

  app.delete("/api/jobs/:id", async (c) => {
    const found = await jobs.find(c.req.param("id"));
    if (found?.kind !== "submission") return notSubmission(c, found, "delete");
    const { submissionId, status } = found.record;
    switch (await jobs.delete(submissionId)) {
      case "deleted":
        return json(c, { deleted: true });
      case "missing":
        return missing(c);
      case "refused":
        return c.text(`Attempted to delete job '${submissionId}', but it is in a non-terminal state ${status}.`, 500);
    }
  });

  app.get("/api/jobs/:id/logs", async (c) => {
    const found = await jobs.find(c.req.param("id"));
    if (found?.kind !== "submission") return notSubmission(c, found, "get logs of");
    return json(c, { logs: await jobs.logs.read(found.record) });
  });
}

export const json = (c: Context, value: unknown): Response =>
  c.body(JSON.stringify(value), 200, { "Content-Type": "application/json; charset=utf-8" });

function missing(c: Context): Response {
  return c.text(`Job ${c.req.param("id")} does not exist`, 404);
}

function notSubmission(c: Context, found: FoundJob | undefined, verb: string): Response {
  return found === undefined ? missing(c) : c.text(`Can only ${verb} submission type jobs`, 400);
}
