// The zod schema of a configuration file: what `tray start --config` and `tray up` read. Loaded only when a file is (or the JSON schema is asked for).
import { messageOf } from "@tray/common";
import * as z from "zod"; // not { z }: that one object holds every locale, and bundles with it
import { resolveSetting, type Setting, settings } from "./settings.js";

function settingSchema(setting: Setting<unknown, unknown>): z.ZodType {
  const unit =
    setting.kind === "duration" ? " Milliseconds, or a text with a unit." : setting.kind === "size" ? " Bytes, or a text with a unit." : "";
  // Said of the input, because zod drops the default of what is transformed from the JSON schema.
  const described = { description: `${setting.description}${unit}`, default: setting.initial };
  return shapeOf(setting)
    .meta(described)
    .transform((value, context) => {
      try {
        return resolveSetting(setting, value);
      } catch (error) {
        context.addIssue(messageOf(error));
        return z.NEVER;
      }
    });
}

/** The JSON shape alone; `resolveSetting` judges values, with better words than a schema has. */
function shapeOf(setting: Setting<unknown, unknown>): z.ZodType {
  const error = (issue: { input?: unknown }): string => {
    try {
      resolveSetting(setting, issue.input);
      return "wrong type";
    } catch (problem) {
      return messageOf(problem);
    }
  };
  switch (setting.kind) {
    case "duration":
    case "size":
      return z.union([z.number(), z.string()], { error });
    case "integer":
    case "number":
      return z.number({ error });
    case "boolean":
      return z.boolean({ error });
    case "choice":
      return z.enum(setting.choices as readonly string[], { error });
    case "strings":
      return z.union([z.string(), z.array(z.string())], { error });
  }
}

const size = (description: string) => settingSchema({ kind: "size", initial: undefined, description }) as z.ZodType<number, number | string>;
const duration = (description: string, initial?: string) =>
  settingSchema({ kind: "duration", initial, description }) as z.ZodType<number, number | string>;
const port = z.int().min(0).max(65_535);
const text = z.string().min(1);
const quantities = z.record(text, z.number().nonnegative());
const texts = z
  .union([text, z.array(text)], { error: "write a text or a list of texts" })
  .transform((value) => (typeof value === "string" ? [value] : value));

const nodeSchema = z.strictObject({
  address: text.describe("The GCS to join, as host:port. Absent on the head.").optional(),
  nodeIp: text.describe("The address under which other nodes reach this one. Default: the one that its route to the GCS has.").optional(),
  nodeName: text.describe("A name for people. Default: the host's.").optional(),
  numCpus: z.number().nonnegative().describe("Default: detected, from the control group first.").optional(),
  numGpus: z.number().nonnegative().describe("Default: detected.").optional(),
  memory: size("Memory for tasks and actors. Default: 70 % of what there is.").optional(),
  objectStoreMemory: size("Shared memory for objects. Default: 30 % of what there is, at most what /dev/shm has.").optional(),
  resources: quantities.describe("Custom resources by name.").optional(),
  labels: z.record(text, z.string()).describe("Labels by name, for label selectors.").optional(),
  dataDir: text.describe("Sessions, logs, tables and address files. Default: /tmp/tray.").optional(),
  spillDir: texts.describe("Where objects are spilled: one directory or several.").optional(),
  metricsPort: port.describe("Port of this node's metrics. 0: any free one.").optional(),
  tokenFile: text.describe("File with the cluster's token. Default: ~/.tray/auth_token.").optional(),
  tlsDir: text.describe("Directory with ca.pem, cert.pem and key.pem; turns TLS on.").optional(),
  block: z.boolean().describe("Stay in the foreground until the node ends.").optional(),
});

const headSchema = z.strictObject({
  port: port.describe("Port of the GCS. 0: any free one. Default 7379.").optional(),
  dashboardHost: text.describe("Address that HTTP binds to. Default 127.0.0.1; others need a token.").optional(),
  dashboardPort: port.describe("Default 8265.").optional(),
  autoscalingConfig: text.describe("Another file, with the autoscaler section.").optional(),
});

const nodeTypeSchema = z.strictObject({
  resources: quantities.describe("What a machine of this type offers: CPU, GPU, memory in bytes, custom names."),
  labels: z.record(text, z.string()).optional(),
  minWorkers: z.int().nonnegative().describe("Kept running even when idle. Default 0.").optional(),
  maxWorkers: z.int().nonnegative().describe("Default: the cluster's maxWorkers.").optional(),
  launch: z.record(text, z.unknown()).describe("Passed to the provider as it is.").optional(),
});

const autoscalerSchema = z.strictObject({
  provider: z.looseObject({ type: text.describe("Name of the node provider.") }).describe("The node provider and its own options."),
  headNodeType: text.describe("The type of the head's machine, for `tray up`.").optional(),
  nodeTypes: z.record(text, nodeTypeSchema).describe("Machines that may be started, by name."),
  maxWorkers: z.int().nonnegative().describe("Machines at most, the head not counted."),
  upscalingSpeed: z.number().positive().describe("Machines started at once, relative to those that run. Default 1.0.").optional(),
  idleTimeout: duration("An idle machine is drained after this long. Default 5 minutes.", "5m").optional(),
  updateInterval: duration("How often demand and capacity are compared. Default 1 second.", "1s").optional(),
});

const systemConfigSchema = z.strictObject(
  Object.fromEntries(Object.entries(settings).map(([key, setting]) => [key, settingSchema(setting as Setting<unknown, unknown>).optional()])),
);

export const fileSchema = z
  .strictObject({
    node: nodeSchema.describe("The node to start; with `nodes`, what all of them have in common.").optional(),
    head: headSchema.describe("Present: the node (of several the first) is the cluster's head.").optional(),
    nodes: z.array(nodeSchema).min(1).describe("Several nodes on this machine, started in this order; each entry is laid over `node`.").optional(),
    systemConfig: systemConfigSchema.describe("Tunables of the whole cluster; the head's file counts.").optional(),
    autoscaler: autoscalerSchema.optional(),
  })
  .meta({ title: "tray configuration" });

/** What editors check files against. */
export function fileJsonSchema(): Record<string, unknown> {
  return z.toJSONSchema(fileSchema, { io: "input" }) as Record<string, unknown>;
}

/** The keys that may stand at `path` of a file; none where the schema does not say. */
export function knownKeys(path: readonly (string | number)[]): string[] {
  let schema: z.ZodType | undefined = fileSchema;
  for (const step of path) {
    schema = bare(schema);
    if (schema instanceof z.ZodObject) schema = (schema.shape as Record<string, z.ZodType>)[String(step)];
    else if (schema instanceof z.ZodRecord) schema = schema.valueType as z.ZodType;
    else if (schema instanceof z.ZodArray) schema = schema.element as z.ZodType;
    else return [];
  }
  schema = bare(schema);
  return schema instanceof z.ZodObject ? Object.keys(schema.shape) : [];
}

function bare(schema: z.ZodType | undefined): z.ZodType | undefined {
  return schema instanceof z.ZodOptional ? bare(schema.unwrap() as z.ZodType) : schema;
}

export type NodeSection = z.output<typeof nodeSchema>;
export type HeadSection = z.output<typeof headSchema>;
export type AutoscalerSection = z.output<typeof autoscalerSchema>;
