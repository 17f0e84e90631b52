// Resolves and checks SystemConfig without zod or yaml: this is what daemons, workers and drivers load.
import { messageOf } from "@tray/common";
import { configError, type Problem, unknownKey } from "./problems.js";
import { resolveSetting, type Setting, type SettingKey, type SystemConfig, type SystemConfigInput, settings } from "./settings.js";

const keys = Object.keys(settings) as SettingKey[];

/**
 * Fills in the defaults, resolves units and checks the relations between settings. What it answers may be given to it again.
 * @throws CONFIG naming every wrong key.
 */
export function parseSystemConfig(input: SystemConfigInput | Readonly<Record<string, unknown>>): SystemConfig {
  const { given, problems } = resolveGiven(input);
  const config = { ...defaultSystemConfig, ...given };
  if (problems.length === 0) problems.push(...brokenRelations(config));
  if (problems.length > 0)
    throw configError(
      "the system configuration",
      problems.map((p) => `${p.path.join(".")}: ${p.message}`),
    );
  return config;
}

/** The settings that `input` names, resolved; nothing is filled in and no relation is checked. */
export function resolveGiven(input: Readonly<Record<string, unknown>>): { given: Partial<SystemConfig>; problems: Problem[] } {
  const given: Record<string, unknown> = {};
  const problems: Problem[] = [];
  for (const [key, value] of Object.entries(input)) {
    if (value === undefined) continue;
    if (!Object.hasOwn(settings, key)) {
      problems.push({ path: [key], message: unknownKey(key, keys), atKey: true });
      continue;
    }
    try {
      given[key] = resolveSetting(settings[key as SettingKey] as Setting<unknown, unknown>, value);
    } catch (error) {
      problems.push({ path: [key], message: messageOf(error) });
    }
  }
  return { given: given as Partial<SystemConfig>, problems };
}

/** Every tunable's default. */
export const defaultSystemConfig: SystemConfig = Object.freeze(
  Object.fromEntries(keys.map((key) => [key, resolveSetting(settings[key] as Setting<unknown, unknown>, settings[key].initial)])),
) as SystemConfig;

/** Only what differs from the defaults: what processes pass on to those that they start. */
export function changedSettings(config: SystemConfig): Partial<SystemConfig> {
  return Object.fromEntries(
    keys.filter((key) => JSON.stringify(config[key]) !== JSON.stringify(defaultSystemConfig[key])).map((key) => [key, config[key]]),
  );
}

/** What must hold between settings, each with the reason. */
export function brokenRelations(config: SystemConfig): Problem[] {
  const problems: Problem[] = [];
  const must = (holds: boolean, key: SettingKey, message: string): void => {
    if (!holds) problems.push({ path: [key], message });
  };
  const { healthCheckTimeout, healthCheckPeriod, heartbeatInterval, gcsReconnectTimeout, minSpillingSize, packageMaxSize, runtimeEnvCacheSize } =
    config;
  must(
    healthCheckTimeout > 2 * healthCheckPeriod,
    "healthCheckTimeout",
    `${healthCheckTimeout} ms must be more than twice healthCheckPeriod (${healthCheckPeriod} ms)`,
  );
  must(
    healthCheckTimeout > 4 * heartbeatInterval,
    "healthCheckTimeout",
    `${healthCheckTimeout} ms must be more than four times heartbeatInterval (${heartbeatInterval} ms), or one late report kills a node`,
  );
  must(
    gcsReconnectTimeout >= healthCheckTimeout,
    "gcsReconnectTimeout",
    `${gcsReconnectTimeout} ms must not be less than healthCheckTimeout (${healthCheckTimeout} ms): raylets would leave a GCS that still counts on them`,
  );
  must(minSpillingSize <= 2 ** 32, "minSpillingSize", "must not be more than 4 GiB, the largest batch that is written at once");
  must(runtimeEnvCacheSize >= packageMaxSize, "runtimeEnvCacheSize", `must hold at least one package of packageMaxSize (${packageMaxSize} bytes)`);
  must(
    config.workersMax === -1 || config.workersPrestart <= config.workersMax,
    "workersPrestart",
    `${config.workersPrestart} must not be more than workersMax (${config.workersMax})`,
  );
  return problems;
}
