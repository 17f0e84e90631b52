// Results of many tasks, for which a process keeps little of what would make them again. Argument: a file whose appearance says that their node is dead.
//   says: made, oldest {…}, chain {…} (errors), latest {first byte, runs}
import { existsSync } from "node:fs";
import * as tray from "tray";
import { delay, rejection, say } from "./checks.mjs";

const [lost] = process.argv.slice(2);
await tray.init();
const far = { numCpus: 0, resources: { far: 0.001 } };
const make = tray.remote(function make(n) {
  return new Uint8Array(150_000).fill(n);
}, far);
const inc = tray.remote(function inc(value) {
  return value.map((x) => x + 1);
}, far);
const first = tray.remote((value) => value[0], far);

const oldest = make.remote(1);
await tray.wait([oldest], { fetchLocal: false });
let chain = make.remote(0);
for (let i = 0; i < 100; i++) {
  const next = inc.remote(chain);
  chain.release();
  chain = next;
}
await tray.wait([chain], { fetchLocal: false });
const latest = make.remote(3);
await tray.wait([latest], { fetchLocal: false });
say("made", true);
while (!existsSync(lost)) await delay(10);
const report = async (promise) => {
  const error = await rejection(promise);
  const { code, message, hint, details } = error;
  return { isLost: error instanceof tray.ObjectReconstructionFailedError, code, message, hint, details };
};
say("oldest", await report(tray.get(oldest)));
say("chain", await report(tray.get(first.remote(chain))));
say("latest", await tray.get(first.remote(latest)));
await tray.shutdown();
