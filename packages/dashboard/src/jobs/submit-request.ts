// Reads the body of a submission with the texts of Ray's own validator, which its users and tests match on.
import type { Random } from "@tray/common";
import { randomInt } from "@tray/common";
import type { EntrypointNeeds } from "./record.js";

export interface SubmitRequest {
  readonly entrypoint: string;
  readonly submissionId: string | undefined;
  readonly runtimeEnv: Readonly<Record<string, unknown>> | null;
  readonly metadata: Readonly<Record<string, string>> | null;
  readonly needs: EntrypointNeeds;
}

/** What is wrong with a body; the answer's text. */
export class InvalidRequest extends Error {}

const known = new Set([
  "entrypoint",
  "submission_id",
  "job_id",
  "runtime_env",
  "metadata",
  "entrypoint_num_cpus",
  "entrypoint_num_gpus",
  "entrypoint_memory",
  "entrypoint_resources",
  "entrypoint_label_selector",
]);

/** @throws InvalidRequest */
export function parseSubmitRequest(body: unknown): SubmitRequest {
  if (!isObject(body)) throw new InvalidRequest(`the body must be a JSON object, got ${pythonType(body)}`);
  // Nulls are dropped first: a newer client's unknown keys do no harm while they say nothing.
  const given = Object.fromEntries(Object.entries(body).filter(([, value]) => value !== null));
  for (const key of Object.keys(given)) {
    if (!known.has(key)) throw new InvalidRequest(`JobSubmitRequest.__init__() got an unexpected keyword argument '${key}'`);
  }
  if (given["entrypoint"] === undefined) throw new InvalidRequest("JobSubmitRequest.__init__() missing 1 required positional argument: 'entrypoint'");
  const entrypoint = expect(given, "entrypoint", "a string", (v) => typeof v === "string") as string;
  const submissionId = expect(given, "submission_id", "a string if provided", (v) => typeof v === "string") as string | undefined;
  const jobId = expect(given, "job_id", "a string if provided", (v) => typeof v === "string") as string | undefined;
  const id = submissionId || jobId || undefined; // an empty id is no id
  if (id !== undefined) checkId(id);
  return {
    entrypoint,
    submissionId: id,
    runtimeEnv: (expect(given, "runtime_env", "a dict", isObject) as Record<string, unknown> | undefined) ?? null,
    metadata: recordOf<string>(given, "metadata", "strings", (v) => typeof v === "string") ?? null,
    needs: {
      numCpus: quantity(given, "entrypoint_num_cpus", "a number", () => true),
      numGpus: quantity(given, "entrypoint_num_gpus", "a number", () => true),
      memoryBytes: quantity(given, "entrypoint_memory", "an integer", Number.isInteger),
      resources: recordOf<number>(given, "entrypoint_resources", "numbers", (v) => typeof v === "number") ?? {},
      labelSelector: labelSelector(recordOf<string>(given, "entrypoint_label_selector", "strings", (v) => typeof v === "string") ?? {}),
    },
  };
}

/** Ids become part of URLs and file names. */
function checkId(id: string): void {
  if (/[/?#\\\0]/.test(id) || id === "." || id === ".." || id.length > 200) {
    throw new InvalidRequest(`submission_id ${JSON.stringify(id)} may not contain / ? # or \\, be . or .., or be longer than 200 characters`);
  }
}

/** "raysubmit_" and 16 letters and digits without the ones that look alike. */
export function newSubmissionId(random: Random): string {
  const alphabet = "ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnpqrstuvwxyz123456789";
  return `raysubmit_${Array.from({ length: 16 }, () => alphabet[randomInt(random, alphabet.length)]).join("")}`;
}

function quantity(given: Record<string, unknown>, key: string, what: string, fits: (v: number) => boolean): number {
  const value = expect(given, key, what, (v) => typeof v === "number" && fits(v)) as number | undefined;
  if (value !== undefined && value < 0) throw new InvalidRequest(`${key} must not be negative, got ${value}`);
  return value ?? 0;
}

function recordOf<T>(given: Record<string, unknown>, key: string, what: string, fits: (v: unknown) => boolean): Record<string, T> | undefined {
  const value = expect(given, key, "a dict", isObject) as Record<string, unknown> | undefined;
  for (const item of Object.values(value ?? {})) if (!fits(item)) throw new InvalidRequest(`${key} values must be ${what}, got ${pythonType(item)}`);
  return value as Record<string, T> | undefined;
}

function labelSelector(selector: Record<string, string>): Record<string, string> {
  for (const [key, value] of Object.entries(selector)) {
    if (!/^[A-Za-z0-9]([A-Za-z0-9_.\-/]*[A-Za-z0-9])?$/.test(key)) throw new InvalidRequest(`Invalid label key name \`${key}\`.`);
    const match = /^!?in\((.*)\)$/.exec(value);
    const values = match === null ? [value.replace(/^!/, "")] : (match[1] as string).split(",").map((v) => v.trim());
    for (const v of values) {
      if (!/^([A-Za-z0-9]([A-Za-z0-9_.-]*[A-Za-z0-9])?)?$/.test(v)) throw new InvalidRequest(`Invalid label selector value \`${value}\`.`);
    }
  }
  return selector;
}

function expect(given: Record<string, unknown>, key: string, what: string, fits: (v: unknown) => boolean): unknown {
  const value = given[key];
  if (value === undefined || fits(value)) return value;
  throw new InvalidRequest(`${key} must be ${what}, got ${pythonType(value)}`);
}

const isObject = (value: unknown): value is Record<string, unknown> => typeof value === "object" && value !== null && !Array.isArray(value);

function pythonType(value: unknown): string {
  const name =
    value === null
      ? "NoneType"
      : Array.isArray(value)
        ? "list"
        : typeof value === "object"
          ? "dict"
          : typeof value === "string"
            ? "str"
            : typeof value === "boolean"
              ? "bool"
              : Number.isInteger(value)
                ? "int"
                : "float";
  return `<class '${name}'>`;
}
