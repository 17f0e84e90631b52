// What tasks and actors write, on the driver's terminal: each line behind "(name pid=…, node=…)".

interface LogBatchJson {
  readonly nodeId?: string;
  readonly nodeName?: string;
  readonly pid?: number;
  readonly name?: string;
  readonly isError?: boolean;
  readonly lines?: readonly string[];
  /** A message of the cluster itself. */
  readonly notice?: string;
}

const colors = [36, 32, 35, 33, 34];

export function formatLogs(batch: LogBatchJson, color: boolean): string {
  if (batch.notice !== undefined) return `tray: ${batch.notice}\n`;
  const prefix = `(${batch.name || "worker"} pid=${batch.pid ?? 0}, node=${batch.nodeName || (batch.nodeId ?? "").slice(0, 8)})`;
  const shown = color ? `\u001b[${colors[(batch.pid ?? 0) % colors.length]}m${prefix}\u001b[0m` : prefix;
  return (batch.lines ?? []).map((line) => `${shown} ${line}\n`).join("");
}

export function printLogs(json: string): void {
  const batch = JSON.parse(json) as LogBatchJson;
  const stream = batch.isError === true || batch.notice !== undefined ? process.stderr : process.stdout;
  stream.write(formatLogs(batch, stream.isTTY === true && !("NO_COLOR" in process.env)));
}
