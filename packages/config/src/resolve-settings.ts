/** Where a value came from, strongest first. */
export type Origin =
  | { readonly kind: "flag"; readonly name: string }
  | { readonly kind: "environment"; readonly name: string }
  | { readonly kind: "file"; readonly name: string }
  | { readonly kind: "default" };

/** Settings that the environment may give, by their names there. */
export const environmentVariables = {
  address: "TRAY_ADDRESS",
  token: "TRAY_AUTH_TOKEN",
  tokenFile: "TRAY_AUTH_TOKEN_PATH",
  tlsDir: "TRAY_TLS_DIR",
  logLevel: "TRAY_LOG_LEVEL",
  dataDir: "TRAY_DATA_DIR",
} as const;

export interface SettingLayers<T extends object> {
  /** What stood on the command line, by the flag's name in camelCase; undefined = not given. */
  flags: { readonly [K in keyof T]?: T[K] | undefined };
  /** The process's environment. */
  env: Readonly<Record<string, string | undefined>>;
  /** What a configuration file says, and the file's name. */
  file?: { readonly name: string; readonly values: { readonly [K in keyof T]?: T[K] | undefined } };
  defaults: T;
}

/** Flag > environment > file > default, for every key of `defaults` and every key that a layer gives. An empty variable counts as not set. */
export function resolveSettings<T extends object>({
  flags,
  env,
  file,
  defaults,
}: SettingLayers<T>): { values: T; origins: { readonly [K in keyof T]: Origin } } {
  const values: Record<string, unknown> = {};
  const origins: Record<string, Origin> = {};
  const set = (key: string, value: unknown, origin: Origin): void => {
    if (value === undefined) return;
    values[key] = value;
    origins[key] = origin;
  };
  // Weakest first; what follows overwrites.
  for (const [key, value] of Object.entries(defaults)) set(key, value, { kind: "default" });
  for (const [key, value] of Object.entries(file?.values ?? {})) set(key, value, { kind: "file", name: file?.name ?? "" });
  for (const [key, name] of Object.entries(environmentVariables)) set(key, env[name] === "" ? undefined : env[name], { kind: "environment", name });
  for (const [key, value] of Object.entries(flags)) set(key, value, { kind: "flag", name: flagName(key) });
  return { values: values as T, origins: origins as { readonly [K in keyof T]: Origin } };
}

/** "numCpus" → "--num-cpus". */
export function flagName(key: string): string {
  return `--${key.replace(/[A-Z]/g, (letter) => `-${letter.toLowerCase()}`)}`;
}
