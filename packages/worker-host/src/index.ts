export { type TaskContext, UserExecutor, type UserExecutorHost } from "./user-executor.js";
