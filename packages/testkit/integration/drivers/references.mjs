// Holds objects in every way there is, then lets go of all. Arguments: two files, whose appearance makes it let go, and end.
//   says: held {name: object id}, released {}
import { existsSync } from "node:fs";
import * as tray from "tray";
import { delay, say } from "./checks.mjs";

const [letGo, end] = process.argv.slice(2);
const appeared = async (file) => {
  while (!existsSync(file)) await delay(20);
};

await tray.init();
const far = (await tray.nodes()).find((n) => !n.isHead).nodeId;

class Keeper {
  keep(box) {
    this.box = box;
  }
  drop() {
    this.box[0].release();
  }
}
const keeper = tray.remote(Keeper, { numCpus: 0, schedulingStrategy: { nodeId: far, soft: false } }).remote();
const makeLarge = tray.remote(function makeLarge() {
  return new Uint8Array(3 << 20);
});

const inner = await tray.put(new Uint8Array(2 << 20));
const refs = {
  put: await tray.put(new Uint8Array(5 << 20)),
  small: await tray.put("small"),
  outer: await tray.put({ inner }),
  result: makeLarge.remote(),
  borrowed: await tray.put(new Uint8Array(1 << 20)),
};
await tray.wait([refs.result], { fetchLocal: false });
await tray.get(keeper.keep.remote([refs.borrowed]));
const ids = Object.fromEntries(Object.entries({ ...refs, inner }).map(([name, ref]) => [name, ref.hex]));
inner.release();
say("held", ids);

await appeared(letGo);
for (const ref of Object.values(refs)) ref.release();
await tray.get(keeper.drop.remote());
say("released", {});
await appeared(end);
await tray.shutdown();
