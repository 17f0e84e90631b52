// A TypeScript driver for `tray run`: types, decorator-free classes, enums, an imported module, arguments.
//   says: value
import * as tray from "tray";
import { describe, Scale, Trouble, Unit } from "./typed-part.js";

interface Reading {
  readonly unit: Unit;
  readonly value: number;
}

class Meter {
  constructor(private total: number = 0) {}
  add(reading: Reading): number {
    this.total += reading.value;
    return this.total;
  }
}

await tray.init();
const convert = tray.remote((reading: Reading): Reading => ({ unit: Unit.Kelvin, value: reading.value + 273 }));
const words = tray.remote((reading: Reading): string => describe(reading.unit, reading.value));
const ref = convert.remote({ unit: Unit.Celsius, value: 1 });
const meter = tray.remote(Meter).remote(26);
const total: number = await tray.get(meter.add.remote(ref));
const broken = tray.remote((): never => {
  throw new RangeError("typed trouble");
});
const error: unknown = await tray.get(broken.remote()).catch((e: unknown) => e);
const trouble = error instanceof tray.TaskError && error.cause instanceof RangeError ? error.cause.message : "";
// First: what is read once makes its module known.
const failing = tray.remote((): never => {
  throw new Trouble("of a class from there");
});
const failure: unknown = await tray.get(failing.remote()).catch((e: unknown) => e);
const where = failure instanceof tray.TaskError && failure.cause instanceof Trouble ? failure.cause.where : "lost its class";
const steeper = tray.remote((scale: Scale): Scale => new Scale(scale.factor * (scale instanceof Scale ? 2 : -1)));
const stored = await tray.put(new Scale(5));
const scales = await tray.get([steeper.remote(stored), steeper.remote(new Scale(1)), stored]);
const scaled = scales.map((scale) => (scale instanceof Scale ? scale.apply(1) : Number.NaN));
console.log(`value ${JSON.stringify([await tray.get(words.remote(ref)), total, process.argv.slice(2), trouble, scaled, where])}`);
