// A TypeScript driver with `await` at its top level that ends with the error of a task: what a user then reads. Run where no package says "type": "module".
import * as tray from "tray";

interface Reading {
  readonly value: number;
}

function check(reading: Reading): number {
  // Types and comments are gone in what runs; the lines must not be.
  if (reading.value > 1) {
    throw new RangeError(`too much: ${reading.value}`); // line 11
  }
  return reading.value;
}

await tray.init();
const train = tray.remote(function train(reading: Reading): number {
  const doubled: number = reading.value * 2;

  return check({ value: doubled }); // line 20
});
if (process.argv[2] === "option") train.options({ numCpu: 1 } as object); // line 22
if (process.argv[2] === "argument") train.remote({ value: 1, callback: new WeakMap() } as Reading); // line 23
await tray.get(train.remote({ value: 1 })); // line 24
