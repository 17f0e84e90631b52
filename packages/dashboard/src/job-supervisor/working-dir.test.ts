// A job on another machine than the dashboard's fetches its package over HTTPS.
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync } from "node:fs";
import { createServer } from "node:https";
import type { AddressInfo } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { parseInput } from "./input.js";
import { prepareWorkingDir } from "./working-dir.js";

const identity = join(__dirname, "../../../object-store/test/identity");
const cert = readFileSync(join(identity, "cert.pem"));
/** An archive without members is its end record alone. */
const emptyZip = Buffer.concat([Buffer.from("PK\u0005\u0006", "latin1"), Buffer.alloc(18)]);

let dir: string;
beforeEach(() => {
  dir = mkdtempSync(join(tmpdir(), "working-dir-"));
});
afterEach(() => rmSync(dir, { recursive: true, force: true }));

it("with the cluster's authority and token, and says why it cannot without", async () => {
  const asked: string[] = [];
  const server = createServer({ cert, key: readFileSync(join(identity, "key.pem")) }, (request, response) => {
    asked.push(`${request.url} ${request.headers.authorization}`);
    if (request.headers.authorization === "Bearer secret") response.end(emptyZip);
    else response.writeHead(403).end("Forbidden");
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  try {
    const dashboardUrl = `https://127.0.0.1:${(server.address() as AddressInfo).port}`;
    const input = parseInput(
      JSON.stringify({
        entrypoint: "true",
        attempt: 1,
        dashboardUrl,
        packagesDir: join(dir, "elsewhere"),
        runtimeEnv: { working_dir: "gcs://a.zip" },
      }),
    );
    const prepare = (token: string, ca: Buffer | undefined): Promise<string> =>
      prepareWorkingDir(input, join(dir, "job"), { token, ca }, new AbortController().signal);
    expect(await prepare("secret", cert)).toBe(join(dir, "job", "working_dir"));
    expect(existsSync(join(dir, "job", "working_dir"))).toBe(true);
    expect(asked).toEqual(["/api/tray/packages/a.zip Bearer secret"]);
    await expect(prepare("wrong", cert)).rejects.toMatchObject({ code: "RUNTIME_ENV_SETUP", message: expect.stringContaining("403 Forbidden") });
    await expect(prepare("secret", undefined)).rejects.toMatchObject({
      code: "RUNTIME_ENV_SETUP",
      message: expect.stringMatching(/self-signed certificate/),
    });
    expect(readdirSync(join(dir, "job"))).not.toContain("a.zip");
  } finally {
    server.closeAllConnections();
    await new Promise((resolve) => server.close(resolve));
  }
});
