// One object to many nodes of one machine: by a tree, and from one source to all.
import { type Bench, type Case, timed } from "../case.js";
import { command, startHead } from "./cluster.js";

const nodes = 8;
const bytes = 256e6;
const storeSize = "1GiB";
const gibibytes = (nodes * bytes) / 2 ** 30;

const broadcastCase = (name: string, fanout: number, how: string, systems: Case["systems"]): Case => ({
  name,
  group: "transfer",
  rows: [{ name, unit: "GiB/s", better: "higher", what: `an object of 256 MB to ${nodes} nodes at once, ${how}; bytes that arrive at all of them` }],
  systems,
  ownCluster: true,
  once: false,
  measure: async (bench) => ({ [name]: await broadcasts(bench, fanout) }),
});

async function broadcasts(bench: Bench, fanout: number): Promise<number[]> {
  const { clock, tray } = bench;
  bench.defer(async () => void (await command(bench, "stop", "--force")));
  const settings = JSON.stringify({ objectBroadcastFanout: fanout });
  const { gcsAddress } = await startHead(bench, "--num-cpus", "1", "--object-store-memory", storeSize, "--system-config", settings);
  for (let i = 0; i < nodes; i++) {
    const own = ["--num-cpus", "1", "--object-store-memory", storeSize, "--resources", JSON.stringify({ [`node${i}`]: 1 }), "--node-ip", "127.0.0.1"];
    await command(bench, "start", "--address", gcsAddress, ...own);
  }
  await tray.init({ address: gcsAddress });
  bench.defer(() => tray.shutdown());
  class Receiver {
    last(received: Uint8Array): number {
      return received[received.length - 1] as number;
    }
  }
  const Remote = tray.remote(Receiver);
  const receivers = Array.from({ length: nodes }, (_, i) => Remote.options({ numCpus: 0, resources: { [`node${i}`]: 1 } }).remote());
  const array = new Uint8Array(bytes);
  const samples: number[] = [];
  const warmUps = 3;
  for (let i = 0; i < bench.windows.repetitions + warmUps; i++) {
    array[bytes - 1] = i;
    const ref = await tray.put(array);
    if (i === 0) await tray.get(receivers.map((receiver) => receiver.last.remote(new Uint8Array(1))));
    const tookMs = await timed(clock, async () => {
      const last = await tray.get(receivers.map((receiver) => receiver.last.remote(ref)));
      if (last.some((value) => value !== i)) throw new Error("another object arrived");
    });
    if (i >= warmUps) samples.push(gibibytes / (tookMs / 1000));
    ref.release();
  }
  return samples;
}

export const broadcastCases: readonly Case[] = [
  broadcastCase("broadcast_256MB", 2, "passed on by those who receive it", ["tray", "ray"]),
  broadcastCase("broadcast_256MB_one_source", 0, "sent to each by its source", ["tray"]),
];
