// The cases that Piscina can run, by their names; prints one line "@bench {row: [samples]}". Started by @tray/bench (peers/piscina.ts).
const { createRequire } = require("node:module");
const { join } = require("node:path");
const { parseArgs } = require("node:util");

const names = ["modules", "case", "cpus", "warm-up-ms", "window-ms", "windows", "repetitions", "scratch-dir"];
const { values } = parseArgs({ options: Object.fromEntries(names.map((name) => [name, { type: "string" }])) });
const { Piscina } = createRequire(values.modules)("piscina");

async function during(durationMs, operation) {
  const begin = performance.now();
  let units = 0;
  let elapsedMs = 0;
  do {
    units += await operation();
    elapsedMs = performance.now() - begin;
  } while (elapsedMs < durationMs);
  return (units / elapsedMs) * 1000;
}

async function together(pool, count) {
  await Promise.all(Array.from({ length: count }, () => pool.run(undefined)));
  return count;
}

const operations = {
  single_client_tasks_sync: (pool) => together(pool, 1),
  single_client_tasks_async: (pool) => together(pool, 1000),
  single_client_tasks_async_10k: (pool) => together(pool, 10_000),
};

async function main() {
  const pool = new Piscina({ filename: join(__dirname, "noop.cjs") });
  const operation = () => operations[values.case](pool);
  await together(pool, 200);
  await during(Number(values["warm-up-ms"]), operation);
  const samples = [];
  for (let i = 0; i < Number(values.windows); i++) samples.push(await during(Number(values["window-ms"]), operation));
  await pool.destroy();
  console.log(`@bench ${JSON.stringify({ [values.case]: samples })}`);
}

void main();
