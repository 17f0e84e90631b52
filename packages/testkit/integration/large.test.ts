// Large values: one that fills a third of the store, read without a copy; a shuffle of eight times the store; with TRAY_TEST_LARGE=1 a value of a GiB,
// 8 GiB through a store of 1 GiB, and values of more than 2 GiB (12 GiB of memory and 10 GiB of disk are needed, and some minutes).
import { TestCluster } from "./support/cluster.js";
import { driverFile } from "./support/program.js";
import { until } from "./support/until.js";

const MiB = 2 ** 20;
const isFull = process.env["TRAY_TEST_LARGE"] === "1";
const timeoutMs = isFull ? 600_000 : 60_000;
let cluster: TestCluster;
afterEach(() => cluster?.destroy());

interface Resident {
  /** Bytes of the process's own pages, more than before. */
  anonymous: number;
  /** Bytes of pages of the store. */
  shared: number;
}

it(
  "a large typed array is read where it lies: no copy, pages of one's own only for what one writes, nobody else sees that",
  async () => {
    const valueMiB = isFull ? 1024 : 256;
    const bytes = valueMiB * MiB;
    cluster = await TestCluster.start({ cpus: 1, objectStore: `${valueMiB + 16}MiB` });
    const driver = cluster.driver(driverFile("large-value.mjs"), [String(valueMiB)], { timeoutMs });
    const read = await driver.said<Resident & { bytes: number; sum: number }>("read");
    const sum = Array.from({ length: 1000 }, (_, i) => i * Math.ceil((bytes / 8 - i) / 1000)).reduce((a, b) => a + b);
    expect(read).toMatchObject({ bytes, sum });
    expect(read.anonymous).toBeLessThan(bytes / 8);
    expect(read.shared).toBeGreaterThan(bytes * 0.99); // it did read the pages of the store
    const written = await driver.said<Resident & { mine: number; rest: number }>("written");
    expect(written).toMatchObject({ mine: -bytes / 16, rest: (bytes / 8 - 1) % 1000 });
    expect(written.anonymous).toBeGreaterThan(bytes * (7 / 16)); // half of it, and what the heap gave back meanwhile
    expect(written.anonymous).toBeLessThan(bytes * (5 / 8));
    expect(await driver.said("others")).toEqual({
      task: { sum, first: 0, second: 1, length: bytes / 8 },
      second: sum,
      mine: [-1, -1],
      theirs: [0, -2],
    });
    const dropped = await driver.said<Resident>("dropped");
    expect(dropped.anonymous).toBeLessThan(bytes / 8);
    expect(dropped.shared).toBeLessThan(bytes / 8);
    expect((await driver.result).code).toBe(0);
    await cluster.stop();
  },
  timeoutMs,
);

it(
  "a shuffle of eight times the store: every block arrives as it was made, and nothing stays on disk",
  async () => {
    const [storeMiB, mappers, reducers, blockMiB] = isFull ? [1024, 64, 128, 1] : [64, 16, 64, 0.5];
    cluster = await TestCluster.start({ cpus: 2, objectStore: `${storeMiB}MiB` });
    const driver = cluster.driver(driverFile("large-shuffle.mjs"), [mappers, reducers, blockMiB].map(String), { timeoutMs });
    const { bytes, ms: mapMs } = await driver.said<{ bytes: number; ms: number }>("mapped");
    expect(bytes).toBe(8 * storeMiB * MiB);
    const { objectStore } = await until("the node to report what it spilled", async () => {
      const node = await cluster.node("head");
      return node.objectStore.spilledBytes + node.objectStore.usedBytes >= bytes && node;
    });
    expect(objectStore.spilledBytes).toBeGreaterThanOrEqual(bytes - storeMiB * MiB);
    const { ms: reduceMs, ...reduced } = await driver.said<{ ms: number }>("reduced");
    expect(reduced).toEqual({ blocks: mappers * reducers, wrong: 0 });
    expect((await driver.result).code).toBe(0);
    if (isFull)
      console.log(`shuffle of ${bytes / MiB} MiB: map ${mapMs} ms, reduce ${reduceMs} ms, ${Math.round(objectStore.spilledBytes / MiB)} MiB on disk`);
    await until("everything to be deleted", async () => {
      const node = await cluster.node("head");
      return node.objectStore.spilledBytes === 0 && node.objectStore.usedBytes === 0;
    });
    await cluster.stop();
  },
  timeoutMs,
);

(isFull ? it : it.skip)(
  "typed arrays of more than 2 GiB: put, read, moved to another node, spilled, restored",
  async () => {
    const store = { objectStore: "2500MiB" };
    cluster = await TestCluster.start({ cpus: 1, ...store }, { name: "far", cpus: 1, resources: { far: 1 }, ...store });
    const driver = cluster.driver(driverFile("large-beyond.mjs"), ["2304"], { timeoutMs });
    expect(await driver.said("here")).toBe(true);
    expect(await driver.said("there")).toBe(true);
    expect(await driver.said("spilled")).toBe(true);
    const { objectStore } = await cluster.node("head");
    expect(objectStore.spilledBytes).toBeGreaterThanOrEqual(2304 * MiB);
    expect(await driver.said("again")).toBe(true);
    expect((await driver.result).code).toBe(0);
    await cluster.stop();
  },
  timeoutMs,
);
