export { Streaming, type StreamingHost } from "./streaming.js";
export { type TaskContext, UserExecutor, type UserExecutorHost } from "./user-executor.js";
