// The examples, which are the first code that users see: the index job on three nodes through `tray submit`, whatever dies meanwhile, and the others.
import { join } from "node:path";
import { killQuietly, TestCluster } from "./support/cluster.js";
import { Program, repositoryRoot, trayCommand, type Result } from "./support/program.js";
import { until } from "./support/until.js";

const examples = join(repositoryRoot, "examples");
/** Enough that something can die in the middle. */
const files = "9000";

let cluster: TestCluster;
beforeAll(async () => {
  cluster = await TestCluster.start({ cpus: 1 }, { name: "w1" }, { name: "w2" });
});
afterAll(() => cluster?.destroy());

const index = (): Program =>
  cluster.trayProgram(
    "submit",
    "--working-dir",
    examples,
    "--",
    "inverted-index.ts",
    "--files",
    files,
    "--dir",
    join(repositoryRoot, "node_modules"),
  );

/** @returns how many tasks ran on each node. */
function expectIndexed({ code, stdout, stderr }: Result): Record<string, number> {
  expect({ code, stderr: code === 0 ? "" : stderr + stdout }).toEqual({ code: 0, stderr: "" });
  expect(stdout).toMatch(/^check +equal to what one process alone finds$/m);
  expect(stdout).toMatch(new RegExp(`^indexed +${files} files, [\\d.]+ MB in [\\d.]+ s: [\\d.]+ MB/s$`, "m"));
  const tasks = /^tasks +(.*)$/m.exec(stdout)?.[1] ?? "";
  return Object.fromEntries([...tasks.matchAll(/(\d+) on (\S+?)(?:,|$)/g)].map(([, count, node]) => [node, Number(count)]));
}

/** Until the index job runs on the node. */
const indexingOn = (nodeId: string): Promise<unknown> =>
  until("the index job's tasks", async () => (await cluster.workers()).some((w) => w.nodeId === nodeId && w.taskName === "indexFiles"));

it("the index job uses all three nodes, and its counts are those of a single process", async () => {
  const tasks = expectIndexed(await index().result);
  expect(Object.keys(tasks).sort()).toEqual(["head", "w1", "w2"]);
});

it("the gcs-server is killed in mid-job: the counts are right all the same", async () => {
  const job = index();
  await indexingOn((await cluster.node("w2")).nodeId);
  killQuietly((await cluster.status()).gcsPid);
  expectIndexed(await job.result);
});

it("a node's raylet is killed in mid-job: the counts are right all the same", async () => {
  const job = index();
  const w1 = await cluster.node("w1");
  await indexingOn(w1.nodeId);
  killQuietly(w1.pid);
  expectIndexed(await job.result);
});

it.each([
  ["pi.ts", /π ≈ 3\.1\d+ .*\d+ tasks on \d+ CPUs? in/],
  ["flaky.ts", /without retries: task doomed failed after 1 attempt/],
  ["minify.ts --files 1000", /\d+ files, [\d.]+ → [\d.]+ MB \(\d+ % saved\)/],
])("%s says what it found", async (command, says) => {
  const [file = "", ...args] = command.split(" ");
  const env = { TRAY_ADDRESS: "local", TRAY_DATA_DIR: join(cluster.dir, "alone") };
  const { code, stdout, stderr } = await new Program([trayCommand, "run", join(examples, file), ...args], { env }).result;
  expect({ code, stderr: code === 0 ? "" : stderr }).toEqual({ code: 0, stderr: "" });
  expect(stdout).toMatch(says);
});

it("tray stop leaves nothing behind", async () => {
  expect(await cluster.stop()).toBe(0);
});
