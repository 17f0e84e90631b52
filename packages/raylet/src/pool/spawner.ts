// Ports to processes, so that the same raylet runs over real ones and simulated ones.

export interface ProcessExit {
  /** `null` when a signal ended it, or when it never ran. */
  readonly code: number | null;
  /** "SIGKILL", … or empty. */
  readonly signal: string;
  readonly stderrTail: readonly string[];
  /** Why it never ran; empty when it did. */
  readonly failure: string;
}

/** One process and everything that it starts (its process group). */
export interface SpawnedProcess {
  /** 0 when it could not be started. */
  readonly pid: number;
  /** Settles once, when the process is gone and its output has been read. Never rejects. */
  readonly exited: Promise<ProcessExit>;
  /** Ignored after the end. */
  kill(signal: "SIGTERM" | "SIGKILL"): void;
}

export interface WorkerLaunch {
  readonly workerId: string;
  readonly startToken: string;
  readonly envHash: string;
  /** Canonical JSON of the runtime environment; empty = none. */
  readonly envJson: string;
  /** Host:port of this raylet, for the worker to dial. */
  readonly rayletAddress: string;
  /** Whole lines of its output, without line ends. */
  readonly onLines: (isError: boolean, lines: readonly string[]) => void;
}

/** Starts worker processes. Never throws: what goes wrong is an exit. */
export interface WorkerSpawner {
  spawn(launch: WorkerLaunch): SpawnedProcess;
}

/** Starts job supervisors. */
export interface SupervisorSpawner {
  spawn(launch: { submissionId: string; jobJson: string }): SpawnedProcess;
}
