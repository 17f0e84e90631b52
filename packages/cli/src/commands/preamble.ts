// The job log begins with two lines of tray's own. `tray submit` shows them as what they are, talk on stderr, so that its stdout is what the job printed.

/** Splits a log that arrives in pieces: the preamble goes to `talk`, the rest to `data`. */
export class PreambleSplitter {
  private held: string | undefined = "";

  constructor(
    private readonly running: string,
    private readonly talk: (text: string) => void,
    private readonly data: (text: string) => void,
  ) {}

  static forJob(id: string, entrypoint: string, talk: (text: string) => void, data: (text: string) => void): PreambleSplitter {
    return new PreambleSplitter(`Running entrypoint for job ${id}: ${entrypoint}\n`, talk, data);
  }

  write(text: string): void {
    if (this.held === undefined) return this.data(text);
    this.held += text;
    const firstEnd = this.held.indexOf("\n") + 1;
    if (firstEnd === 0) return; // the first line is still coming
    const rest = this.held.slice(firstEnd);
    if (!/^\d{4}-\d\d-\d\d [\d:,]+\tINFO /.test(this.held)) return this.release(0); // no preamble of ours
    if (rest.startsWith(this.running)) return this.release(firstEnd + this.running.length);
    if (!this.running.startsWith(rest)) this.release(firstEnd); // it never ran: what follows says why
  }

  /** The log has ended. */
  end(): void {
    if (this.held !== undefined) this.release(this.held.indexOf("\n") + 1);
  }

  private release(preambleChars: number): void {
    const held = this.held ?? "";
    this.held = undefined;
    if (preambleChars > 0) this.talk(held.slice(0, preambleChars));
    if (held.length > preambleChars) this.data(held.slice(preambleChars));
  }
}
