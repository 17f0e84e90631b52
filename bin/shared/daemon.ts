// What every composition root of a daemon does alike: read the configuration, open log and endpoint, watch the process it belongs to, say where it serves,
// and end with an exit code that its starter understands.
import { createLogger, isTrayError, type Logger, messageOf, Metrics, systemClock, systemRandom } from "@tray/common";
import {
  type DaemonProcessConfig,
  daemonExitCodes,
  faultPlanVariable,
  type PeerKind,
  type ProcessAddress,
  processConfigVariable,
  trayVersion,
} from "@tray/protocol";
import { readTlsDir, type TlsIdentity } from "@tray/node-launcher";
import { Endpoint, FaultPlan, GrpcTransport } from "@tray/rpc";
import { appendFileSync, mkdirSync, readFileSync, renameSync, rmSync, writeFileSync } from "node:fs";
import { dirname } from "node:path";

export type CommonConfig = Pick<DaemonProcessConfig, "logLevel"> & {
  logFile?: string;
  tokenFile?: string;
  tlsDir?: string;
  watchPid?: number;
  faults?: string;
};

/** Reads the file named in TRAY_PROCESS_CONFIG; ends the process with `config` when there is none. */
export function readProcessConfig<T>(): T {
  const file = process.env[processConfigVariable];
  try {
    if (file === undefined) throw new Error(`${processConfigVariable} is not set; this program is started by tray itself`);
    return JSON.parse(readFileSync(file, "utf8")) as T;
  } catch (error) {
    process.stderr.write(`${messageOf(error)}\n`);
    process.exit(daemonExitCodes.config);
  }
}

export function openLogger(config: { logLevel: DaemonProcessConfig["logLevel"]; logFile: string }): Logger {
  mkdirSync(dirname(config.logFile), { recursive: true });
  return createLogger({
    level: config.logLevel,
    write: (line) => appendFileSync(config.logFile, line, { mode: 0o600 }),
    wallMs: () => systemClock.wallMs(),
  });
}

export const readTokenFile = (file: string | undefined): string | undefined => (file === undefined ? undefined : readFileSync(file, "utf8").trim());

export function openEndpoint(
  config: CommonConfig,
  kind: PeerKind,
  logger: Logger,
): { endpoint: Endpoint; incarnation: string; token: string | undefined; tls: TlsIdentity | undefined } {
  const tls = config.tlsDir === undefined ? undefined : readTlsDir(config.tlsDir, systemClock.wallMs());
  const plan = config.faults ?? process.env[faultPlanVariable];
  const incarnation = systemRandom.hex(8);
  const token = readTokenFile(config.tokenFile);
  const endpoint = new Endpoint({
    transport: new GrpcTransport({ tls }),
    clock: systemClock,
    random: systemRandom,
    logger,
    metrics: new Metrics(),
    self: { kind, id: systemRandom.hex(16), incarnation, version: trayVersion, nodeVersion: process.versions.node },
    token,
    faults: plan === undefined || plan === "" ? undefined : FaultPlan.parse(plan),
  });
  return { endpoint, incarnation, token, tls };
}

/** Calls `onGone` when the process that this one belongs to has ended. */
export function watchProcess(pid: number | undefined, onGone: () => void): void {
  if (pid === undefined) return;
  const timer = systemClock.every(500, () => {
    try {
      process.kill(pid, 0);
    } catch {
      timer.cancel();
      onGone();
    }
  });
}

/** Says where this process serves; a reader sees the whole record or none. */
export function writeAddressFile(file: string, address: string, more: Partial<ProcessAddress> = {}): void {
  const record: ProcessAddress = { pid: process.pid, address, startedAt: systemClock.wallMs(), ...more };
  writeFileSync(`${file}.new`, `${JSON.stringify(record)}\n`, { mode: 0o600 });
  renameSync(`${file}.new`, file);
}

export const removeAddressFile = (file: string): void => rmSync(file, { force: true });

/** The exit code for what stopped a daemon. */
export function exitCodeOf(error: unknown): number {
  if (isTrayError(error, "CONFIG") || isTrayError(error, "INVALID_ARGUMENT")) return daemonExitCodes.config;
  if (isTrayError(error, "AUTHENTICATION")) return daemonExitCodes.authentication;
  if (isTrayError(error, "CONNECTION")) return daemonExitCodes.unreachable;
  if (isTrayError(error, "CONFLICT") || isTrayError(error, "VERSION_MISMATCH")) return daemonExitCodes.conflict;
  return daemonExitCodes.internal;
}
