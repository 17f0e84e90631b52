// A million tasks by one driver. Not part of the default suite: TRAY_TEST_MILLION=1 npx jest packages/testkit/integration/million --selectProjects integration
import { TestCluster } from "./support/cluster.js";
import { driverFile, lastSaid } from "./support/program.js";

const inSuite = process.env["TRAY_TEST_MILLION"] === "1" ? describe : describe.skip;

inSuite("a million tasks", () => {
  let cluster: TestCluster;
  beforeAll(async () => {
    cluster = await TestCluster.start({ cpus: 2 });
  });
  afterAll(() => cluster?.destroy());

  it.each([
    ["all in flight at once", [], 2500],
    ["ten thousand in flight", ["1000000", "10000"], 1200],
  ])(
    "%s",
    async (_, args, mostMiB) => {
      const result = await cluster.driver(driverFile("million.mjs"), args, { timeoutMs: 300_000 }).result;
      expect(result.code).toBe(0);
      const { tasksPerSecond, peakMiB } = lastSaid<{ tasksPerSecond: number; peakMiB: number }>(result.stdout, "rate");
      expect(tasksPerSecond).toBeGreaterThan(10_000);
      expect(peakMiB).toBeLessThan(mostMiB);
    },
    300_000,
  );

  it("tray stop leaves nothing behind", async () => {
    expect(await cluster.stop()).toBe(0);
  });
});
