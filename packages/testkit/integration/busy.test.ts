// A busy event loop stalls nothing: neither a driver's nor a worker's.
import { TestCluster } from "./support/cluster.js";
import { driverFile, lastSaid } from "./support/program.js";
import { until } from "./support/until.js";

let cluster: TestCluster;
beforeAll(async () => {
  cluster = await TestCluster.start({ cpus: 1 }, { name: "far" });
});
afterAll(() => cluster?.destroy());

it("a driver that computes without yielding finds its tasks done", async () => {
  const result = await cluster.driver(driverFile("busy-driver.mjs")).result;
  expect(result).toMatchObject({ code: 0, stderr: "" });
  const { done, total } = lastSaid<{ done: number; total: number }>(result.stdout, "done");
  expect(done).toBe(total);
});

it("a worker that computes answers for what it owns, and its next task's argument is fetched meanwhile", async () => {
  const driver = cluster.driver(driverFile("busy-worker.mjs"));
  const answered = await driver.said<{ ms: number; small: string; large: number; computing: boolean }>("answered");
  expect(answered).toMatchObject({ small: "small", large: 7, computing: true });
  expect(answered.ms).toBeLessThan(1_500);

  const { far } = await driver.said<{ far: string }>("computing");
  let ended = false;
  const end = driver.said("ended").then(() => (ended = true));
  await until("the argument to be in the store of the node that computes", async () => {
    const node = (await cluster.status()).nodes.find((n) => n.nodeId === far);
    return (node?.objectStore.usedBytes ?? 0) >= 48 * 2 ** 20;
  });
  expect(ended).toBe(false);
  await end;
  expect(await driver.said("next")).toEqual({ value: 9 });
  expect((await driver.result).code).toBe(0);
});

it("tray stop leaves nothing behind", async () => {
  expect(await cluster.stop()).toBe(0);
});
