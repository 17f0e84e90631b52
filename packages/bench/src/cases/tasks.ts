// Tasks, after Ray's microbenchmark (ray/_private/ray_perf.py).
import { type Case, rateCase } from "../case.js";

export const taskCases: readonly Case[] = [
  rateCase(
    { name: "single_client_tasks_sync", group: "tasks", what: "no-op tasks, each awaited before the next", peers: ["ray", "piscina"] },
    ({ tray }) => {
      const noop = tray.remote(() => undefined);
      return async () => {
        await tray.get(noop.remote());
        return 1;
      };
    },
  ),
  rateCase(
    { name: "single_client_tasks_sync_blocking", group: "tasks", what: "the same with getSync, which blocks the thread", peers: [] },
    ({ tray, clock }) => {
      const noop = tray.remote(() => undefined);
      return async () => {
        for (let i = 0; i < 50; i++) tray.getSync(noop.remote());
        await new Promise<void>((resolve) => clock.endOfTurn(resolve));
        return 50;
      };
    },
  ),
  rateCase(
    { name: "single_client_tasks_async", group: "tasks", what: "no-op tasks, 1,000 submitted and awaited together", peers: ["ray", "piscina"] },
    ({ tray }) => {
      const noop = tray.remote(() => undefined);
      return async () => {
        await tray.get(Array.from({ length: 1000 }, () => noop.remote()));
        return 1000;
      };
    },
  ),
  rateCase({ name: "single_client_tasks_async_10k", group: "tasks", what: "the same, 10,000 together", peers: ["ray", "piscina"] }, ({ tray }) => {
    const noop = tray.remote(() => undefined);
    return async () => {
      await tray.get(Array.from({ length: 10_000 }, () => noop.remote()));
      return 10_000;
    };
  }),
  rateCase(
    { name: "single_client_tasks_and_get_batch", group: "tasks", unit: "batches/s", what: "batches of 1,000 tasks whose results are fetched" },
    ({ tray }) => {
      const small = tray.remote(() => "ok");
      return async () => {
        await tray.get(Array.from({ length: 1000 }, () => small.remote()));
        return 1;
      };
    },
  ),
  rateCase(
    { name: "multi_client_tasks_async", group: "tasks", what: "4 actors, each submitting 2,500 tasks and awaiting them" },
    async ({ tray }) => {
      const noop = tray.remote(() => undefined);
      class Client {
        async batch(n: number): Promise<number> {
          await tray.get(Array.from({ length: n }, () => noop.remote()));
          return n;
        }
      }
      const clients = Array.from({ length: 4 }, () => tray.remote(Client).remote());
      await Promise.all(clients.map((client) => tray.ready(client)));
      return async () => sum(await tray.get(clients.map((client) => client.batch.remote(2500))));
    },
  ),
];

const sum = (values: readonly number[]): number => values.reduce((a, b) => a + b, 0);
