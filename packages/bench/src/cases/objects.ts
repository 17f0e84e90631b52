// Objects: small ones in their owner's process, large ones in shared memory.
import { type Bench, type Case, rateCase, turn } from "../case.js";
import type { Tray } from "../library.js";

const mebibyte = 1 << 20;
const batch = 1000;

export const objectCases: readonly Case[] = [
  rateCase({ name: "single_client_put_calls", group: "objects", what: "put(0), one after the other" }, ({ tray, clock }) => async () => {
    for (let i = 0; i < batch; i++) await tray.put(0);
    await turn(clock);
    return batch;
  }),
  rateCase({ name: "single_client_get_calls", group: "objects", what: "get of one small object" }, async ({ tray, clock }) => {
    const ref = await tray.put(0);
    return async () => {
      for (let i = 0; i < batch; i++) await tray.get(ref);
      await turn(clock);
      return batch;
    };
  }),
  rateCase({ name: "single_client_put_gigabytes", group: "objects", unit: "GB/s", what: "an array of 800 MB put and released" }, ({ tray }) => {
    const array = new Float64Array(100_000_000).fill(1);
    return async () => {
      const ref = await tray.put(array);
      ref.release();
      return array.byteLength / 1e9;
    };
  }),
  rateCase({ name: "put_100MiB", group: "objects", unit: "GiB/s", what: "an array of 100 MiB put and released" }, ({ tray }) => {
    const array = new Uint8Array(100 * mebibyte).fill(7);
    return async () => {
      const ref = await tray.put(array);
      ref.release();
      return array.byteLength / (1024 * mebibyte);
    };
  }),
  rateCase({ name: "get_100MiB", group: "objects", what: "get of one array of 100 MiB on its node, without a copy" }, async ({ tray, clock }) => {
    const ref = await tray.put(new Uint8Array(100 * mebibyte).fill(7));
    return async () => {
      for (let i = 0; i < 10; i++) await tray.get(ref);
      await turn(clock);
      return 10;
    };
  }),
  rateCase(
    {
      name: "single_client_wait_1k_refs",
      group: "objects",
      unit: "rounds/s",
      what: "1,000 tasks submitted and waited for one by one, wait(rest) each time",
    },
    ({ tray }) => {
      const small = tray.remote(() => "ok");
      return async () => {
        let rest = Array.from({ length: 1000 }, () => small.remote());
        while (rest.length > 0) [, rest] = await tray.wait(rest);
        return 1;
      };
    },
  ),
  rateCase({ name: "wait_1k_ready_refs", group: "objects", what: "wait for all of 1,000 references made by put" }, async (bench) => {
    const { tray } = bench;
    return waitForAll(bench, await Promise.all(Array.from({ length: 1000 }, () => tray.put(0))));
  }),
  rateCase(
    { name: "wait_1k_ready_results", group: "objects", what: "wait for all of 1,000 references to results of tasks, which were read before" },
    async (bench) => {
      const { tray } = bench;
      const small = tray.remote(() => "ok");
      const refs = Array.from({ length: 1000 }, () => small.remote());
      await tray.get(refs);
      return waitForAll(bench, refs);
    },
  ),
];

const waitForAll =
  ({ tray, clock }: Bench, refs: Parameters<Tray["wait"]>[0]) =>
  async (): Promise<number> => {
    await tray.wait(refs, { numReturns: refs.length });
    await turn(clock);
    return 1;
  };
