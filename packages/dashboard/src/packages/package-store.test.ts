import { mkdtempSync, readdirSync, rmSync, utimesSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Readable } from "node:stream";
import { systemClock } from "@tray/common";
import { newRecord } from "../jobs/record.js";
import { packagesInUse } from "./in-use.js";
import { PackageStore } from "./package-store.js";

let dir: string;
const inUse = new Set<string>();
const errors: unknown[] = [];
beforeEach(() => {
  dir = mkdtempSync(join(tmpdir(), "packages-"));
  inUse.clear();
  errors.length = 0;
});
afterEach(() => rmSync(dir, { recursive: true, force: true }));

const store = (ask: () => Promise<ReadonlySet<string>> = async () => inUse): PackageStore =>
  new PackageStore({ dir, bytesMax: 1_000, keptBytesMax: 250, pid: 1, clock: systemClock, inUse: ask, onPruneError: (e) => errors.push(e) });
const put = (packages: PackageStore, name: string): Promise<unknown> => packages.put(name, Readable.from([Buffer.alloc(100)]));
const age = (name: string, minutes: number): void => {
  const when = systemClock.wallMs() / 1000 - minutes * 60;
  utimesSync(join(dir, name), when, when);
};

it("keeps packages while there is room, and removes the ones asked for longest ago", async () => {
  const packages = store();
  for (const name of ["a.zip", "b.zip"]) await put(packages, name);
  age("a.zip", 60);
  age("b.zip", 30);
  expect(await packages.has("a.zip")).toBe(true); // asked for: now b is the oldest
  age("a.zip", 20);
  await put(packages, "c.zip");
  expect(readdirSync(dir).sort()).toEqual(["a.zip", "c.zip"]);
});

it("never removes what a job uses (K1), or what was asked for lately (K2)", async () => {
  const packages = store();
  inUse.add("used.zip").add("asked.zip").add("old.zip");
  for (const name of ["used.zip", "asked.zip", "old.zip"]) {
    await put(packages, name);
    age(name, 60);
  }
  inUse.delete("asked.zip");
  inUse.delete("old.zip");
  expect(await packages.has("asked.zip")).toBe(true);
  await put(packages, "new.zip");
  expect(readdirSync(dir).sort()).toEqual(["asked.zip", "new.zip", "used.zip"]);
  expect(await packages.prune()).toEqual([]); // too much, and all of it needed
});

it("removes uploads that broke off a day ago, and lets uploads through when jobs cannot be asked for", async () => {
  const packages = store(() => Promise.reject(new Error("the GCS is away")));
  for (const name of ["x.zip.7.1.part", "y.zip.7.2.part"]) writeFileSync(join(dir, name), "");
  age("x.zip.7.1.part", 25 * 60);
  await put(packages, "a.zip");
  expect(readdirSync(dir).sort()).toEqual(["a.zip", "y.zip.7.2.part"]);
  for (const name of ["b.zip", "c.zip"]) await put(packages, name);
  expect(errors).toEqual([new Error("the GCS is away")]);
  expect(readdirSync(dir)).toHaveLength(4);
});

it("knows the packages of jobs that have not ended", () => {
  const needs = { numCpus: 0, numGpus: 0, memoryBytes: 0, resources: {}, labelSelector: {} };
  const record = (runtimeEnv: Record<string, unknown> | null) =>
    newRecord({ submissionId: "j", entrypoint: "x", metadata: null, runtimeEnv, needs }, 0);
  const open = [record({ working_dir: "gcs://a.zip" }), record({ py_modules: ["gcs://b.zip", "s3://c.zip"] }), record(null)];
  expect([...packagesInUse([...open, { ...record({ working_dir: "gcs://d.zip" }), status: "FAILED" }])]).toEqual(["a.zip", "b.zip"]);
});
