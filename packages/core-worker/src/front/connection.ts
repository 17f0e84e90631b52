/** Where this process is, as the core thread learned when it connected. */
export interface Connection {
  /** Empty in a worker before its first task. */
  readonly jobId: string;
  readonly namespace: string;
  readonly workerId: string;
  readonly nodeId: string;
  /** Own address, for references that leave. */
  readonly endpoint: string;
  readonly gcsAddress: string;
  readonly sessionDir: string;
  /** Flat values up to this many bytes travel inline. */
  readonly maxInlineBytes: number;
}
