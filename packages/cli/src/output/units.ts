// Numbers as tables show them.

/** "3.1/16 GiB": both in the unit of the second. */
export function usedOfTotal(usedBytes: number, totalBytes: number): string {
  if (totalBytes <= 0) return "-";
  const units = ["B", "KiB", "MiB", "GiB", "TiB"];
  let unit = 0;
  let divisor = 1;
  while (totalBytes / divisor >= 1024 && unit < units.length - 1) {
    divisor *= 1024;
    unit++;
  }
  const short = (value: number): string => (value >= 100 || Number.isInteger(value) ? String(Math.round(value)) : value.toFixed(1));
  return `${(usedBytes / divisor).toFixed(1)}/${short(Math.round((totalBytes / divisor) * 10) / 10)} ${units[unit]}`;
}

/** Up to four digits after the point, none that say nothing. */
export const quantity = (value: number): string => String(Math.round(value * 10_000) / 10_000);

/** UTC, RFC 3339; null for "never". */
export const rfc3339 = (wallMs: number): string | null => (wallMs > 0 ? new Date(wallMs).toISOString() : null);

export const shortId = (id: string): string => id.slice(0, 8);
