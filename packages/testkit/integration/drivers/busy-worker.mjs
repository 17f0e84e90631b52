// A worker that computes: its next task's argument comes meanwhile, and others get what it owns without waiting for it.
//   says: computing {}, then (in any order) answered {ms} and ended {}
import * as tray from "tray";
import { say } from "./checks.mjs";

await tray.init();
const { nodes } = { nodes: await tray.nodes() };
const far = nodes.find((n) => !n.isHead).nodeId;

class Owner {
  async make() {
    return { small: await tray.put({ text: "small" }), large: await tray.put(new Uint8Array(1 << 20).fill(7)) };
  }
  compute(ms) {
    const startedMs = performance.now();
    while (performance.now() - startedMs < ms);
    return "computed";
  }
}
const owner = tray.remote(Owner, { numCpus: 0, schedulingStrategy: { nodeId: far, soft: false } }).remote();
const made = await tray.get(owner.make.remote());
const computing = owner.compute.remote(2_000);
const startedMs = performance.now();
const small = await tray.get(made.small);
const large = await tray.get(made.large);
const answeredMs = performance.now() - startedMs;
const [over] = await tray.wait([computing], { timeout: 0 });
say("answered", { ms: Math.round(answeredMs), small: small.text, large: large[large.length - 1], computing: over.length === 0 });
await tray.kill(owner);

const compute = tray.remote(
  (ms) => {
    const begunMs = performance.now();
    while (performance.now() - begunMs < ms);
    return "computed";
  },
  { schedulingStrategy: { nodeId: far, soft: false } },
);
const last = tray.remote((bytes) => bytes[bytes.length - 1], { schedulingStrategy: { nodeId: far, soft: false } });
const bytes = await tray.put(new Uint8Array(48 << 20).fill(9));
const first = compute.remote(3_000);
const next = last.remote(bytes);
say("computing", { far });
await tray.get(first);
say("ended", {});
say("next", { value: await tray.get(next) });
