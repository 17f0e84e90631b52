import { readdirSync } from "node:fs";
import { join } from "node:path";
import { isTrayError, type TrayError } from "@tray/common";
import fc from "fast-check";
import {
  changedSettings,
  configJsonSchema,
  defaultSystemConfig,
  loadConfigFile,
  parseConfigText,
  parseSystemConfig,
  resolveSettings,
  settings,
} from "./index.js";
import { editDistance, unknownKey } from "./problems.js";
import { brokenRelations } from "./system-config.js";

const configs = join(__dirname, "../../../configs");

async function problemsIn(text: string): Promise<string[]> {
  const error = await parseConfigText(text, "f.yaml").then(
    () => undefined,
    (e: unknown) => e,
  );
  if (!isTrayError(error, "CONFIG")) throw new Error(`no CONFIG error but ${String(error)}`);
  return error.details?.problems as string[];
}

describe("SystemConfig", () => {
  it("has the defaults that semantics.md states", () => {
    expect(defaultSystemConfig).toMatchObject({
      maxDirectCallObjectSize: 102_400,
      objectSpillingThreshold: 0.8,
      minSpillingSize: 104_857_600,
      localFsCapacityThreshold: 0.95,
      maxLineageBytes: 2 ** 30,
      enableObjectReconstruction: true,
      healthCheckTimeout: 5000,
      gcsReconnectTimeout: 60_000,
      memoryMonitorRefresh: 250,
      memoryUsageThreshold: 0.95,
      taskOomRetries: -1,
      runtimeEnvCacheSize: 10 * 2 ** 30,
      shortTaskThreshold: 1,
      jobStopGracePeriod: 3000,
      jobStartTimeout: 900_000,
    });
    expect(brokenRelations(defaultSystemConfig)).toEqual([]);
  });

  it("resolves units, fills in defaults, and takes its own answer again", () => {
    const config = parseSystemConfig({
      minSpillingSize: "1MiB",
      healthCheckPeriod: "0.2s",
      objectSpillingDirectory: "/mnt/a",
      workersMax: undefined,
    });
    expect(config).toEqual({ ...defaultSystemConfig, minSpillingSize: 2 ** 20, healthCheckPeriod: 200, objectSpillingDirectory: ["/mnt/a"] });
    expect(parseSystemConfig(config)).toEqual(config);
    expect(parseSystemConfig(JSON.parse(JSON.stringify(changedSettings(config))) as object)).toEqual(config);
    expect(changedSettings(defaultSystemConfig)).toEqual({});
  });

  it("names every wrong key at once", () => {
    const wrong = {
      minSpilingSize: 1,
      taskOomRetries: -2,
      maxDirectCallObjectSize: "17MiB",
      enableObjectReconstruction: "yes",
      gcsStorageDurability: "disk",
      memoryUsageThreshold: 95,
    };
    let error: unknown;
    try {
      parseSystemConfig(wrong);
    } catch (e) {
      error = e;
    }
    expect((error as TrayError).details?.problems).toEqual([
      'minSpilingSize: unknown key "minSpilingSize", did you mean "minSpillingSize"?',
      "taskOomRetries: -2 is below the least allowed, -1",
      "maxDirectCallObjectSize: 17825792 bytes is above the most allowed, 16777216 bytes",
      'enableObjectReconstruction: "yes" is neither true nor false',
      'gcsStorageDurability: "disk" is none of "process", "machine"',
      "memoryUsageThreshold: 95 is above the most allowed, 1",
    ]);
  });

  it("does not take a key of Object.prototype for a setting", () => {
    expect(() => parseSystemConfig({ toString: 1 })).toThrow("unknown key");
  });

  it.each([
    [{ healthCheckTimeout: "1s" }, "healthCheckTimeout"],
    [{ heartbeatInterval: "2s" }, "healthCheckTimeout"],
    [{ gcsReconnectTimeout: "2s" }, "gcsReconnectTimeout"],
    [{ minSpillingSize: "5GiB" }, "minSpillingSize"],
    [{ runtimeEnvCacheSize: "1MiB" }, "runtimeEnvCacheSize"],
    [{ workersMax: 1, workersPrestart: 2 }, "workersPrestart"],
  ])("checks relations: %j", (input, key) => {
    expect(() => parseSystemConfig(input)).toThrow(key);
  });
});

