// One value is held by its reader while several times the store goes past it. Arguments: a file whose appearance makes it let go, one that ends it.
//   says: held {held, others}, intact, gone
import { existsSync } from "node:fs";
import * as tray from "tray";
import { delay, say } from "./checks.mjs";

const [letGo, end] = process.argv.slice(2);
await tray.init();
const held = await tray.put(new Uint8Array(5 << 20).fill(77));
const reader = { view: undefined };
await (async () => {
  reader.view = await tray.get(held);
})();
const others = [];
for (let i = 0; i < 25; i++) others.push(await tray.put(new Uint8Array(5 << 20).fill(i)));
say("held", { held: held.hex, others: others.map((ref) => ref.hex) });
while (!existsSync(letGo)) await delay(10);
say("intact", (() => reader.view.every((byte) => byte === 77))());
// The reference remembers where its value is until somebody else's need for room makes it forget: others are held until there is no room beside it.
reader.view = undefined;
reader.others = [];
await (async () => {
  for (const ref of others.slice(-5)) reader.others.push(await tray.get(ref));
})();
for (let i = 0; i < 10; i++) others.push(await tray.put(new Uint8Array(5 << 20).fill(i)));
say("gone", true);
while (!existsSync(end)) await delay(10);
if ((await tray.get(held))[5] !== 77) throw new Error("wrong bytes");
await tray.shutdown();
