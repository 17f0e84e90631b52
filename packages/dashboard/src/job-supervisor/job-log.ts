// The job's log file: a preamble in Ray's form, then whatever the entrypoint prints.
import { closeSync, existsSync, mkdirSync, openSync, readSync, statSync, writeSync } from "node:fs";
import { dirname } from "node:path";

const tailLines = 10;
const tailCharsMax = 20_000;
const tailBytesMax = 256 * 1024;

export class JobLog {
  readonly fd: number;

  constructor(private readonly file: string) {
    mkdirSync(dirname(file), { recursive: true });
    this.fd = openSync(file, "a", 0o600);
  }

  write(text: string): void {
    writeSync(this.fd, text);
  }

  /** "2026-11-23 01:33:18,387<tab>INFO job-supervisor -- …" */
  info(wallMs: number, text: string): void {
    const time = new Date(wallMs).toISOString().slice(0, 23).replace("T", " ").replace(".", ",");
    this.write(`${time}\tINFO job-supervisor -- ${text}\n`);
  }

  /** Ray's sentence about an entrypoint that failed, with the last lines of the log. */
  failureMessage(exitCode: number): string {
    const text = this.tail();
    const start = `Job entrypoint command failed with exit code ${exitCode}`;
    return text === "" ? `${start}. No logs available.` : `${start}, last available logs (truncated to 20,000 chars):\n${text}`;
  }

  close(): void {
    closeSync(this.fd);
  }

  private tail(): string {
    if (!existsSync(this.file)) return "";
    const { size } = statSync(this.file);
    const from = Math.max(0, size - tailBytesMax);
    const buffer = Buffer.alloc(size - from);
    const fd = openSync(this.file, "r");
    try {
      readSync(fd, buffer, 0, buffer.length, from);
    } finally {
      closeSync(fd);
    }
    const lines = buffer.toString("utf8").split("\n");
    if (lines.at(-1) === "") lines.pop();
    return lines.slice(-tailLines).join("\n").slice(-tailCharsMax);
  }
}
