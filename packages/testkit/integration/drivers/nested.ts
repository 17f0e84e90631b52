// A TypeScript driver without `await` at its top level, which the loader makes CommonJS of: `tray` itself is used inside of tasks, at any depth of scopes.
//   says: value, stack
import * as tray from "tray";
import { limited, other } from "./nested-part.js";

const double = tray.remote((x: number): number => x * 2);

async function main(): Promise<void> {
  const values: number[] = [];
  for (let i = 0; i < 2; i++) {
    const outer = tray.remote(async (): Promise<number> => (await tray.get(double.remote(i))) + 1);
    values.push(await tray.get(outer.remote()));
  }
  console.log(`value ${JSON.stringify(values)}`);
  await tray.get(tray.remote((x: number): number => other(x).value).remote(1));
  const error: unknown = await tray.get(tray.remote(limited(1)).remote(2)).catch((e: unknown) => e);
  console.log(`stack ${JSON.stringify(error instanceof Error && error.cause instanceof Error ? error.cause.stack : "")}`);
  await tray.shutdown();
}
void main();
