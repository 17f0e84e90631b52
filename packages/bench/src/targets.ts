// What tray aims at, by row. A ratio is taken between medians of one run, so that a noisy machine is noisy for both sides.

/** `row` is at least `factor` times as good as the other side's row of the same name (or `otherRow`). */
export interface RelativeTarget {
  readonly row: string;
  readonly against: "ray" | "piscina" | "bare" | "tray";
  readonly otherRow?: string;
  readonly factor: number;
}

/** `row` is at least, or at most, a figure in the row's unit: whichever is better for it. */
export interface AbsoluteTarget {
  readonly row: string;
  readonly limit: number;
}

const ray = (row: string, factor: number): RelativeTarget => ({ row, against: "ray", factor });
const bare = (row: string, otherRow: string, factor: number): RelativeTarget => ({ row, against: "bare", otherRow, factor });

export const relativeTargets: readonly RelativeTarget[] = [
  ray("single_client_tasks_sync", 9),
  bare("single_client_tasks_sync", "unix_socket_ping_pong", 1 / 4),
  ray("single_client_tasks_async", 50),
  { row: "single_client_tasks_async", against: "piscina", factor: 1 },
  ray("single_client_tasks_async_10k", 50),
  { row: "single_client_tasks_async_10k", against: "piscina", factor: 1 },
  ray("1_1_actor_calls_sync", 4),
  ray("1_1_actor_calls_async", 25),
  ray("actor_create_and_call", 3),
  ray("actor_create_and_call_warm", 10),
  ray("single_client_put_calls", 100),
  ray("single_client_get_calls", 20),
  ray("put_100MiB", 4),
  bare("put_100MiB", "memcpy_100MiB", 0.7),
  ray("get_100MiB", 1),
  ray("wait_1k_ready_refs", 10),
  ray("transfer_10MiB", 4),
  ray("transfer_100MiB", 3),
  ray("transfer_500MiB", 1.5),
  bare("transfer_500MiB", "socket_copy_100MiB", 0.8),
  // Flat from a thousand to a million queued tasks.
  { row: "queued_1000000_time_per_task", against: "tray", otherRow: "queued_10000_time_per_task", factor: 0.8 },
];

export const absoluteTargets: readonly AbsoluteTarget[] = [
  { row: "get_100MiB", limit: 10_000 },
  { row: "start_head", limit: 1000 },
  { row: "driver_connect", limit: 150 },
  { row: "status", limit: 250 },
  { row: "stop", limit: 1000 },
  { row: "idle_resident", limit: 400 },
  { row: "busy_driver", limit: 100 },
  { row: "queued_10000_bytes_per_task", limit: 2048 },
  { row: "queued_100000_bytes_per_task", limit: 2048 },
  { row: "queued_1000000_bytes_per_task", limit: 2048 },
];
