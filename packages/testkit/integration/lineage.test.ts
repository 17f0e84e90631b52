// Lost objects: made again from their lineage, read from another copy, or refused with the reason. Nodes are killed with all that lay on them.
import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { killQuietly, TestCluster } from "./support/cluster.js";
import { driverFile, type Program } from "./support/program.js";
import { until } from "./support/until.js";

interface Case {
  name: string;
  loss: number;
  error: string | null;
}
interface Memory {
  objects: { references: { kind: string; pid: number }[] }[];
}

let cluster: TestCluster;
const farNode = { name: "far", cpus: 1, resources: { far: 1 }, objectStore: "64MiB" };

/** The far node dies; another one takes its place. */
async function replaceFar(): Promise<void> {
  const { nodeId, pid } = await cluster.node("far");
  killQuietly(pid);
  const known = until("the node's death to be known", async () =>
    (await cluster.status()).nodes.some((n) => n.nodeId === nodeId && n.state === "DEAD"),
  );
  await Promise.all([known, cluster.addNode({ ...farNode, ownDataDir: true })]);
}

/** It falls silent first, and is asked. */
async function loseFar(driver: Program, times: number): Promise<void> {
  await driver.said(`prepared-${times}`);
  process.kill((await cluster.node("far")).pid, "SIGSTOP");
  writeFileSync(join(cluster.dir, `silent-${times}`), "");
  await driver.said(`asking-${times}`);
  await replaceFar();
  writeFileSync(join(cluster.dir, `lost-${times}`), "");
}

async function expectNothingLeft(): Promise<void> {
  await until("the objects to go", async () => (await cluster.status()).nodes.every((n) => n.state === "DEAD" || n.objectStore.usedBytes === 0));
  expect(await cluster.stop()).toBe(0);
}

describe("after the death of the only node that had it", () => {
  const source = readFileSync(driverFile("lineage.mjs"), "utf8");
  const names = [...source.matchAll(/^ {2}"([^"]+)": async \(\) => \{/gm)].map((match) => match[1] as string);
  const cases: Case[] = [];
  beforeAll(async () => {
    cluster = await TestCluster.start({ cpus: 1 }, farNode);
    const driver = cluster.driver(driverFile("lineage.mjs"), [cluster.dir], { timeoutMs: 100_000 });
    for (const times of [1, 2]) await loseFar(driver, times);
    const { stdout, stderr, code } = await driver.result;
    if (code !== 0) throw new Error(`${stdout}\n${stderr}`);
    for (const line of stdout.split("\n")) if (line.startsWith("case ")) cases.push(JSON.parse(line.slice("case ".length)) as Case);
  }, 120_000);
  afterAll(() => cluster?.destroy());

  it.each(names)("%s", (name) => {
    const mine = cases.filter((one) => one.name === name);
    expect(mine.length).toBeGreaterThan(0);
    const failed = mine.filter(({ error }) => error !== null).map(({ loss, error }) => `after loss ${loss}: ${error}`);
    if (failed.length > 0) throw new Error(failed.join("\n"));
  });

  it("nothing stays in any store", expectNothingLeft);
});

describe("with little room for lineage", () => {
  const maxLineageBytes = 10_000;
  beforeAll(async () => {
    cluster = await TestCluster.start({ cpus: 1, extra: ["--system-config", JSON.stringify({ maxLineageBytes })] }, farNode);
  });
  afterAll(() => cluster?.destroy());

  it("the oldest tasks are forgotten, and the loss of what they made names the setting", async () => {
    const lost = join(cluster.dir, "lost");
    const driver = cluster.driver(driverFile("lineage-evicted.mjs"), [lost]);
    await driver.said("made");
    const { objects } = JSON.parse((await cluster.tray("memory", "-o", "json")).stdout) as Memory;
    const kept = objects.filter(({ references }) => references.some(({ kind, pid }) => kind === "lineage" && pid === driver.pid));
    expect(kept.length).toBeGreaterThan(0);
    expect(kept.length).toBeLessThan(maxLineageBytes / 500); // of a chain of a hundred
    await replaceFar();
    writeFileSync(lost, "");
    const evicted = {
      isLost: true,
      code: "OBJECT_RECONSTRUCTION_FAILED",
      message: expect.stringContaining("maxLineageBytes (9.8 KiB)"),
      hint: expect.stringContaining("raise maxLineageBytes"),
    };
    const details = { reason: "lineage evicted", maxLineageBytes };
    expect(await driver.said("oldest")).toMatchObject({ ...evicted, details: { ...details, task: "make" } });
    expect(await driver.said("chain")).toMatchObject({ ...evicted, details: { ...details, task: "inc" } });
    expect(await driver.said("latest")).toBe(3);
    expect((await driver.result).code).toBe(0);
  });

  it("nothing stays in any store", expectNothingLeft);
});
