// RotatingFile: an append-only log file that is made at the first write and moved aside when it has grown large. One older generation is kept.
import { createWriteStream, type WriteStream } from "node:fs";
import { rename } from "node:fs/promises";

export class RotatingFile {
  private stream: WriteStream | undefined;
  private bytes = 0;
  private rotating: Promise<void> | undefined;

  constructor(
    private readonly path: string,
    private readonly bytesMax: number,
    private readonly onError: (error: Error) => void,
  ) {}

  /** False: wait for `drained` before writing more. */
  write(chunk: Uint8Array): boolean {
    this.stream ??= this.open();
    this.bytes += chunk.byteLength;
    return this.stream.write(chunk) && this.bytes < this.bytesMax;
  }

  /** Resolves when there is room again; rotates on the way when the file is full. */
  async drained(): Promise<void> {
    if (this.bytes >= this.bytesMax) {
      this.rotating ??= this.rotate().finally(() => (this.rotating = undefined));
      await this.rotating;
    } else if (this.stream?.writableNeedDrain) {
      await new Promise<void>((resolve) => {
        this.stream?.once("drain", resolve);
        this.stream?.once("close", resolve);
      });
    }
  }

  async end(): Promise<void> {
    await this.rotating;
    await ended(this.stream);
    this.stream = undefined;
  }

  private open(): WriteStream {
    const stream = createWriteStream(this.path, { flags: "a", mode: 0o600 });
    stream.on("error", this.onError); // a full disk must not end the node: output is lost, which is said once per file
    return stream;
  }

  private async rotate(): Promise<void> {
    const { stream } = this;
    this.stream = undefined;
    this.bytes = 0;
    await ended(stream);
    await rename(this.path, `${this.path}.1`).catch(this.onError);
  }
}

function ended(stream: WriteStream | undefined): Promise<void> {
  if (stream === undefined || stream.destroyed) return Promise.resolve();
  return new Promise((resolve) => {
    stream.once("close", resolve);
    stream.end();
  });
}
