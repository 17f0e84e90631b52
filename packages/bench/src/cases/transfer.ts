// Objects from one raylet's arena into another's, on one machine.
import { type Bench, type Case, timed } from "../case.js";
import { command, startHead } from "./cluster.js";

const mebibyte = 1 << 20;
const storeSize = "2GiB";

const transferCase = (size: number): Case => {
  const name = `transfer_${size}MiB`;
  return {
    name,
    group: "transfer",
    rows: [{ name, unit: "GiB/s", better: "higher", what: `get of an object of ${size} MiB that is in another node's memory` }],
    systems: ["tray", "ray"],
    ownCluster: true,
    once: false,
    // Small ones vary more, and cost less.
    measure: async (bench) => ({ [name]: await transfers(bench, size * mebibyte, bench.windows.repetitions * (size < 100 ? 5 : 1)) }),
  };
};

async function transfers(bench: Bench, bytes: number, repetitions: number): Promise<number[]> {
  const { clock, tray } = bench;
  bench.defer(async () => void (await command(bench, "stop", "--force")));
  const { gcsAddress } = await startHead(bench, "--num-cpus", "1", "--object-store-memory", storeSize);
  const far = ["--num-cpus", "1", "--object-store-memory", storeSize, "--resources", '{"far":1}', "--node-ip", "127.0.0.1"];
  await command(bench, "start", "--address", gcsAddress, ...far);
  await tray.init({ address: gcsAddress });
  bench.defer(() => tray.shutdown());
  const make = tray.remote((length: number, value: number) => new Uint8Array(length).fill(value), { numCpus: 0, resources: { far: 1 } });
  const samples: number[] = [];
  const warmUps = 3;
  for (let i = 0; i < repetitions + warmUps; i++) {
    const ref = make.remote(bytes, i);
    await tray.wait([ref], { fetchLocal: false });
    const tookMs = await timed(clock, async () => {
      const value = await tray.get(ref);
      if (value.length !== bytes || value[bytes - 1] !== i) throw new Error("another object arrived");
    });
    if (i >= warmUps) samples.push(bytes / (1024 * mebibyte) / (tookMs / 1000));
    ref.release();
  }
  return samples;
}

export const transferCases: readonly Case[] = [10, 100, 500].map(transferCase);
