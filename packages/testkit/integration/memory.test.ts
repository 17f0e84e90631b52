// tray memory and tray list objects: what lies where, and what holds it.
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { TestCluster } from "./support/cluster.js";
import { driverFile } from "./support/program.js";
import { until } from "./support/until.js";

interface Reference {
  kind: string;
  count: number;
  nodeId: string;
  pid: number;
}
interface Memory {
  objects: {
    objectId: string;
    sizeBytes: number;
    nodeIds: string[];
    references: Reference[];
    state: string;
    task: string;
    ageMs: number;
    ownerPid: number;
  }[];
  nodes: { nodeName: string; capacityBytes: number; usedBytes: number; spilledBytes: number }[];
  unreachable: string[];
  total: number;
  truncated: boolean;
}

let cluster: TestCluster;
beforeAll(async () => {
  cluster = await TestCluster.start({ cpus: 1 }, { name: "far", cpus: 1 });
});
afterAll(() => cluster?.destroy());

const memory = async (...flags: string[]): Promise<Memory> => JSON.parse((await cluster.tray("memory", ...flags, "-o", "json")).stdout) as Memory;

it("tells of every object where it lies, who owns it and what holds it, and of nothing when all is let go", async () => {
  const [letGo, end] = ["let-go", "end"].map((name) => join(cluster.dir, name)) as [string, string];
  const driver = cluster.driver(driverFile("references.mjs"), [letGo, end]);
  const ids = await driver.said<Record<string, string>>("held");
  const report = await memory();
  expect(report).toMatchObject({ unreachable: [], truncated: false });
  const find = (name: string) => report.objects.find((object) => object.objectId === ids[name]);
  const kinds = (name: string) =>
    find(name)
      ?.references.map(({ kind, count }) => `${count} ${kind}`)
      .sort();
  expect(find("put")).toMatchObject({ state: "stored", nodeIds: [expect.any(String)], ownerPid: driver.pid });
  expect(find("put")?.sizeBytes).toBeGreaterThanOrEqual(5 << 20);
  expect(kinds("put")).toEqual(["1 local"]);
  expect(find("small")).toMatchObject({ state: "inline", nodeIds: [], references: [{ kind: "local", count: 1, pid: driver.pid }] });
  expect(kinds("inner")).toEqual(["1 captured"]);
  expect(find("result")).toMatchObject({ state: "stored", task: "makeLarge" });
  const { nodeId: far } = await cluster.node("far");
  expect(find("borrowed")?.references.find((reference) => reference.kind === "borrowed")).toMatchObject({ nodeId: far, count: 1 });
  expect(find("borrowed")?.ageMs).toBeGreaterThanOrEqual(0);

  const table = (await cluster.tray("memory")).stdout;
  expect(table).toMatch(/^OBJECT +SIZE +STATE +NODES +OWNER +AGE +HELD BY$/m);
  expect(table).toMatch(new RegExp(`^${ids["put"]} +5(\\.\\d)? MiB +stored +\\S+ +pid ${driver.pid} +\\S+ +1 local \\(pid ${driver.pid}\\)$`, "m"));
  expect((await cluster.tray("memory", "--group-by", "node")).stdout).toMatch(/^far +\d\.\d\/200 MiB +0 B +\d+$/m);
  expect((await cluster.tray("memory", "--group-by", "owner")).stdout).toMatch(new RegExp(`^pid ${driver.pid} +\\d+ +\\d`, "m"));
  const listed = JSON.parse((await cluster.tray("list", "objects", "--filter", "task=makeLarge", "-o", "json")).stdout) as {
    items: { objectId: string }[];
  };
  expect(listed.items.map((item) => item.objectId)).toEqual([ids["result"]]);

  writeFileSync(letGo, "");
  await driver.said("released");
  // What a method was called with is forgotten, not released: it goes when its process collects garbage.
  let last: Memory | undefined;
  await until(
    "every object to go",
    async () => {
      last = await memory("--collect");
      return last.objects.every((object) => object.references.every((r) => r.kind === "actor-handle"));
    },
    { seen: () => last?.objects },
  );
  await until("the stores to be empty", async () => (await memory()).nodes.every((node) => node.usedBytes === 0));
  writeFileSync(end, "");
  expect((await driver.result).code).toBe(0);
  await until("the driver's end", async () => (await memory()).objects.length === 0);
});

it("refuses a grouping and a limit that are none", async () => {
  expect(await cluster.tray("memory", "--group-by", "colour")).toMatchObject({ code: 2, stderr: expect.stringContaining("use node or owner") });
  expect(await cluster.tray("memory", "--limit", "many")).toMatchObject({ code: 2, stderr: expect.stringContaining("not a number of objects") });
});
