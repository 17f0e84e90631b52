// A function that keeps dying, and results that are right all the same: a task whose process ends is run again, up to maxRetries times.
//
//   npx tray run examples/flaky.ts
import * as tray from "tray";

const flaky = tray.remote(
  function flaky(x: number): { answer: number; attempts: number } {
    if (Math.random() < 0.4) process.exit(1); // as hard as a crash: nothing is cleaned up, nothing is thrown
    return { answer: x * x, attempts: tray.getRuntimeContext().attemptNumber + 1 };
  },
  { maxRetries: -1 },
);

const results = await tray.get(Array.from({ length: 20 }, (_, x) => flaky.remote(x)));
for (const [x, { answer, attempts }] of results.entries()) console.log(`${x}² = ${answer}${attempts > 1 ? `  (attempt ${attempts})` : ""}`);
const wrong = results.filter(({ answer }, x) => answer !== x * x).length;

// Without retries the crash is the result, and says what happened.
const doomed = tray.remote(() => process.exit(7), { maxRetries: 0, name: "doomed" });
try {
  await tray.get(doomed.remote());
  console.error("a dead worker gave a result");
  process.exitCode = 1;
} catch (error) {
  if (!(error instanceof tray.WorkerCrashedError)) throw error;
  console.log(`\nand without retries: ${error.message}`);
}
if (wrong > 0) process.exitCode = 1;
