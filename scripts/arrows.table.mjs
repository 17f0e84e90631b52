// The arrows between packages (architecture: "Packages and the arrows between them") and the homes of ambient calls. Checked by check-arrows.mjs.

/** Imports go down, or stay within a layer where package.json declares it. */
export const layers = [
  ["common"],
  ["protocol", "config"],
  ["rpc", "storage", "serialization"],
  ["core-worker", "scheduler", "object-store", "node-launcher"],
  ["gcs-server", "raylet", "worker-host", "autoscaler", "dashboard"],
  ["cli", "tray", "testkit"],
  ["bench"],
];

/** These talk through messages and never import one another; only composition roots and tests see more than one. */
export const daemons = ["gcs-server", "raylet", "worker-host", "autoscaler", "dashboard"];

/** Files that nothing needs to import, because something else starts or loads them. */
export const entries = [
  { file: "packages/tray/src/util.ts", reason: "public entry tray/util" },
  { file: "packages/tray/src/jobs.ts", reason: "public entry tray/jobs" },
  { file: "packages/tray/src/io-thread.ts", reason: "entry of the I/O thread" },
  { file: "packages/raylet/src/testing/world.ts", reason: "the world around raylets in their tests" },
];

/** Time, chance, environment and the end of the process come in through constructors. */
export const ambientCalls = {
  "Date.now": /(?<![\w$.])Date\.now\b/,
  "new Date()": /(?<![\w$.])new Date\(\s*\)/,
  "performance.now": /(?<![\w$])performance\.now\b/,
  setTimeout: /(?<![\w$.])(?:globalThis\.)?setTimeout\s*\(/,
  setInterval: /(?<![\w$.])(?:globalThis\.)?setInterval\s*\(/,
  setImmediate: /(?<![\w$.])(?:globalThis\.)?setImmediate\s*\(/,
  "Math.random": /(?<![\w$.])Math\.random\b/,
  "process.env": /(?<![\w$.])process\.env\b/,
  "process.exit": /(?<![\w$.])process\.exit\b/,
};

/** Where an ambient call is at home. An entry that is no longer needed is an error, too. */
export const allowed = [
  {
    file: "packages/common/src/clock.ts",
    calls: ["Date.now", "performance.now", "setTimeout", "setInterval", "setImmediate"],
    reason: "systemClock is their home",
  },
  { file: "packages/common/src/random.ts", calls: ["Math.random"], reason: "systemRandom is its home" },
  {
    file: "packages/common/src/sim-clock.ts",
    calls: ["setImmediate"],
    reason: "simulated time advances when promises have settled, which only the real event loop knows",
  },
  { file: "packages/tray/src/log-lines.ts", calls: ["process.env"], reason: "asks the terminal's owner for NO_COLOR when a line is printed" },
  { file: "packages/tray/src/io-thread.ts", calls: ["process.exit"], reason: "ends its own thread when the user's thread says so" },
  {
    file: "packages/bench/src/microbenchmark.ts",
    calls: ["process.env"],
    reason: "what it starts inherits the environment of the command that loads it",
  },
  { file: "packages/tray/src/worker-main.ts", calls: ["process.exit"], reason: "the main thread of a worker process ends the process" },
  { file: "packages/node-launcher/src/supervise-main.ts", calls: ["setInterval"], reason: "holds the process open; no time passes by it" },
];
