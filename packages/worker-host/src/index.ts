export type { TaskContext } from "./execution.js";
export { Streaming, type StreamingHost } from "./streaming.js";
export { UserExecutor, type UserExecutorHost } from "./user-executor.js";
