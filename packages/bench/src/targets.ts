// What tray aims at. A ratio is taken between medians of one run, so that a noisy machine is noisy for both sides.
import type { System } from "./case.js";

/** `row` is at least `factor` times as good as the other side's row of the same name (or `otherRow`). */
export interface RelativeTarget {
  readonly row: string;
  readonly against: System;
  readonly otherRow?: string;
  readonly factor: number;
}

/** `row` is at least, or at most, a figure in the row's unit: whichever is better for it. */
export interface AbsoluteTarget {
  readonly row: string;
  readonly limit: number;
}

export type Target = RelativeTarget | AbsoluteTarget;

/** What is aimed at in words, and all that must hold for it. */
export interface Aim {
  readonly title: string;
  readonly targets: readonly Target[];
}

const ray = (row: string, factor: number): RelativeTarget => ({ row, against: "ray", factor });
const piscina = (row: string, factor: number): RelativeTarget => ({ row, against: "piscina", factor });
const bare = (row: string, otherRow: string, factor: number): RelativeTarget => ({ row, against: "bare", otherRow, factor });
const own = (row: string, otherRow: string, factor: number): RelativeTarget => ({ row, against: "tray", otherRow, factor });
const limit = (row: string, figure: number): AbsoluteTarget => ({ row, limit: figure });

/** What separates "the same" from noise, for figures that should not depend on the number of tasks. */
const flat = 0.8;

export const aims: readonly Aim[] = [
  {
    title: "no-op tasks in flight, one driver",
    targets: [
      ray("single_client_tasks_async", 50),
      piscina("single_client_tasks_async", 1),
      ray("single_client_tasks_async_10k", 50),
      piscina("single_client_tasks_async_10k", 1),
    ],
  },
  {
    title: "no-op task, one at a time",
    targets: [ray("single_client_tasks_sync", 9), bare("single_client_tasks_sync", "unix_socket_ping_pong", 1 / 4)],
  },
  { title: "a driver that computes does not hold its tasks up", targets: [limit("busy_driver", 100)] },
  { title: "actor calls, one at a time", targets: [ray("1_1_actor_calls_sync", 4)] },
  { title: "actor calls in flight", targets: [ray("1_1_actor_calls_async", 25)] },
  { title: "actor creation, pool cold", targets: [ray("actor_create_and_call", 3)] },
  { title: "actor creation, pool warm", targets: [ray("actor_create_and_call_warm", 10)] },
  { title: "put small", targets: [ray("single_client_put_calls", 100)] },
  { title: "get small", targets: [ray("single_client_get_calls", 20)] },
  { title: "put 100 MiB, warm", targets: [ray("put_100MiB", 4), bare("put_100MiB", "memcpy_100MiB", 0.7)] },
  { title: "get 100 MiB", targets: [ray("get_100MiB", 1), limit("get_100MiB", 10_000)] },
  { title: "wait on 1,000 references", targets: [ray("wait_1k_ready_refs", 10), ray("wait_1k_ready_results", 10)] },
  { title: "spill", targets: [bare("spill_2GiB", "disk_write", 0.8)] },
  { title: "restore", targets: [bare("restore_2GiB", "memcpy_100MiB", 0.5)] },
  { title: "transfer of 10 MiB", targets: [ray("transfer_10MiB", 4)] },
  { title: "transfer of 100 MiB", targets: [ray("transfer_100MiB", 3)] },
  { title: "transfer of 500 MiB", targets: [ray("transfer_500MiB", 1.5), bare("transfer_500MiB", "socket_copy_100MiB", 0.8)] },
  { title: "an object to 8 nodes: a tree against one source", targets: [own("broadcast_256MB", "broadcast_256MB_one_source", 1)] },
  { title: "start a head", targets: [limit("start_head", 1000)] },
  { title: "connect a driver", targets: [limit("driver_connect", 150)] },
  { title: "status", targets: [limit("status", 250)] },
  { title: "stop", targets: [limit("stop", 1000)] },
  { title: "idle head with two idle workers", targets: [limit("idle_resident", 400)] },
  {
    title: "time per task does not grow with the queue",
    targets: ["queued_1000", "queued_10000", "queued_100000"].map((fewer) => own("queued_1000000_time_per_task", `${fewer}_time_per_task`, flat)),
  },
  {
    title: "memory per queued task",
    targets: [10_000, 100_000, 1_000_000].map((count) => limit(`queued_${count}_bytes_per_task`, 2048)),
  },
  {
    title: "the GCS does not notice the number of tasks",
    targets: [own("queued_1000000_gcs_cpu", "queued_100000_gcs_cpu", flat)],
  },
];
