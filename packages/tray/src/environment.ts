// The one place of the library that reads the process: environment, arguments, machine.
import { hostname } from "node:os";
import { basename } from "node:path";

/** A snapshot of what the library needs to know of its process. */
export interface ProcessFacts {
  readonly env: Readonly<Record<string, string | undefined>>;
  readonly pid: number;
  readonly hostname: string;
  readonly cwd: string;
  /** The driver's script; undefined in a REPL or with --eval. */
  readonly mainScript: string | undefined;
  readonly entrypoint: string;
  readonly execPath: string;
  readonly nodeVersion: string;
}

export function processFacts(): ProcessFacts {
  const mainScript = process.argv[1];
  return {
    env: { ...process.env },
    pid: process.pid,
    hostname: hostname(),
    cwd: process.cwd(),
    mainScript,
    entrypoint: [basename(process.execPath), ...process.execArgv, ...process.argv.slice(1)].join(" "),
    execPath: process.execPath,
    nodeVersion: process.versions.node,
  };
}
