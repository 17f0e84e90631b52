// Durations and sizes as users write them.
import { TrayError } from "./errors.js";

/** Milliseconds as a number, or a string with a unit: "250ms", "30s", "5m", "2h", "1d". */
export type Duration = number | string;
/** Bytes as a number, or a string with a unit: "64MiB", "2GB", "512k". */
export type Size = number | string;

const durationUnits: Record<string, number> = { ms: 1, s: 1000, m: 60_000, min: 60_000, h: 3_600_000, d: 86_400_000 };
const sizeUnits: Record<string, number> = {
  "": 1,
  b: 1,
  k: 1e3,
  kb: 1e3,
  m: 1e6,
  mb: 1e6,
  g: 1e9,
  gb: 1e9,
  t: 1e12,
  tb: 1e12,
  ki: 2 ** 10,
  kib: 2 ** 10,
  mi: 2 ** 20,
  mib: 2 ** 20,
  gi: 2 ** 30,
  gib: 2 ** 30,
  ti: 2 ** 40,
  tib: 2 ** 40,
};

function unitOf(units: Record<string, number>, name: string | undefined): number | undefined {
  const unit = name?.toLowerCase();
  return unit !== undefined && Object.hasOwn(units, unit) ? units[unit] : undefined; // "5constructor" has no unit
}

/** @returns milliseconds. @throws INVALID_ARGUMENT naming `what`. */
export function parseDuration(value: Duration, what = "duration"): number {
  if (typeof value === "number") {
    if (Number.isFinite(value) && value >= 0) return value;
  } else {
    const match = /^\s*(\d+(?:\.\d+)?)\s*([a-z]+)\s*$/i.exec(value);
    const unit = unitOf(durationUnits, match?.[2]);
    if (match?.[1] !== undefined && unit !== undefined) return Number(match[1]) * unit;
  }
  throw new TrayError("INVALID_ARGUMENT", `${what}: ${JSON.stringify(value)} is not a duration`, {
    hint: 'write milliseconds as a number, or a string such as "250ms", "30s", "5m", "2h"',
  });
}

/** @returns bytes, rounded down. @throws INVALID_ARGUMENT naming `what`. */
export function parseSize(value: Size, what = "size"): number {
  if (typeof value === "number") {
    if (Number.isFinite(value) && value >= 0) return Math.floor(value);
  } else {
    const match = /^\s*(\d+(?:\.\d+)?)\s*([a-z]*)\s*$/i.exec(value);
    const unit = unitOf(sizeUnits, match?.[2]);
    if (match?.[1] !== undefined && unit !== undefined) return Math.floor(Number(match[1]) * unit);
  }
  throw new TrayError("INVALID_ARGUMENT", `${what}: ${JSON.stringify(value)} is not a size`, {
    hint: 'write bytes as a number, or a string such as "512KiB", "64MiB", "2GB"',
  });
}

/** "1.5 GiB", "12 KiB", "7 B". */
export function formatSize(bytes: number): string {
  const units = ["B", "KiB", "MiB", "GiB", "TiB"];
  let value = bytes;
  let unit = 0;
  while (value >= 1024 && unit < units.length - 1) {
    value /= 1024;
    unit++;
  }
  return `${unit === 0 || value >= 100 ? Math.round(value) : value.toFixed(1)} ${units[unit]}`;
}

/** "250ms", "3.2s", "4m 10s", "2h 5m". */
export function formatDuration(ms: number): string {
  if (ms < 1000) return `${Math.round(ms)}ms`;
  if (ms < 60_000) return `${(ms / 1000).toFixed(ms < 10_000 ? 1 : 0)}s`;
  const minutes = Math.floor(ms / 60_000);
  if (minutes < 60) return `${minutes}m ${Math.floor((ms % 60_000) / 1000)}s`;
  return `${Math.floor(minutes / 60)}h ${minutes % 60}m`;
}
