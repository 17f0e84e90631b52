// The results of a run as one record: what --json writes and --from reads.
import type { System } from "./case.js";
import type { Failure } from "./comparison.js";

export interface Results {
  /** UTC, YYYY-MM-DD. */
  readonly date: string;
  readonly machine: {
    readonly cores: number;
    readonly cpu: string;
    readonly kernel: string;
    readonly memoryGibibytes: number;
    /** Processes that ran or wanted to, on average over the minute before the run: what else the machine was doing. */
    readonly load?: number;
  };
  readonly node: string;
  readonly tray: string;
  readonly cpus: number;
  readonly method: string;
  readonly peers: readonly { readonly system: System; readonly title: string; readonly detail: string }[];
  readonly samples: Partial<Record<System, Record<string, number[]>>>;
  readonly failures: readonly Failure[];
}
