// Configuration files: YAML to typed sections, every problem with its place.
import { readFile } from "node:fs/promises";
import { messageOf, TrayError } from "@tray/common";
import type { Document, LineCounter } from "yaml";
import type { AutoscalerSection, HeadSection, NodeSection } from "./file-schema.js";
import { configError, type Problem, unknownKey } from "./problems.js";
import { brokenRelations, defaultSystemConfig } from "./system-config.js";
import type { SystemConfig } from "./settings.js";

/** A configuration file, units resolved (milliseconds, bytes). */
export interface ConfigFile {
  /** The nodes to start on this machine, in order: `nodes` laid over `node`, or `node` alone, or one with all defaults. */
  readonly nodes: readonly NodeSection[];
  /** Present: the first of the nodes is the head. */
  readonly head: HeadSection | undefined;
  /** The tunables that the file names; `parseSystemConfig` adds the defaults. */
  readonly systemConfig: Partial<SystemConfig>;
  readonly autoscaler: AutoscalerSection | undefined;
}

/** @throws CONFIG with a line `file:line:column: message` for every problem; NOT_FOUND when there is no such file. */
export async function loadConfigFile(path: string): Promise<ConfigFile> {
  let text: string;
  try {
    text = await readFile(path, "utf8");
  } catch (error) {
    throw new TrayError("NOT_FOUND", `cannot read the configuration file ${path}: ${messageOf(error)}`, { cause: error });
  }
  return parseConfigText(text, path);
}

/** As loadConfigFile, for text that is already there; `fileName` is only for messages. */
export async function parseConfigText(text: string, fileName: string): Promise<ConfigFile> {
  // Half a command's start-up time is spent on these two when they are loaded for nothing.
  const [yaml, { fileSchema, knownKeys }] = await Promise.all([import("yaml"), import("./file-schema.js")]);
  const lineCounter = new yaml.LineCounter();
  const document = yaml.parseDocument(text, { lineCounter, prettyErrors: false, stringKeys: true });
  const fail = (problems: readonly { at: number; message: string }[]): never => {
    const sorted = [...problems].sort((a, b) => a.at - b.at);
    throw configError(
      fileName,
      sorted.map(({ at, message }) => `${fileName}:${place(lineCounter, at)}: ${message}`),
    );
  };
  if (document.errors.length > 0) fail(document.errors.map((error) => ({ at: error.pos[0], message: error.message })));

  const parsed = fileSchema.safeParse(withoutEmptySections(document.toJS() ?? {}));
  if (!parsed.success)
    fail(
      parsed.error.issues
        .flatMap((issue) => problemsOf(issue, document, knownKeys))
        .map((p) => ({ at: offsetOf(yaml, document, p), message: p.message })),
    );
  const file = parsed.data as NonNullable<typeof parsed.data>;
  const systemConfig = (file.systemConfig ?? {}) as Partial<SystemConfig>;
  const broken = brokenRelations({ ...defaultSystemConfig, ...systemConfig }).map((p) => ({ ...p, path: ["systemConfig", ...p.path] }));
  if (broken.length > 0) fail(broken.map((p) => ({ at: offsetOf(yaml, document, p), message: `${p.path.at(-1)}: ${p.message}` })));

  const shared = file.node ?? {};
  return { nodes: (file.nodes ?? [{}]).map((node) => ({ ...shared, ...node })), head: file.head, systemConfig, autoscaler: file.autoscaler };
}

/** A section all of whose lines are commented out is null in YAML, and means what its absence means. */
function withoutEmptySections(root: unknown): unknown {
  if (typeof root !== "object" || root === null || Array.isArray(root)) return root;
  return Object.fromEntries(Object.entries(root).filter(([, section]) => section !== null));
}

/** JSON schema of configuration files, for editors. */
export async function configJsonSchema(): Promise<Record<string, unknown>> {
  const { fileJsonSchema } = await import("./file-schema.js");
  return fileJsonSchema();
}

type Yaml = typeof import("yaml");

interface Issue {
  readonly code?: string;
  readonly path: readonly PropertyKey[];
  readonly message: string;
  readonly keys?: readonly string[];
}

function problemsOf(issue: Issue, document: Document, knownKeys: (path: readonly (string | number)[]) => string[]): Problem[] {
  const path = issue.path.map((step) => (typeof step === "number" ? step : String(step)));
  if (issue.code !== "unrecognized_keys") {
    // A wrong value is named by its key: the line alone would make the reader count columns.
    const key = path.at(-1);
    const missing = key !== undefined && !document.hasIn(path);
    return [{ path, message: `${key === undefined ? "" : `${key}: `}${missing ? "is missing" : issue.message}` }];
  }
  return (issue.keys ?? []).map((key) => ({ path: [...path, key], message: unknownKey(key, knownKeys(path)), atKey: true }));
}

function offsetOf(yaml: Yaml, document: Document, problem: Problem): number {
  for (let depth = problem.path.length; depth > 0; depth--) {
    const path = problem.path.slice(0, depth);
    const parent = depth === 1 ? document.contents : document.getIn(path.slice(0, -1), true);
    const key = path.at(-1);
    if (yaml.isMap(parent)) {
      const pair = parent.items.find((item) => yaml.isScalar(item.key) && item.key.value === key);
      const node = problem.atKey === true || !yaml.isNode(pair?.value) ? pair?.key : pair.value;
      if (yaml.isNode(node) && node.range != null) return node.range[0];
    } else {
      const node = document.getIn(path, true);
      if (yaml.isNode(node) && node.range != null) return node.range[0];
    }
  }
  return document.contents?.range?.[0] ?? 0;
}

function place(lineCounter: LineCounter, offset: number): string {
  const { line, col } = lineCounter.linePos(offset);
  return `${Math.max(line, 1)}:${Math.max(col, 1)}`;
}
