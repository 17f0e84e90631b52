// What a submitted job's runtime environment may say. Checked before anything is set up: a key that would be ignored is a job that runs in another environment than its
// author thinks.
import { TrayError } from "@tray/common";
import { closest } from "@tray/config";

/** Keys that this version sets up, by both spellings. */
const supported = ["working_dir", "workingDir", "env_vars", "envVars", "excludes", "config"];
/** What clients add for themselves: Ray's puts its own commit beside pip. */
const ignored = new Set(["_ray_commit", "metadata", "name"]);

/** @throws RUNTIME_ENV_SETUP naming the key, and what to do instead. */
export function checkRuntimeEnv(env: Readonly<Record<string, unknown>>): void {
  const unknown = Object.keys(env).filter((key) => !supported.includes(key) && !ignored.has(key) && saysSomething(env[key]));
  const [first] = unknown;
  if (first !== undefined) {
    const meant = closest(first, supported);
    throw new TrayError(
      "RUNTIME_ENV_SETUP",
      `runtime_env ${unknown.map((key) => `'${key}'`).join(", ")} ${unknown.length === 1 ? "is" : "are"} not supported by this version of tray${
        meant === undefined ? "; it knows working_dir, env_vars, excludes and config" : `: did you mean '${meant}'?`
      }`,
    );
  }
  const vars = env["env_vars"] ?? env["envVars"] ?? {};
  if (typeof vars !== "object" || Array.isArray(vars))
    throw new TrayError("RUNTIME_ENV_SETUP", `runtime_env 'env_vars' is ${JSON.stringify(vars)}, not names with texts`);
  for (const [name, value] of Object.entries(vars)) {
    if (typeof value !== "string")
      throw new TrayError("RUNTIME_ENV_SETUP", `runtime_env 'env_vars': ${name} is ${JSON.stringify(value)}, not a text; write "${String(value)}"`);
  }
}

/** Ray's client passes on what its user left empty, in its own shape: `pip: []` arrives as {"packages": [], "pip_check": false}. */
function saysSomething(value: unknown): boolean {
  if (value === null || value === undefined || value === "" || value === false) return false;
  return typeof value === "object" ? Object.values(value).some(saysSomething) : true;
}
