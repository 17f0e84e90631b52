// What a command may touch: given by bin/tray.ts, by tests with their own.
import type { Clock, Random } from "@tray/common";
import type { Environment } from "@tray/node-launcher";

export interface Output {
  readonly isTTY: boolean;
  readonly columns: number;
  write(text: string): void;
}

export interface CliContext {
  readonly env: Environment;
  readonly clock: Clock;
  readonly random: Random;
  readonly stdout: Output;
  readonly stderr: Output;
  readonly cwd: string;
  readonly homeDir: string;
  readonly pid: number;
  readonly execPath: string;
  /** packages/tray/dist/bin: the bundles. */
  readonly binDir: string;
  readonly nodeVersion: string;
  /** Aborts at SIGINT or SIGTERM; the reason is an Interrupted. */
  readonly interruption: AbortSignal;
}

/** A signal ended the wait; exit code 130 or 143. */
export class Interrupted extends Error {
  constructor(readonly exitCode: 130 | 143) {
    super(exitCode === 130 ? "interrupted" : "terminated");
  }
}
