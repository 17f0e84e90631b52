// Actor calls, after Ray's microbenchmark, and the creation of actors.
import { sleep } from "@tray/common";
import { type Bench, type Case, rateCase, timed } from "../case.js";

/** Enough for calls to reach several actors at once, on a machine of any size. */
const actorsFor = (cpus: number): number => Math.max(2, Math.floor(cpus / 2));
const settleMs = 1500;

/** An actor class made where it is used, so that it travels by value. */
function echoClass({ tray }: Bench) {
  class Echo {
    call(): undefined {
      return undefined;
    }
  }
  return tray.remote(Echo);
}

async function echoActors(bench: Bench, count: number) {
  const Echo = echoClass(bench);
  const actors = Array.from({ length: count }, () => Echo.remote());
  await Promise.all(actors.map((actor) => bench.tray.ready(actor)));
  return actors;
}

export const actorCases: readonly Case[] = [
  rateCase({ name: "1_1_actor_calls_sync", group: "actors", what: "calls of one actor, each awaited before the next" }, async (bench) => {
    const [actor] = await echoActors(bench, 1);
    return async () => {
      await bench.tray.get(actor!.call.remote());
      return 1;
    };
  }),
  rateCase({ name: "1_1_actor_calls_async", group: "actors", what: "1,000 calls of one actor together" }, async (bench) => {
    const [actor] = await echoActors(bench, 1);
    return async () => {
      await bench.tray.get(Array.from({ length: 1000 }, () => actor!.call.remote()));
      return 1000;
    };
  }),
  rateCase({ name: "1_1_actor_calls_concurrent", group: "actors", what: "the same with maxConcurrency 16" }, async (bench) => {
    const actor = echoClass(bench).options({ maxConcurrency: 16 }).remote();
    await bench.tray.ready(actor);
    return async () => {
      await bench.tray.get(Array.from({ length: 1000 }, () => actor.call.remote()));
      return 1000;
    };
  }),
  rateCase({ name: "1_n_actor_calls_async", group: "actors", what: "one client actor calls n actors, 1,000 times each" }, async (bench) => {
    const { tray } = bench;
    const servers = await echoActors(bench, actorsFor(bench.cpus));
    class Client {
      async batch(actors: typeof servers, n: number): Promise<number> {
        await tray.get(actors.flatMap((actor) => Array.from({ length: n }, () => actor.call.remote())));
        return n * actors.length;
      }
    }
    const client = tray.remote(Client).remote();
    return async () => await tray.get(client.batch.remote(servers, 1000));
  }),
  rateCase({ name: "n_n_actor_calls_async", group: "actors", what: "4 tasks call n actors round robin, 1,000 times each" }, async (bench) => {
    const { tray } = bench;
    const servers = await echoActors(bench, actorsFor(bench.cpus));
    const work = tray.remote(async (actors: typeof servers, n: number): Promise<number> => {
      await tray.get(Array.from({ length: n }, (_, i) => actors[i % actors.length]!.call.remote()));
      return n;
    });
    return async () => {
      const done = await tray.get(Array.from({ length: 4 }, () => work.remote(servers, 1000)));
      return done.reduce((a, b) => a + b, 0);
    };
  }),
  rateCase(
    {
      name: "actor_create_and_call",
      group: "actors",
      unit: "actors/s",
      what: "actors made, called once and killed, one after the other: faster than workers start",
    },
    (bench) => {
      const Echo = echoClass(bench);
      return async () => {
        const actor = Echo.remote();
        await bench.tray.get(actor.call.remote());
        await bench.tray.kill(actor);
        return 1;
      };
    },
  ),
  {
    name: "actor_create_and_call_warm",
    group: "actors",
    rows: [
      { name: "actor_create_and_call_warm", unit: "ms", better: "lower", what: "one actor made and called once, when the system has been idle" },
    ],
    systems: ["tray", "ray"],
    ownCluster: false,
    once: false,
    measure: async (bench) => {
      const { clock, tray, windows } = bench;
      const Echo = echoClass(bench);
      const samples: number[] = [];
      for (let i = 0; i <= windows.repetitions; i++) {
        await sleep(clock, settleMs);
        const actor = Echo.remote();
        const tookMs = await timed(clock, () => tray.get(actor.call.remote()));
        if (i > 0) samples.push(tookMs); // the first one exports the class
        await tray.kill(actor);
      }
      return { actor_create_and_call_warm: samples };
    },
  },
];
