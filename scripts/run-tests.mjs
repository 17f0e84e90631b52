// The steps of scripts/test, in order; a step that fails keeps those that need it from running, and its output is shown.
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { runQuietly } from "./run.mjs";

const root = join(import.meta.dirname, "..");
const options = new Set(process.argv.slice(2));
for (const option of options) {
  if (["--no-install", "--no-integration"].includes(option)) continue;
  console.error(`scripts/test: unknown option ${option} (there are --no-install and --no-integration)`);
  process.exit(2);
}
const scratch = mkdtempSync(join(tmpdir(), "tray-test-"));
const totals = { passed: 0, failed: 0 };
const seeds = { run: 0 };

/** A step without tests of its own counts as one check. */
async function check(label, command, args) {
  const ok = await runQuietly(label, command, args, { cwd: root });
  totals[ok ? "passed" : "failed"]++;
  return ok;
}

/** Counts come from the runner's own report; a runner that wrote none, or failed though no test did, counts as a failure. */
async function suite(label, command, args, env, count) {
  const ok = await runQuietly(label, command, args, { cwd: root, env: { ...process.env, ...env } });
  const { passed, failed } = count() ?? { passed: 0, failed: 0 };
  totals.passed += passed;
  totals.failed += ok ? failed : Math.max(failed, 1);
}

function jestCounts(file) {
  if (!existsSync(file)) return undefined;
  const report = JSON.parse(readFileSync(file, "utf8"));
  // A file that does not even load has no tests; it is one failure all the same.
  const unloaded = report.testResults.filter((r) => r.status === "failed" && r.assertionResults.length === 0).length;
  return { passed: report.numPassedTests, failed: report.numFailedTests + unloaded };
}

function nodeTestCounts(file) {
  if (!existsSync(file)) return undefined;
  const text = readFileSync(file, "utf8");
  const number = (name) => Number(new RegExp(`^# ${name} (\\d+)$`, "m").exec(text)?.[1] ?? 0);
  return { passed: number("pass"), failed: number("fail") + number("cancelled") };
}

const bin = (name) => join(root, "node_modules/.bin", name);

async function jest(project, extraArgs, env) {
  const report = join(scratch, `${project}.json`);
  const args = ["--selectProjects", project, "--json", `--outputFile=${report}`, "--silent", "--passWithNoTests", ...extraArgs];
  await suite(`${project} tests`, bin("jest"), args, env, () => jestCounts(report));
}

async function main() {
  if (!options.has("--no-install") && !(await check("npm ci", "npm", ["ci", "--no-audit", "--no-fund"]))) return;
  if (!(await check("build", "npm", ["run", "--silent", "build"]))) return;
  await check("generated code is fresh", process.execPath, ["scripts/generate.mjs", "--check"]);
  await check("lint", process.execPath, ["scripts/lint.mjs"]);
  const tap = join(scratch, "scripts.tap");
  const nodeTest = [
    "--test",
    "--test-reporter=tap",
    `--test-reporter-destination=${tap}`,
    "--test-reporter=spec",
    "--test-reporter-destination=stdout",
    ...readdirSync(join(root, "scripts"))
      .filter((name) => name.endsWith(".test.mjs"))
      .map((name) => `scripts/${name}`),
  ];
  await suite("script tests", process.execPath, nodeTest, {}, () => nodeTestCounts(tap));
  await jest("unit", [], {});
  if (!options.has("--no-integration")) await jest("integration", ["--runInBand"], {});
  await simulate();
}

/** The simulator says how many seeds it ran in a last line {"seeds": n, "failed": n}; each is a test. */
async function simulate() {
  const simulator = join(root, "packages/testkit/dist/bin/sim.cjs");
  if (!existsSync(simulator)) return;
  const report = join(scratch, "sim.json");
  await suite("simulation", process.execPath, [simulator, "--report", report], {}, () => {
    if (!existsSync(report)) return undefined;
    const result = JSON.parse(readFileSync(report, "utf8"));
    seeds.run = result.seeds;
    return { passed: result.seeds - result.failed, failed: result.failed };
  });
}

try {
  await main();
} catch (error) {
  console.error(error);
  totals.failed++;
} finally {
  rmSync(scratch, { recursive: true, force: true });
}
process.exitCode = totals.failed > 0 ? 1 : 0;
if (seeds.run > 0) console.log(`${seeds.run} simulation seeds`);
console.log(`${totals.passed} passed, ${totals.failed} failed`);
