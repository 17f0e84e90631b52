export * from "./ids.js";
export * from "./messages.js";
export * from "./resources.js";
export * from "./service.js";
export * from "./services.js";
export * from "./wait-cause.js";