describe("configuration files", () => {
  it.each(readdirSync(configs))("configs/%s is right", async (file) => {
    const config = await loadConfigFile(join(configs, file));
    expect(config.nodes.length).toBe(file === "local-3.yaml" ? 3 : 1);
    expect(config.head === undefined).toBe(file === "worker.yaml");
    expect(() => parseSystemConfig(config.systemConfig)).not.toThrow();
  });

  it("lays each of `nodes` over `node` and resolves units", async () => {
    const config = await parseConfigText(
      "node: {numCpus: 2, objectStoreMemory: 1MiB}\nnodes:\n  - {nodeName: a}\n  - {numCpus: 4, spillDir: /x}\nhead:\n",
      "f.yaml",
    );
    expect(config).toEqual({
      nodes: [
        { numCpus: 2, objectStoreMemory: 2 ** 20, nodeName: "a" },
        { numCpus: 4, objectStoreMemory: 2 ** 20, spillDir: ["/x"] },
      ],
      head: undefined,
      systemConfig: {},
      autoscaler: undefined,
    });
    expect((await parseConfigText("", "f.yaml")).nodes).toEqual([{}]);
  });

  it("tells every problem with its place, in the order of the file", async () => {
    const text = [
      "node:",
      "  num-cpus: 2",
      "  memory: 12 parsecs",
      "head: {port: 99999}",
      "systemConfig:",
      "  objectSpilingThreshold: 1",
      "autoscaler:",
      "  maxWorkers: 3",
      "  provider: {type: local}",
      "  nodeTypes:",
      "    small: {resource: {CPU: 1}}",
      "nodes:",
      "  - numCpu: 1",
    ].join("\n");
    expect(await problemsIn(text)).toEqual([
      'f.yaml:2:3: unknown key "num-cpus", did you mean "numCpus"?',
      'f.yaml:3:11: memory: "12 parsecs" is not a size: write bytes as a number, or a string such as "512KiB", "64MiB", "2GB"',
      "f.yaml:4:14: port: Too big: expected number to be <=65535",
      'f.yaml:6:3: unknown key "objectSpilingThreshold", did you mean "objectSpillingThreshold"?',
      "f.yaml:11:12: resources: is missing",
      'f.yaml:11:13: unknown key "resource", did you mean "resources"?',
      'f.yaml:13:5: unknown key "numCpu", did you mean "numCpus"?',
    ]);
  });

  it("checks relations between settings against the defaults", async () => {
    expect(await problemsIn("systemConfig:\n  healthCheckPeriod: 3s\n  healthCheckTimeout: 5s\n")).toEqual([
      "f.yaml:3:23: healthCheckTimeout: 5000 ms must be more than twice healthCheckPeriod (3000 ms)",
    ]);
  });

  it("tells syntax errors and doubled keys with their place", async () => {
    expect((await problemsIn("node:\n  labels: {a: 'x\n"))[0]).toMatch(/^f\.yaml:\d+:\d+: /);
    expect(await problemsIn("node:\n  numCpus: 1\n  numCpus: 2\n")).toEqual(["f.yaml:3:3: Map keys must be unique"]);
    expect((await problemsIn("- 1"))[0]).toMatch(/^f\.yaml:1:1: .*expected object/);
  });

  it("says which file is missing", async () => {
    await expect(loadConfigFile("/nowhere/x.yaml")).rejects.toMatchObject({ code: "NOT_FOUND", message: expect.stringContaining("/nowhere/x.yaml") });
  });

  it("describes every setting in its JSON schema", async () => {
    const schema = (await configJsonSchema()) as {
      properties: { systemConfig: { properties: Record<string, { description?: string; default?: unknown }>; additionalProperties: boolean } };
    };
    const { properties, additionalProperties } = schema.properties.systemConfig;
    expect(Object.keys(properties)).toEqual(Object.keys(settings));
    expect(additionalProperties).toBe(false);
    for (const [key, property] of Object.entries(properties)) {
      expect(property.description).toBeTruthy();
      expect(property.default).toEqual(settings[key as keyof typeof settings].initial);
    }
  });

  it("loads neither zod nor yaml before a file is read", () => {
    jest.isolateModules(() => {
      const loaded = (): never => {
        throw new Error("loaded too early");
      };
      jest.doMock("zod", loaded);
      jest.doMock("yaml", loaded);
      expect(() => require("./index.js") as unknown).not.toThrow();
      expect(() => require("zod") as unknown).toThrow("loaded too early");
    });
  });
});

describe("resolveSettings", () => {
  it("prefers flag over environment over file over default, and says so", () => {
    const { values, origins } = resolveSettings({
      flags: { numCpus: 4, dataDir: undefined },
      env: { TRAY_ADDRESS: "env:1", TRAY_DATA_DIR: "", TRAY_LOG_LEVEL: "debug", PATH: "/bin" },
      file: { name: "head.yaml", values: { numCpus: 2, address: "file:1", dataDir: "/file" } },
      defaults: { numCpus: 1, address: "default:1", dataDir: "/tmp/tray", logLevel: "info", port: 7379 },
    });
    expect(values).toEqual({ numCpus: 4, address: "env:1", dataDir: "/file", logLevel: "debug", port: 7379 });
    expect(origins).toEqual({
      numCpus: { kind: "flag", name: "--num-cpus" },
      address: { kind: "environment", name: "TRAY_ADDRESS" },
      dataDir: { kind: "file", name: "head.yaml" },
      logLevel: { kind: "environment", name: "TRAY_LOG_LEVEL" },
      port: { kind: "default" },
    });
  });
});

describe("suggestions", () => {
  it("measures edits as a distance: symmetric, zero only for equals, within the triangle", () => {
    const word = fc.stringMatching(/^[ab]{0,5}$/);
    fc.assert(
      fc.property(word, word, word, (a, b, c) => {
        expect(editDistance(a, b)).toBe(editDistance(b, a));
        expect(editDistance(a, b) === 0).toBe(a === b);
        expect(editDistance(a, c)).toBeLessThanOrEqual(editDistance(a, b) + editDistance(b, c));
      }),
    );
    expect(editDistance("kitten", "sitting")).toBe(3);
  });
  it("lists what is known when nothing is near", () => {
    expect(unknownKey("zzzzzz", ["port", "host"])).toBe('unknown key "zzzzzz"; known are port, host');
  });
});
