// The part of ws 8 that is used here; the package has no types of its own.
declare module "ws" {
  import type { EventEmitter } from "node:events";
  import type { IncomingMessage } from "node:http";
  import type { Duplex } from "node:stream";

  class WebSocket extends EventEmitter {
    constructor(url: string, options?: { headers?: Record<string, string>; perMessageDeflate?: boolean });
    readonly bufferedAmount: number;
    send(data: string, callback?: (error?: Error | null) => void): void;
    close(code?: number): void;
    terminate(): void;
  }
  class WebSocketServer extends EventEmitter {
    constructor(options: { noServer: true; perMessageDeflate: false });
    readonly clients: ReadonlySet<WebSocket>;
    handleUpgrade(request: IncomingMessage, socket: Duplex, head: Buffer, done: (client: WebSocket) => void): void;
    close(): void;
  }
}
