// Package upload: a probe that never returns bytes, an upload, and (for supervisors on other machines, with the token like everything else) the bytes.
import { isTrayError, messageOf } from "@tray/common";
import type { Hono } from "hono";
import { Readable } from "node:stream";
import type { ReadableStream } from "node:stream/web";
import type { PackageStore } from "./package-store.js";

export function mountPackages(app: Hono, packages: PackageStore): void {
  app.get("/api/packages/:protocol/:name", async (c) => {
    const { protocol, name } = c.req.param();
    const known = protocol === "gcs" && validName(packages, name) && (await packages.has(name));
    return known ? c.body(null, 200) : c.text(`Package ${protocol}://${name} does not exist`, 404);
  });

  app.put("/api/packages/:protocol/:name", async (c) => {
    const { protocol, name } = c.req.param();
    if (protocol !== "gcs") return c.text(`packages are stored under gcs://, not ${protocol}://`, 500);
    const { body } = c.req.raw;
    try {
      await packages.put(name, body === null ? Readable.from([]) : Readable.fromWeb(body as ReadableStream));
      return c.body(null, 200);
    } catch (error) {
      if (isTrayError(error, "RESOURCE_EXHAUSTED")) return c.text(error.message, 413);
      if (isTrayError(error, "INVALID_ARGUMENT")) return c.text(messageOf(error), 400);
      throw error;
    }
  });

  app.get("/api/tray/packages/:name", async (c) => {
    const { name } = c.req.param();
    if (!validName(packages, name) || !(await packages.has(name))) return c.text(`Package gcs://${name} does not exist`, 404);
    return c.body(Readable.toWeb(packages.read(name)) as globalThis.ReadableStream, 200, { "Content-Type": "application/zip" });
  });
}

function validName(packages: PackageStore, name: string): boolean {
  try {
    packages.fileOf(name);
    return true;
  } catch {
    return false;
  }
}
