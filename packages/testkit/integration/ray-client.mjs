#!/usr/bin/env node
// Ray's own, unmodified client and command line against tray's dashboard. Installing Ray takes a minute, so this is not part of the jest suite.
//
//   node packages/testkit/integration/ray-client.mjs      (after npm run build; needs python3 with venv)
//
// The last line is "N passed, N failed". Where Ray cannot be installed (no Python, no network) nothing is run, and the line says so with two zeros.
import { spawnSync } from "node:child_process";
import { randomBytes } from "node:crypto";
import { existsSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";

const rayVersion = "2.58.0";
const here = import.meta.dirname;
const tray = join(here, "../../tray/bin/tray.js");
// Outside of the repository, and kept: the next run finds it.
const venv = join(tmpdir(), `tray-ray-client-${rayVersion}`);
const python = join(venv, "bin/python");

function finish(passed, failed) {
  console.log(`${passed} passed, ${failed} failed`);
  process.exit(failed > 0 ? 1 : 0);
}

function run(command, args, options = {}) {
  const result = spawnSync(command, args, { encoding: "utf8", timeout: 600_000, ...options });
  if (result.status !== 0)
    throw new Error(`${command} ${args.join(" ")}: ${result.error?.message ?? `exit code ${result.status}`}\n${result.stdout}${result.stderr}`);
  return result.stdout;
}

function installRay() {
  const installed = join(venv, "installed");
  if (existsSync(installed)) return;
  rmSync(venv, { recursive: true, force: true });
  run("python3", ["-m", "venv", venv]);
  run(python, ["-m", "pip", "install", "--quiet", "--disable-pip-version-check", `ray==${rayVersion}`, "aiohttp", "pydantic", "requests", "click"]);
  writeFileSync(installed, "");
}

try {
  installRay();
} catch (error) {
  console.log(`Ray's client is not run here: it cannot be installed (${error.message.trim().split("\n").at(-1)})`);
  finish(0, 0);
}

const dir = mkdtempSync(join(tmpdir(), "tray-ray-"));
const token = randomBytes(32).toString("hex");
const tokenFile = join(dir, "token");
writeFileSync(tokenFile, token, { mode: 0o600 });
const env = { ...process.env, TRAY_AUTH_TOKEN_PATH: tokenFile, TRAY_DATA_DIR: join(dir, "data") };
for (const name of ["TRAY_ADDRESS", "TRAY_AUTH_TOKEN", "HTTP_PROXY", "HTTPS_PROXY", "http_proxy", "https_proxy"]) delete env[name];

let counts = [0, 1];
try {
  const flags = ["--port", "0", "--dashboard-port", "0", "--node-ip", "127.0.0.1", "--num-cpus", "2", "--object-store-memory", "100MiB"];
  const started = JSON.parse(run(process.execPath, [tray, "start", "--head", ...flags, "-o", "json"], { env }));
  const result = spawnSync(python, [join(here, "ray_client.py")], {
    encoding: "utf8",
    timeout: 240_000,
    stdio: ["ignore", "pipe", "inherit"],
    env: {
      ...env,
      PATH: `${join(venv, "bin")}:${process.env.PATH}`,
      RAY_AUTH_MODE: "token",
      RAY_AUTH_TOKEN: token,
      RAY_USAGE_STATS_ENABLED: "0",
      TRAY_DASHBOARD: started.dashboardUrl,
    },
  });
  process.stdout.write(result.stdout);
  const found = /^(\d+) passed, (\d+) failed$/m.exec(result.stdout);
  if (found !== null) counts = [Number(found[1]), Math.max(Number(found[2]), result.status === 0 ? 0 : 1)];
} catch (error) {
  console.error(error.message);
} finally {
  spawnSync(process.execPath, [tray, "stop"], { env });
  rmSync(dir, { recursive: true, force: true });
}
finish(...counts);
