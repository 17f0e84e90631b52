// Channel: what was said on one topic, numbered, the last part kept for those who come back. Pure.
import type { Publication } from "@tray/protocol";

export type Body = NonNullable<Publication["body"]>;
export interface Message {
  readonly version: number;
  readonly body: Body;
}

export class Channel {
  private readonly history: Message[] = [];
  private current: number;

  /** `after`: the version before its first message. */
  constructor(
    readonly name: string,
    after: number,
    private readonly historyMax: number,
  ) {
    this.current = after;
  }

  /** Version of the last message. */
  get last(): number {
    return this.current;
  }
  publish(body: Body): void {
    this.history.push({ version: ++this.current, body });
    if (this.history.length > this.historyMax) this.history.shift();
  }
  /** What came after `version`. `gap`: some of that is not kept any more, or `version` is of another life of this server. */
  since(version: number): { messages: readonly Message[]; gap: boolean } {
    const missed = this.current - version;
    if (missed < 0 || missed > this.history.length) return { messages: [], gap: true };
    return { messages: this.history.slice(this.history.length - missed), gap: false };
  }
}
