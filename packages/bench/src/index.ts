// Bundled as packages/tray/dist/bench.cjs: what `tray microbenchmark` and `npm run bench` load, and the processes in which they measure.
export { systemClock } from "@tray/common";
export { runDriver } from "./driver.js";
export { benchMain, type BenchHost } from "./main.js";
export { type MicrobenchmarkResult, runMicrobenchmark } from "./microbenchmark.js";
