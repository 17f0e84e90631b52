// Address files: who serves where. Written atomically by the process that serves, removed when it ends cleanly; a reader therefore checks that the pid lives
// and is still the process that wrote it.
import type { ProcessAddress } from "@tray/protocol";
import { readFileSync, renameSync, writeFileSync } from "node:fs";
import { isAlive, processConfigOf } from "./processes.js";
import { addressFileOf, configFileOf, type DaemonName, type NodeLayout } from "./layout.js";

/** Undefined when the file is missing or not (yet) an address record. */
export function readAddressFile(file: string): ProcessAddress | undefined {
  return readJson<ProcessAddress>(file, (v) => typeof v.pid === "number" && typeof v.address === "string");
}

/** The address of a daemon of this node that is alive now. */
export function liveDaemon(node: NodeLayout, daemon: DaemonName): ProcessAddress | undefined {
  const record = readAddressFile(addressFileOf(node, daemon));
  if (record === undefined || !isAlive(record.pid)) return undefined;
  return processConfigOf(record.pid) === configFileOf(node, daemon) ? record : undefined; // else: the pid was reused
}

/** A record that appears whole or not at all. */
export function writeJsonAtomic(file: string, value: unknown): void {
  const fresh = `${file}.new`;
  writeFileSync(fresh, `${JSON.stringify(value)}\n`, { mode: 0o600 });
  renameSync(fresh, file);
}

export function readJson<T extends object>(file: string, isValid: (value: Partial<T>) => boolean): T | undefined {
  try {
    const value = JSON.parse(readFileSync(file, "utf8")) as Partial<T> | null;
    return typeof value === "object" && value !== null && isValid(value) ? (value as T) : undefined;
  } catch {
    return undefined; // missing, or half written by something that does not write atomically
  }
}
