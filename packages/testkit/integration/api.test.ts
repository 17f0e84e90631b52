// The public API against a real node: one cluster, one driver for each area.
import { describeChecks } from "./support/checks.js";
import { TestCluster } from "./support/cluster.js";

let cluster: TestCluster;
beforeAll(async () => {
  cluster = await TestCluster.start({ cpus: 2 });
});
afterAll(() => cluster?.destroy());

describeChecks("api-tasks.mjs", () => cluster);
describeChecks("api-actors.mjs", () => cluster);
describeChecks("api-objects.mjs", () => cluster);
describeChecks("api-errors.mjs", () => cluster);
describeChecks("util.mjs", () => cluster);

it("tray stop leaves nothing behind", async () => {
  expect(await cluster.stop()).toBe(0);
});
