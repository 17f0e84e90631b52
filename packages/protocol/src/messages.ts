// The generated messages under one import. Regenerate with `npm run generate`.
export * from "./generated/tray/v1/common.js";
export * from "./generated/tray/v1/core.js";
export * from "./generated/tray/v1/gcs.js";
export * from "./generated/tray/v1/raylet.js";
export * from "./generated/tray/v1/task.js";
