/** A bar on stderr; off a terminal, nothing. */
export function showProgress(done: number, total: number, note = ""): void {
  if (!process.stderr.isTTY) return;
  const filled = Math.round((done / total) * 30);
  process.stderr.write(`\r${"█".repeat(filled)}${"░".repeat(30 - filled)} ${done}/${total} ${note}${done === total ? "\n" : ""}`);
}
