// Flags that every command has, and what follows from them.
import { parseDuration } from "@tray/common";
import { defaultDataDir, findLocalCluster, type LocalCluster, readToken, secretsFor, tlsDirOf, tokenSource } from "@tray/node-launcher";
import type { CliContext } from "./context.js";
import { CliFailure, exitCodes } from "./failure.js";
import { type Format, parseFormat } from "./output/format.js";

export interface GlobalFlags {
  address?: string;
  tokenFile?: string;
  tlsDir?: string;
  timeout?: string;
  output?: string;
  json?: boolean;
  quiet?: boolean;
  verbose?: boolean;
  dataDir?: string;
}

/** A command's surroundings: the process, and the global flags made sense of. */
export interface Session {
  readonly context: CliContext;
  readonly flags: GlobalFlags;
  readonly format: Format;
  /** Milliseconds; undefined = wait for ever. */
  readonly timeoutMs: number | undefined;
  readonly dataDir: string;
  /** A line on stderr, unless -q. */
  say(text: string): void;
}

export function openSession(context: CliContext, flags: GlobalFlags): Session {
  const { quiet } = flags;
  return {
    context,
    flags,
    format: flags.json === true ? "json" : parseFormat(flags.output ?? "table"),
    timeoutMs:
      flags.timeout === undefined ? undefined : parseDuration(/^\d+(\.\d+)?$/.test(flags.timeout) ? `${flags.timeout}s` : flags.timeout, "--timeout"),
    dataDir: flags.dataDir ?? (context.env["TRAY_DATA_DIR"] || defaultDataDir),
    say: (text) => (quiet === true ? undefined : context.stderr.write(`${text}\n`)),
  };
}

/** Where a command's cluster is. */
export interface Target {
  /** The GCS as host:port, or the dashboard as http(s)://…. */
  readonly address: string;
  readonly token: string | undefined;
  /** Undefined: no TLS. */
  readonly tlsDir: string | undefined;
  /** Set when it was found on this machine. */
  readonly local: LocalCluster | undefined;
}

/** --address > TRAY_ADDRESS > a cluster that runs on this machine. */
export function findTarget({ context, flags, dataDir }: Session): Target {
  const given = flags.address ?? (context.env["TRAY_ADDRESS"] || undefined);
  const local = given === undefined || given === "auto" ? findLocalCluster(dataDir) : undefined;
  const address = given === undefined || given === "auto" ? local?.gcsAddress : given;
  if (address === undefined) {
    throw new CliFailure(
      exitCodes.unreachable,
      "CONNECTION",
      `no cluster runs on this machine (looked in ${dataDir})`,
      "start one with: tray start --head          or name one with: --address HOST:PORT",
    );
  }
  if (!isHttp(address)) checkAddress(address);
  const known = local ?? secretsFor(dataDir, address);
  const token = readToken(
    tokenSource({ env: context.env, homeDir: context.homeDir, tokenFile: flags.tokenFile, clusterTokenFile: known?.tokenFile }),
  );
  const tlsDir = tlsDirOf({ env: context.env, tlsDir: flags.tlsDir, cluster: known });
  return { address, token, tlsDir, local };
}

export const isHttp = (address: string): boolean => /^https?:\/\//.test(address);

export function checkAddress(address: string): void {
  const port = Number(/:(\d+)$/.exec(address)?.[1] ?? Number.NaN);
  if (!(port > 0 && port < 65_536) || address.startsWith(":")) {
    throw new CliFailure(
      exitCodes.usage,
      "INVALID_ARGUMENT",
      `'${address}' is not an address`,
      "write HOST:PORT of the GCS, for example 10.0.0.5:7379, or the dashboard's http:// address",
    );
  }
}
