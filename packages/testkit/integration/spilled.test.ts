// Objects on disk in the middle of other things: read, made, moved, held, let go, orphaned (spilling.test.ts has the store's own limits and failures).
import { existsSync, readdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { describeChecks } from "./support/checks.js";
import { TestCluster } from "./support/cluster.js";
import { driverFile } from "./support/program.js";
import { until } from "./support/until.js";

const MiB = 2 ** 20;
let cluster: TestCluster;
beforeAll(async () => {
  cluster = await TestCluster.start({ cpus: 2, objectStore: "32MiB" }, { name: "far", cpus: 2, resources: { far: 1 }, objectStore: "32MiB" });
});
afterAll(() => cluster?.destroy());

interface Memory {
  objects: { objectId: string; state: string }[];
}

const spilledOn = async (): Promise<Record<string, number>> =>
  Object.fromEntries((await cluster.status()).nodes.map((node) => [node.nodeName, node.objectStore.spilledBytes]));

const files = (): string[] => readdirSync(cluster.sessionDir, { recursive: true, encoding: "utf8" }).filter((name) => /spill.*data\.mdb$/.test(name));

/** Nothing in the stores, nothing on the disks, and not even the files that it was in. */
async function untilNothingIsLeft(): Promise<void> {
  let seen: unknown;
  await until(
    "memory and disks to be empty",
    async () => {
      const nodes = (await cluster.status()).nodes.map((node) => node.objectStore);
      seen = { nodes, files: files() };
      return nodes.every((node) => node.usedBytes === 0 && node.spilledBytes === 0) && files().length === 0;
    },
    { seen: () => seen },
  );
}

describeChecks("spilled.mjs", () => cluster);

it("leaves nothing on any disk when all is let go", untilNothingIsLeft);

it("what a reader holds stays in the store while several times as much goes to disk round it, and goes itself when it is let go", async () => {
  const [letGo, end] = ["let-go", "end-round"].map((name) => join(cluster.dir, name)) as [string, string];
  const driver = cluster.driver(driverFile("spilled-round.mjs"), [letGo, end]);
  const { held, others } = await driver.said<{ held: string; others: string[] }>("held");
  const stateOf = async (objectId: string): Promise<string | undefined> => {
    const { objects } = JSON.parse((await cluster.tray("memory", "-o", "json")).stdout) as Memory;
    return objects.find((object) => object.objectId === objectId)?.state;
  };
  expect(await stateOf(others[0] as string)).toBe("spilled"); // made after the one that is held
  expect(await stateOf(held)).toBe("stored");
  writeFileSync(letGo, "");
  expect(await driver.said("intact")).toBe(true);
  expect(await driver.said("gone")).toBe(true);
  expect(await stateOf(held)).toBe("spilled");
  writeFileSync(end, "");
  expect((await driver.result).code).toBe(0);
});

it.each(["ends", "is killed"])("owners die, then their driver %s: what they had spilled goes from the disks of all nodes", async (how) => {
  const end = join(cluster.dir, `end-${how}`);
  const driver = cluster.driver(driverFile("spilled-owners.mjs"), [end]);
  expect(await driver.said("intact")).toEqual([true, true]);
  await driver.said("killed");
  await driver.said("kept");
  let full: Record<string, number> = {};
  await until(
    "both nodes to have spilled what is kept, and nothing else",
    async () => {
      full = await spilledOn();
      return Object.values(full).every((bytes) => bytes > 65 * MiB && bytes <= 100 * MiB + 20 * 4096);
    },
    { seen: () => full },
  );
  expect(Object.keys(full).sort()).toEqual(["far", "head"]);
  if (how === "ends") writeFileSync(end, "");
  else driver.kill("SIGKILL");
  expect((await driver.result).code).toBe(how === "ends" ? 0 : null);
  await untilNothingIsLeft();
});

it("leaves nothing behind", async () => {
  expect(existsSync(cluster.sessionDir)).toBe(true);
  expect(await cluster.stop()).toBe(0);
});
