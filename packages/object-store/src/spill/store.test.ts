// One contract for every place where objects are spilled to; and what only the disk has to show.
import { spawn } from "node:child_process";
import { once } from "node:events";
import { existsSync, mkdirSync, mkdtempSync, readdirSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { SeededRandom, silentLogger, systemClock } from "@tray/common";
import { LmdbSpillStore } from "./lmdb-spill-store.js";
import { MemorySpillStore } from "./memory-spill-store.js";
import { openS3 } from "./s3-bucket.js";
import { S3SpillStore } from "./s3-spill-store.js";
import type { SpillStore } from "./store.js";

const MiB = 2 ** 20;
const root = mkdtempSync(join(tmpdir(), "tray-spill-test-"));
let made = 0;
const directory = (): string => {
  const path = join(root, String(++made));
  mkdirSync(path);
  return path;
};
const cleanups: (() => Promise<void>)[] = [];
afterAll(async () => {
  for (const cleanUp of cleanups) await cleanUp();
  rmSync(root, { recursive: true, force: true });
});

/** Bytes that depend on the item and the place. */
function bytesOf(spillId: number, size: number): Uint8Array {
  const bytes = new Uint8Array(size);
  for (let i = 0; i < size; i++) bytes[i] = (i * 31 + (i >> 8) * 7 + spillId * 101) & 255;
  return bytes;
}
const item = (spillId: number, size: number) => ({ spillId, bytes: bytesOf(spillId, size) });

async function expectIntact(store: SpillStore, spillId: number, size: number, offset = 0, length = size - offset): Promise<void> {
  const into = new Uint8Array(length);
  await store.read(spillId, offset, into);
  expect(Buffer.compare(into, bytesOf(spillId, size).subarray(offset, offset + length))).toBe(0);
}

interface S3rver {
  run(): Promise<{ port: number }>;
  close(): Promise<void>;
}
/** A server of the S3 protocol, when its package is installed. */
async function s3(): Promise<S3SpillStore | undefined> {
  let Server: new (options: object) => S3rver;
  try {
    const [name, sdk] = ["s3rver", "@aws-sdk/client-s3"]; // neither is declared: this part is for those who have them
    Server = ((await import(name as string)) as { default: typeof Server }).default;
    await import(sdk as string);
  } catch {
    return undefined;
  }
  const server = new Server({
    port: 0,
    address: "127.0.0.1",
    silent: true,
    directory: directory(),
    configureBuckets: [{ name: "spill", configs: [] }],
  });
  const { port } = await server.run();
  cleanups.push(() => server.close());
  const bucket = await openS3(`s3://spill/some/prefix?endpoint=http://127.0.0.1:${port}`, `node${port}`);
  return new S3SpillStore({ bucket, logger: silentLogger, fusedBytesMax: 3 * MiB });
}

const stores: [string, () => Promise<SpillStore | undefined>][] = [
  ["memory", async () => new MemorySpillStore({ clock: systemClock })],
  ["lmdb", async () => new LmdbSpillStore({ directories: [directory(), directory()], logger: silentLogger, generationBytesMax: 24 * MiB })],
  ["s3", s3],
];

describe.each(stores)("spill store: %s", (name, open) => {
  let store: SpillStore | undefined;
  beforeAll(async () => {
    process.env["AWS_ACCESS_KEY_ID"] = "S3RVER";
    process.env["AWS_SECRET_ACCESS_KEY"] = "S3RVER";
    store = await open();
    if (store === undefined) console.warn(`${name}: not tested, s3rver or @aws-sdk/client-s3 is not installed`);
  });
  afterAll(() => store?.close());

  it("gives back what it was given, whole and in part, small, large and empty", async () => {
    if (store === undefined) return;
    const sizes = [0, 2, 4095, 70_000, 4 * MiB - 16, 4 * MiB, 9 * MiB + 5];
    await store.write(sizes.map((size, i) => item(i + 1, size)));
    expect(store.usedBytes).toBe(sizes.reduce((a, b) => a + b, 0));
    for (const [i, size] of sizes.entries()) await expectIntact(store, i + 1, size);
    await expectIntact(store, 7, 9 * MiB + 5, 4 * MiB - 20, 40);
    await expectIntact(store, 7, 9 * MiB + 5, 9 * MiB, 5);
    await expectIntact(store, 4, 70_000, 69_999, 1);
  });

  it("refuses to read what is not there", async () => {
    if (store === undefined) return;
    await expect(store.read(999, 0, new Uint8Array(1))).rejects.toMatchObject({ code: "NOT_FOUND" });
    await expect(store.read(2, 0, new Uint8Array(3))).rejects.toMatchObject({ code: "NOT_FOUND" });
  });

  it("deletes one by one, keeps the rest, and is used from several sides at once", async () => {
    if (store === undefined) return;
    store.delete([1, 2, 3, 5, 7, 7, 998]);
    await expect(store.read(5, 0, new Uint8Array(1))).rejects.toMatchObject({ code: "NOT_FOUND" });
    await expectIntact(store, 4, 70_000);
    await expectIntact(store, 6, 4 * MiB);
    const random = new SeededRandom(3);
    const live = new Map<number, number>();
    let next = 100;
    const lane = async (target: SpillStore): Promise<void> => {
      for (let round = 0; round < 12; round++) {
        const batch = Array.from({ length: 1 + Math.floor(random.next() * 4) }, () => item(next++, Math.floor(random.next() ** 3 * 6 * MiB)));
        await target.write(batch);
        for (const { spillId, bytes } of batch) live.set(spillId, bytes.byteLength);
        const [some] = [...live].slice(Math.floor(random.next() * live.size));
        if (some === undefined) continue;
        live.delete(some[0]); // nobody else reads it
        await expectIntact(target, ...some);
        target.delete([some[0]]);
      }
    };
    await Promise.all([lane(store), lane(store), lane(store)]);
    for (const [spillId, size] of live) await expectIntact(store, spillId, size);
    expect(store.usedBytes).toBe([...live.values()].reduce((a, b) => a + b, 70_000 + 4 * MiB));
    store.delete([...live.keys(), 4, 6]);
    expect(store.usedBytes).toBe(0);
  });
});

describe("LmdbSpillStore", () => {
  it("uses its directories in turn, and removes generations that ran empty", async () => {
    const dirs = [directory(), directory()];
    const store = new LmdbSpillStore({ directories: dirs, logger: silentLogger, generationBytesMax: 8 * MiB });
    for (let i = 1; i <= 8; i++) await store.write([item(i, 4 * MiB - 16)]);
    expect(dirs.map((dir) => readdirSync(dir).length)).toEqual([2, 2]);
    store.delete([1, 3]); // those of the first generation of the first directory
    expect(store.generationCount).toBe(3);
    store.delete([2, 5, 6, 7]); // half of the others
    for (let i = 9; i <= 10; i++) await store.write([item(i, 2 * MiB)]);
    for (const [i, size] of [
      [4, 4 * MiB - 16],
      [8, 4 * MiB - 16],
      [9, 2 * MiB],
      [10, 2 * MiB],
    ] as const)
      await expectIntact(store, i, size);
    store.delete([4, 8, 9, 10]);
    await store.close();
    expect(dirs.flatMap((dir) => readdirSync(dir))).toEqual([]);
  });

  it("room of deleted objects is used again: a file does not grow with what passes through it", async () => {
    const dir = directory();
    const store = new LmdbSpillStore({ directories: [dir], logger: silentLogger, generationBytesMax: 32 * MiB });
    await store.write([item(1, 100)]); // keeps its generation alive
    for (let i = 2; i < 60; i++) {
      await store.write([item(i, 4 * MiB)]);
      if (i > 4) store.delete([i - 3]);
    }
    expect(store.generationCount).toBeLessThanOrEqual(2);
    await expectIntact(store, 1, 100);
    await store.close();
  });

  it("a failed write leaves nothing behind; the next directory is tried", async () => {
    const dirs = [join(root, "missing"), directory()];
    const store = new LmdbSpillStore({ directories: dirs, logger: silentLogger });
    await expect(store.write([item(1, 10)])).rejects.toBeDefined(); // a directory that is gone is no full disk
    await store.write([item(2, 10)]);
    await expectIntact(store, 2, 10);
    expect(store.usedBytes).toBe(10);
    await store.close();
  });

  it("does not write to a disk that is fuller than allowed", async () => {
    const store = new LmdbSpillStore({ directories: [directory()], diskFullRatio: 1e-9, logger: silentLogger });
    await expect(store.write([item(1, 10)])).rejects.toMatchObject({
      code: "OUT_OF_DISK",
      message: expect.stringContaining("localFsCapacityThreshold"),
    });
    expect(store.generationCount).toBe(0);
    await store.close();
  });

  // A file-size limit fails writes as a full disk does, and needs no privileges.
  it("a full disk is OUT_OF_DISK: what was stored stays readable, and what is deleted makes room for more", async () => {
    const dir = directory();
    const dist = join(import.meta.dirname ?? __dirname, "../../dist/index.js");
    const program = `
      const { LmdbSpillStore } = await import(${JSON.stringify(dist)});
      process.on("SIGXFSZ", () => undefined);
      const keepAlive = setInterval(() => undefined, 1000); // LMDB's own thread does not keep a process alive
      const logger = { debug() {}, info() {}, warn() {}, error() {}, child() { return this; } };
      const store = new LmdbSpillStore({ directories: [${JSON.stringify(dir)}], logger });
      const write = (id, mib) => store.write([{ spillId: id, bytes: new Uint8Array(mib << 20).fill(id) }]).then(() => "ok", (e) => e.code);
      const read = async (id, mib) => { const into = new Uint8Array(mib << 20); await store.read(id, 0, into); return into.every((b) => b === id); };
      const first = [];
      for (let i = 1; i <= 6; i++) first.push(await write(i, 6));
      const used = store.usedBytes >> 20;
      const intact = await Promise.all([1, 2, 3].map((i) => read(i, 6)));
      store.delete([1, 2]);
      // LMDB uses what was freed some transactions later: tried again, as the raylet does.
      let again = "";
      for (let tries = 0; again !== "ok" && tries < 50; tries++) {
        await new Promise((resolve) => setTimeout(resolve, 50));
        again = await write(11, 6);
      }
      const after = await Promise.all([read(3, 6), again === "ok" && read(11, 6)]);
      await store.close();
      clearInterval(keepAlive);
      console.log(JSON.stringify({ first, used, intact, again, after }));
    `;
    expect(existsSync(dist)).toBe(true);
    const child = spawn("bash", ["-c", 'ulimit -f 22528 && exec "$@"', "bash", process.execPath, "--input-type=module", "-e", program], {
      stdio: ["ignore", "pipe", "ignore"], // lmdb prints errors that it also reports
    });
    let output = "";
    child.stdout.on("data", (chunk: Buffer) => (output += chunk.toString()));
    const [exitCode] = (await once(child, "close")) as [number];
    expect({ exitCode, ...(JSON.parse(output) as object) }).toEqual({
      exitCode: 0,
      first: ["ok", "ok", "ok", "OUT_OF_DISK", "OUT_OF_DISK", "OUT_OF_DISK"],
      used: 18,
      intact: [true, true, true],
      again: "ok",
      after: [true, true],
    });
    expect(readdirSync(dir)).toEqual([]);
  });
});
