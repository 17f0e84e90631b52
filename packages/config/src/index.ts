export { type ConfigFile, configJsonSchema, loadConfigFile, parseConfigText } from "./config-file.js";
export { closest } from "./problems.js";
export type { AutoscalerSection, HeadSection, NodeSection } from "./file-schema.js";
export { environmentVariables, flagName, type Origin, resolveSettings, type SettingLayers } from "./resolve-settings.js";
export { type Setting, type SettingKey, type SystemConfig, type SystemConfigInput, settings } from "./settings.js";
export { changedSettings, defaultSystemConfig, parseSystemConfig } from "./system-config.js";
