// A task that fits no node of the cluster; it waits until the file named in the argument appears.
//   says: waiting {}, timedOut {code}, cancelled {code}
import { existsSync } from "node:fs";
import * as tray from "tray";
import { delay, rejection, say } from "./checks.mjs";

const [gate] = process.argv.slice(2);
await tray.init();
const ref = tray.remote(() => 1, { numCpus: 4, resources: { tpu: 1 } }).remote();
say("timedOut", { code: (await rejection(tray.get(ref, { timeout: 200 }))).code });
say("waiting", {});
while (!existsSync(gate)) await delay(10);
await tray.cancel(ref);
say("cancelled", { code: (await rejection(tray.get(ref))).code });
