export { type CliContext, Interrupted, type Output } from "./context.js";
export { main } from "./main.js";
export type { BenchmarkResult, RunMicrobenchmark } from "./commands/microbenchmark.js";
