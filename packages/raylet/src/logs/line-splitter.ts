// LineSplitter: bytes of a stream to whole lines. A line that is too long is cut; what is left at the end counts as a line.
import { StringDecoder } from "node:string_decoder";

export class LineSplitter {
  private readonly decoder = new StringDecoder("utf8");
  private rest = "";

  constructor(private readonly lineMax: number) {}

  /** The lines that `chunk` completes. */
  push(chunk: Uint8Array): string[] {
    return this.split(this.decoder.write(Buffer.from(chunk.buffer, chunk.byteOffset, chunk.byteLength)));
  }

  /** What came after the last line end. */
  end(): string[] {
    const lines = this.split(this.decoder.end());
    if (this.rest !== "") lines.push(this.rest);
    this.rest = "";
    return lines;
  }

  private split(text: string): string[] {
    const lines = (this.rest + text).split("\n");
    this.rest = lines.pop() as string;
    const out: string[] = [];
    for (const line of lines) this.cut(line.endsWith("\r") ? line.slice(0, -1) : line, out);
    while (this.rest.length > this.lineMax) {
      out.push(this.rest.slice(0, this.lineMax));
      this.rest = this.rest.slice(this.lineMax);
    }
    return out;
  }

  private cut(line: string, out: string[]): void {
    if (line.length <= this.lineMax) {
      out.push(line);
      return;
    }
    for (let at = 0; at < line.length; at += this.lineMax) out.push(line.slice(at, at + this.lineMax));
  }
}
