// The settings of a node to start: flag > environment > file > default, each with its origin.
import { parseSize, type Size } from "@tray/common";
import { changedSettings, loadConfigFile, type Origin, parseSystemConfig, resolveSettings } from "@tray/config";
import { CliFailure, exitCodes } from "../failure.js";
import type { CliContext } from "../context.js";
import { defaultDataDir } from "@tray/node-launcher";

/** As commander hands them over: texts. */
export interface StartFlags {
  head?: boolean;
  config?: string;
  port?: string;
  nodeIp?: string;
  nodeName?: string;
  numCpus?: string;
  numGpus?: string;
  memory?: Size;
  objectStoreMemory?: Size;
  resources?: string;
  labels?: string;
  dashboardHost?: string;
  dashboardPort?: string;
  metricsPort?: string;
  spillDir?: string;
  autoscalingConfig?: string;
  block?: boolean;
  systemConfig?: string;
  // global
  address?: string;
  dataDir?: string;
  tokenFile?: string;
  tlsDir?: string;
  logLevel?: string;
}

/** One node's settings, resolved. */
export interface NodeSettings {
  address?: string | undefined;
  port?: number | undefined;
  nodeIp?: string | undefined;
  nodeName?: string | undefined;
  numCpus?: number | undefined;
  numGpus?: number | undefined;
  memory?: number | undefined;
  objectStoreMemory?: number | undefined;
  resources?: Readonly<Record<string, number>> | undefined;
  labels?: Readonly<Record<string, string>> | undefined;
  dataDir: string;
  spillDir?: readonly string[] | undefined;
  tokenFile?: string | undefined;
  tlsDir?: string | undefined;
  dashboardHost?: string | undefined;
  dashboardPort?: number | undefined;
  metricsPort?: number | undefined;
  autoscalingConfig?: string | undefined;
  block?: boolean | undefined;
  logLevel: string;
}

export interface ResolvedNode {
  readonly isHead: boolean;
  readonly settings: NodeSettings;
  readonly origins: Readonly<Record<string, Origin>>;
}

export interface ResolvedStart {
  readonly nodes: readonly ResolvedNode[];
  /** What differs from the defaults. */
  readonly systemConfig: Readonly<Record<string, unknown>>;
  readonly systemConfigOrigins: Readonly<Record<string, Origin>>;
}

export const defaultPort = 7379;
export const defaultDashboardPort = 8265;

/** @throws CONFIG (with file:line:column) or CliFailure naming the flag. */
export async function resolveStart(flags: StartFlags, context: Pick<CliContext, "env">): Promise<ResolvedStart> {
  const file = flags.config === undefined ? undefined : await loadConfigFile(flags.config);
  const flagValues = parseFlags(flags);
  const flagSystem = flags.systemConfig === undefined ? {} : parseJsonObject(flags.systemConfig, "--system-config");
  const system = parseSystemConfig({ ...file?.systemConfig, ...flagSystem });
  const systemConfigOrigins: Record<string, Origin> = {};
  for (const key of Object.keys(file?.systemConfig ?? {})) systemConfigOrigins[key] = { kind: "file", name: flags.config ?? "" };
  for (const key of Object.keys(flagSystem)) systemConfigOrigins[key] = { kind: "flag", name: "--system-config" };
  const sections = file?.nodes ?? [{}];
  const headFirst = flags.head === true || file?.head !== undefined;
  const nodes = sections.map((section, i): ResolvedNode => {
    const isHead = headFirst && i === 0 && flags.address === undefined;
    const values = { ...section, ...(isHead ? file?.head : {}) };
    const defaults: NodeSettings = {
      dataDir: defaultDataDir,
      logLevel: "info",
      ...(isHead ? { port: defaultPort, dashboardHost: "127.0.0.1", dashboardPort: defaultDashboardPort } : {}),
    };
    const resolved = resolveSettings<NodeSettings>({
      // What names one node must not name them all.
      flags: i === 0 ? flagValues : { ...flagValues, nodeName: undefined },
      env: isHead ? { ...context.env, TRAY_ADDRESS: undefined } : context.env,
      ...(flags.config === undefined ? {} : { file: { name: flags.config, values } }),
      defaults,
    });
    return { isHead, settings: resolved.values, origins: resolved.origins as Readonly<Record<string, Origin>> };
  });
  return { nodes, systemConfig: changedSettings(system), systemConfigOrigins };
}

