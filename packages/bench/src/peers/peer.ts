// What a peer is to the runner: installed once into a cache directory, then asked for one case at a time.
import type { Peer, Samples, Windows } from "../case.js";
import type { Environment } from "../process.js";

export interface PeerHost {
  readonly env: Environment;
  /** Where peers are installed: outside the repository, kept between runs. */
  readonly cacheDir: string;
  /** packages/bench, with the peers' scripts. */
  readonly sourceDir: string;
  readonly signal: AbortSignal;
  readonly say: (line: string) => void;
}

export interface PeerRequest {
  readonly cpus: number;
  readonly windows: Windows;
  readonly scratchDir: string;
  /** Ends the measuring process. */
  readonly signal: AbortSignal;
}

export interface PeerSystem {
  readonly system: Peer;
  /** With its version, for column heads. */
  readonly title: string;
  readonly detail: string;
  measure(caseName: string, request: PeerRequest): Promise<Samples>;
}

/** The command line that every peer's script understands. */
export const caseArguments = (caseName: string, { cpus, windows, scratchDir }: PeerRequest): string[] => [
  "--case",
  caseName,
  "--cpus",
  String(cpus),
  "--warm-up-ms",
  String(windows.warmUpMs),
  "--window-ms",
  String(windows.windowMs),
  "--windows",
  String(windows.count),
  "--repetitions",
  String(windows.repetitions),
  "--scratch-dir",
  scratchDir,
];
