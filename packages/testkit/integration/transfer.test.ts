// Objects on their way between nodes.
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { TestCluster } from "./support/cluster.js";
import { driverFile } from "./support/program.js";
import { until } from "./support/until.js";

const MiB = 2 ** 20;
let cluster: TestCluster;
afterEach(() => cluster?.destroy());

it("one object reaches all nodes; waits bring objects; what is needed together comes together; what cannot fit is refused with the reason", async () => {
  const small = { cpus: 2, objectStore: "96MiB" };
  cluster = await TestCluster.start({ cpus: 1 }, ...["a", "b", "c", "d"].map((name) => ({ name, ...small })));
  const goOn = join(cluster.dir, "go-on");
  const driver = cluster.driver(driverFile("transfer.mjs"), [goOn], { timeoutMs: 90_000 });
  const { sums, expected } = await driver.said<{ sums: number[]; expected: number }>("broadcast");
  expect(sums).toEqual([expected, expected, expected, expected]);
  const usedOnHead = async (): Promise<number> => (await cluster.node("head")).objectStore.usedBytes;
  await driver.said("far");
  await driver.said("brought");
  const there = await until("the object that was waited for to be all that is on the driver's node", async () => {
    const bytes = await usedOnHead();
    return bytes >= 24 * MiB && bytes < 25 * MiB;
  });
  expect(there).toBe(true);
  writeFileSync(goOn, "");
  const pairs = await driver.said<{ sums: number[]; expected: number[] }>("pairs");
  expect(pairs.sums).toEqual(pairs.expected);
  expect(await driver.said("refused")).toEqual({
    code: "OBJECT_STORE_FULL",
    message: expect.stringMatching(/values of one get take .* together, and the node's object store has 200 MiB/),
  });
  expect(await driver.said("singly")).toEqual([1, 2, 3, 4, 5, 6, 7, 8]);
  expect((await driver.result).code).toBe(0);
  expect(await cluster.stop()).toBe(0);
}, 120_000);
