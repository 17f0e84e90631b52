// More objects than the store holds: out to disk, and back.
import { mkdirSync } from "node:fs";
import { join } from "node:path";
import { type Bench, type Case, timed, turn } from "../case.js";
import { command, startHead } from "./cluster.js";

const mebibyte = 1 << 20;
const storeSize = "512MiB";
const objectBytes = 64 * mebibyte;
const objects = 32;
const gibibytes = (objects * objectBytes) / 2 ** 30;

export const spillCase: Case = {
  name: "spill",
  group: "objects",
  rows: [
    { name: "spill_2GiB", unit: "GiB/s", better: "higher", what: "2 GiB in arrays of 64 MiB put into a store of 512 MiB" },
    { name: "restore_2GiB", unit: "GiB/s", better: "higher", what: "the same read back, one after the other" },
  ],
  systems: ["tray", "ray"],
  ownCluster: true,
  once: true,
  measure: async (bench) => {
    const samples = { spill_2GiB: [] as number[], restore_2GiB: [] as number[] };
    const spillDir = join(bench.scratchDir, "spill");
    mkdirSync(spillDir);
    bench.defer(async () => void (await command(bench, "stop", "--force")));
    const { gcsAddress } = await startHead(bench, "--num-cpus", "1", "--object-store-memory", storeSize, "--spill-dir", spillDir);
    await bench.tray.init({ address: gcsAddress });
    bench.defer(() => bench.tray.shutdown());
    for (let i = 0; i < bench.windows.repetitions; i++) {
      const { outMs, backMs } = await outAndBack(bench);
      samples.spill_2GiB.push(gibibytes / (outMs / 1000));
      samples.restore_2GiB.push(gibibytes / (backMs / 1000));
    }
    return samples;
  },
};

async function outAndBack({ clock, tray }: Bench): Promise<{ outMs: number; backMs: number }> {
  const array = new Uint8Array(objectBytes).fill(7);
  const refs: Awaited<ReturnType<typeof tray.put<Uint8Array>>>[] = [];
  const outMs = await timed(clock, async () => {
    for (let i = 0; i < objects; i++) {
      array[objectBytes - 1] = i;
      refs.push(await tray.put(array));
    }
  });
  const backMs = await timed(clock, async () => {
    for (let i = 0; i < objects; i++) {
      const value = await tray.get(refs[i] as (typeof refs)[number]);
      if (value.length !== objectBytes || value[objectBytes - 1] !== i) throw new Error("another object came back");
      await turn(clock);
    }
  });
  for (const ref of refs) ref.release();
  return { outMs, backMs };
}
