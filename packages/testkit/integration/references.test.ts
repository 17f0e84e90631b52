// References to objects of other processes, through chains of containers, results and processes: what is reachable is there, all else is gone.
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { TestCluster } from "./support/cluster.js";
import { driverFile, type Program } from "./support/program.js";
import { until } from "./support/until.js";

interface Memory {
  objects: { objectId: string; state: string; sizeBytes: number; references: { kind: string; pid: number }[] }[];
  nodes: { usedBytes: number; spilledBytes: number }[];
}

const chains = ["nested", "returned", "returnedAndPassed", "returnedAndPassedDown", "returnedFromBelow", "passedOnByTheDead"];
const ways = ["put", "result"];
const file = (name: string): string => join(cluster.dir, name);

let cluster: TestCluster;
let driver: Program;
let read: Record<string, unknown>;
beforeAll(async () => {
  cluster = await TestCluster.start({ cpus: 2 });
  driver = cluster.driver(driverFile("reference-chains.mjs"), ["read", "let-go", "end"].map(file));
  await driver.said("chained");
  // From here on every object is held by its chain alone.
  const { objects } = await memory();
  expect(objects.filter(({ sizeBytes }) => sizeBytes > 150_000).length).toBe(chains.length * ways.length * 2);
  writeFileSync(file("read"), "");
  read = await driver.said("read");
}, 60_000);
afterAll(() => cluster?.destroy());

const memory = async (): Promise<Memory> => JSON.parse((await cluster.tray("memory", "--collect", "-o", "json")).stdout) as Memory;

describe.each(chains)("an object whose reference was %s", (chain) => {
  it.each(ways)("is readable at the end of its chain, or lost with its owner (%s)", (how) => {
    expect([read[`${chain}, ${how}, owner lives`], read[`${chain}, ${how}, owner dies`]]).toEqual(["read", "OWNER_DIED"]);
  });
});

it("a get under way keeps what it reads, and what is in it, though the reference is released meanwhile", async () => {
  expect(await driver.said("releasedWhileRead")).toBe(150_000);
});

it("everything let go of leaves the store to the last byte, and every table", async () => {
  writeFileSync(file("let-go"), "");
  await driver.said("released");
  let last: Memory | undefined;
  await until(
    "everything to go",
    async () => {
      last = await memory();
      return (
        last.nodes.every(({ usedBytes }) => usedBytes === 0) &&
        last.objects.every(({ references }) => references.every(({ kind }) => kind === "actor-handle"))
      );
    },
    { timeoutMs: 30_000, seen: () => last },
  );
  writeFileSync(file("end"), "");
  expect((await driver.result).code).toBe(0);
  await cluster.stop();
});
