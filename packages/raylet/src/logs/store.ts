// LogStore: the log files of this node's session, for those who read them from afar.

export interface LogStore {
  /** Names within the logs directory, sorted. */
  list(): Promise<string[]>;
  /**
   * At most `maxBytes` from `offset` (negative: from the end).
   * @throws NOT_FOUND no such file. @throws INVALID_ARGUMENT a name that leads out of the directory.
   */
  read(file: string, offset: number, maxBytes: number): Promise<{ data: Uint8Array; offset: number; size: number }>;
}
