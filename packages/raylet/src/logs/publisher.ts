// LogPublisher: what workers print, to the drivers of their jobs. Batched, bounded, whole lines; the files have everything.
import type { Timer } from "@tray/common";
import type { Publication } from "@tray/protocol";
import { logFlushMs, logLinesPendingMax } from "../limits.js";
import type { RayletEnvironment } from "../node.js";

interface Pending {
  readonly jobId: string;
  readonly workerId: string;
  readonly pid: number;
  readonly name: string;
  readonly isError: boolean;
  lines: string[];
  dropped: number;
}

/** Publications in one message. */
const batchMax = 200;

export class LogPublisher {
  private pending: Pending[] = [];
  private lines = 0;
  private timer: Timer | undefined;

  constructor(
    private readonly env: RayletEnvironment,
    /** False: cannot be sent now (the GCS is away). */
    private readonly publish: (publications: Publication[]) => boolean,
  ) {}

  /** `jobId` empty: nobody listens yet (a worker that serves no job), so the file is enough. */
  add(from: { jobId: string; workerId: string; pid: number; name: string; isError: boolean }, lines: readonly string[]): void {
    if (from.jobId === "" || lines.length === 0) return;
    let last = this.pending.at(-1);
    if (last === undefined || last.workerId !== from.workerId || last.isError !== from.isError || last.name !== from.name) {
      last = { ...from, lines: [], dropped: 0 };
      this.pending.push(last);
    }
    const room = Math.max(0, logLinesPendingMax - this.lines);
    const taken = lines.slice(0, room);
    last.lines.push(...taken);
    last.dropped += lines.length - taken.length;
    this.lines += taken.length;
    this.timer ??= this.env.clock.after(logFlushMs, () => this.flush());
  }

  flush(): void {
    this.timer?.cancel();
    this.timer = undefined;
    if (this.pending.length === 0) return;
    const node = this.env.node;
    const publications = this.pending.map(
      ({ jobId, workerId, pid, name, isError, lines, dropped }): Publication => ({
        channel: `logs/${jobId}`,
        version: 0, // the GCS numbers them
        gap: false,
        body: {
          $case: "logs",
          value: {
            jobId,
            nodeId: node.nodeId,
            nodeName: node.name,
            workerId,
            pid,
            name,
            isError,
            lines: dropped === 0 ? lines : [...lines, `… ${dropped} more lines are in the worker's log file on this node`],
          },
        },
      }),
    );
    for (let at = 0; at < publications.length; at += batchMax) {
      if (!this.publish(publications.slice(at, at + batchMax))) {
        this.env.metrics.count("tray_raylet_log_batches_dropped_total", {}, publications.length - at);
        break;
      }
    }
    this.pending = [];
    this.lines = 0;
  }

  close(): void {
    this.flush();
  }
}
