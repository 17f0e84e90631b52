// References of every kind, forgotten by the thousand while workers die: in the end nothing is held, anywhere.
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { TestCluster } from "./support/cluster.js";
import { driverFile } from "./support/program.js";
import { until } from "./support/until.js";

/** TRAY_LEAK_ROUNDS=10000 for the long run. */
const rounds = Number(process.env["TRAY_LEAK_ROUNDS"] ?? 400);

interface Memory {
  objects: { objectId: string; state: string; references: { kind: string; pid: number }[] }[];
  nodes: { usedBytes: number; spilledBytes: number }[];
}

let cluster: TestCluster;
beforeAll(async () => {
  cluster = await TestCluster.start({ cpus: 2 }, { name: "far", cpus: 1 });
});
afterAll(() => cluster?.destroy());

it(
  `after ${rounds} rounds the stores of all nodes and the tables of all processes are empty`,
  async () => {
    const end = join(cluster.dir, "end");
    const driver = cluster.driver(driverFile("leaks.mjs"), [String(rounds), end], { timeoutMs: 50_000 + rounds * 60 });
    const told = await driver.said<{ rounds: number; kinds: Record<string, number> }>("forgotten");
    expect(told).toMatchObject({ rounds });
    let last: Memory | undefined;
    await until(
      "everything to be let go",
      async () => {
        last = JSON.parse((await cluster.tray("memory", "--collect", "-o", "json")).stdout) as Memory;
        return (
          last.nodes.every((node) => node.usedBytes === 0 && node.spilledBytes === 0) &&
          last.objects.every(({ references }) => references.every(({ kind }) => kind === "actor-handle"))
        );
      },
      { timeoutMs: 30_000, seen: () => JSON.stringify(last).slice(0, 3000) },
    );
    writeFileSync(end, "");
    expect((await driver.result).code).toBe(0);
  },
  60_000 + rounds * 60,
);