function parseFlags(flags: StartFlags): { [K in keyof NodeSettings]?: NodeSettings[K] } {
  return {
    address: flags.address,
    port: number(flags.port, "--port", 65_535),
    nodeIp: flags.nodeIp,
    nodeName: flags.nodeName,
    numCpus: number(flags.numCpus, "--num-cpus"),
    numGpus: number(flags.numGpus, "--num-gpus"),
    memory: flags.memory === undefined ? undefined : parseSize(flags.memory, "--memory"),
    objectStoreMemory: flags.objectStoreMemory === undefined ? undefined : parseSize(flags.objectStoreMemory, "--object-store-memory"),
    resources: flags.resources === undefined ? undefined : quantities(flags.resources),
    labels: flags.labels === undefined ? undefined : parseLabels(flags.labels),
    ...(flags.dataDir === undefined ? {} : { dataDir: flags.dataDir }),
    spillDir: flags.spillDir?.split(","),
    tokenFile: flags.tokenFile,
    tlsDir: flags.tlsDir,
    dashboardHost: flags.dashboardHost,
    dashboardPort: number(flags.dashboardPort, "--dashboard-port", 65_535),
    metricsPort: number(flags.metricsPort, "--metrics-port", 65_535),
    autoscalingConfig: flags.autoscalingConfig,
    block: flags.block,
  };
}

function number(text: string | undefined, flag: string, max = Number.POSITIVE_INFINITY): number | undefined {
  if (text === undefined) return undefined;
  const value = Number(text);
  const isPort = Number.isFinite(max);
  if (text.trim() === "" || !Number.isFinite(value) || value < 0 || value > max || (isPort && !Number.isInteger(value))) {
    throw new CliFailure(
      exitCodes.usage,
      "INVALID_ARGUMENT",
      `${flag}: '${text}' is not a ${isPort ? "port" : "number"}`,
      isPort ? "write a number from 0 to 65535" : "write a number that is not negative",
    );
  }
  return value;
}

/** "a=b,c=d" */
export function parseLabels(text: string): Record<string, string> {
  const out: Record<string, string> = {};
  for (const part of text.split(",").filter((p) => p !== "")) {
    const at = part.indexOf("=");
    if (at <= 0)
      throw new CliFailure(exitCodes.usage, "INVALID_ARGUMENT", `--labels: '${part}' is not a label`, "write --labels key=value,key2=value2");
    out[part.slice(0, at).trim()] = part.slice(at + 1).trim();
  }
  return out;
}

function quantities(json: string): Record<string, number> {
  const value = parseJsonObject(json, "--resources");
  for (const [name, amount] of Object.entries(value)) {
    if (typeof amount !== "number" || !(amount >= 0))
      throw new CliFailure(
        exitCodes.usage,
        "INVALID_ARGUMENT",
        `--resources: ${name} is ${JSON.stringify(amount)}, not a quantity`,
        `write --resources '{"${name}": 1}'`,
      );
  }
  return value as Record<string, number>;
}

export function parseJsonObject(json: string, flag: string): Record<string, unknown> {
  try {
    const value: unknown = JSON.parse(json);
    if (typeof value === "object" && value !== null && !Array.isArray(value)) return value as Record<string, unknown>;
  } catch (error) {
    throw new CliFailure(exitCodes.usage, "INVALID_ARGUMENT", `${flag}: ${(error as Error).message}`, `write a JSON object: ${flag} '{"key": 1}'`);
  }
  throw new CliFailure(exitCodes.usage, "INVALID_ARGUMENT", `${flag}: ${json} is not a JSON object`, `write a JSON object: ${flag} '{"key": 1}'`);
}
