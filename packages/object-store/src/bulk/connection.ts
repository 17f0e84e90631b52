// BulkConnection: one socket to one bulk server; one request at a time; the body lands where the caller wants it.
//
// The socket's `onread` asks us for the memory of each next read: the header's scratch while a header is due, then the rest of the
// caller's slice. The kernel copies into the arena itself; no byte passes through JavaScript.
//
// Invariants
//   N1. After request() has settled the socket holds no memory of the caller's: either the next read's memory is the scratch, or it is destroyed.
//   N2. Reads never exceed what is due: bytes of the header go to the scratch, bytes of the body to the body, nothing is read past its end.
import { connect as connectPlain, type Socket } from "node:net";
import { connect as connectTls, type ConnectionOptions } from "node:tls";
import { type Clock, type Timer, TrayError } from "@tray/common";
import { type BulkRequestFrame, type BulkResponseFrame, decodeResponse, encodeRequest, mayBeFrame, responseBytes } from "./wire.js";

export interface ConnectionSettings {
  readonly clock: Clock;
  readonly proof: Buffer;
  readonly tls: ConnectionOptions | undefined;
  /** Without a byte for so long, the connection counts as broken. */
  readonly stallTimeoutMs: number;
}

/** What of a request the connection does not know itself. */
export type BulkAsked = Omit<BulkRequestFrame, "requestId" | "proof" | "length">;

interface Exchange {
  readonly requestId: number;
  readonly body: Uint8Array;
  state: "header" | "body";
  received: number;
  onBytes: (bytes: number) => void;
  resolve: (response: BulkResponseFrame) => void;
  reject: (error: unknown) => void;
}

export class BulkConnection {
  private readonly socket: Socket;
  private readonly header = Buffer.alloc(responseBytes);
  private headerFilled = 0;
  private exchange: Exchange | undefined;
  private failure: Error | undefined;
  private nextRequestId = 1;
  private stall: Timer | undefined;
  private lastProgressMs = 0;
  /** Requests answered; a connection that served before may have been closed by the peer while it was idle. */
  served = 0;

  constructor(
    readonly address: string,
    private readonly settings: ConnectionSettings,
    private readonly onClosed: (connection: BulkConnection) => void,
  ) {
    const { host, port } = parseAddress(address);
    const onread = { buffer: () => this.nextMemory(), callback: (bytes: number) => this.onRead(bytes) };
    this.socket =
      settings.tls === undefined
        ? connectPlain({ host, port, noDelay: true, onread })
        : connectTls({ ...settings.tls, host, port, noDelay: true, onread } as ConnectionOptions);
    this.socket.on("error", (error) => (this.failure = error));
    this.socket.on("end", () => this.socket.destroy());
    this.socket.once("close", () => {
      this.stall?.cancel();
      this.fail(this.failure ?? new Error("connection closed"));
      this.onClosed(this);
    });
  }

  get usable(): boolean {
    return !this.socket.destroyed && this.exchange === undefined;
  }

  /**
   * Asks for `body.length` bytes of an object. `onBytes` hears of each read. Resolves with the response once the body is
   * complete, or with a status other than ok at once. Rejects when the connection breaks. With `signal`, the connection is destroyed.
   */
  request(asked: BulkAsked, body: Uint8Array, onBytes: (bytes: number) => void, signal?: AbortSignal): Promise<BulkResponseFrame> {
    return new Promise((resolve, reject) => {
      if (this.socket.destroyed) {
        reject(this.failure ?? new Error("connection closed"));
        return;
      }
      // Between the promise of this connection and the request lies a turn in which the caller may have lost interest.
      if (signal?.aborted === true) {
        reject(signal.reason as Error);
        return;
      }
      const onAbort = (): void => {
        this.socket.destroy(); // N1, before anybody learns of it
        this.fail(signal?.reason);
      };
      signal?.addEventListener("abort", onAbort, { once: true });
      const requestId = this.nextRequestId++ >>> 0;
      this.exchange = {
        requestId,
        body,
        state: "header",
        received: 0,
        onBytes,
        resolve: (response) => {
          signal?.removeEventListener("abort", onAbort);
          resolve(response);
        },
        reject: (error) => {
          signal?.removeEventListener("abort", onAbort);
          reject(error as Error);
        },
      };
      this.headerFilled = 0;
      this.watchProgress();
      this.socket.write(encodeRequest({ ...asked, requestId, proof: this.settings.proof, length: body.byteLength }));
    });
  }

  destroy(reason: Error): void {
    this.failure ??= reason;
    this.socket.destroy();
    this.fail(this.failure);
  }

  private nextMemory(): Uint8Array {
    const exchange = this.exchange;
    if (exchange?.state === "body") return exchange.body.subarray(exchange.received);
    return this.header.subarray(this.headerFilled % responseBytes);
  }

  private onRead(bytes: number): boolean {
    const exchange = this.exchange;
    if (exchange === undefined) {
      this.destroy(new Error("the peer sent bytes that nobody asked for"));
      return false;
    }
    this.lastProgressMs = this.settings.clock.now();
    if (exchange.state === "body") {
      exchange.received += bytes;
      exchange.onBytes(bytes);
      if (exchange.received === exchange.body.byteLength) this.settle(exchange, decodeResponse(this.header) as BulkResponseFrame);
      return true;
    }
    this.headerFilled += bytes;
    if (this.headerFilled < responseBytes) {
      if (mayBeFrame(this.header.subarray(0, this.headerFilled))) return true;
      this.destroy(new Error("the peer is no bulk server of this version"));
      return false;
    }
    const response = decodeResponse(this.header);
    if (
      response === undefined ||
      response.requestId !== exchange.requestId ||
      (response.status === "ok" && response.length !== exchange.body.byteLength)
    ) {
      this.destroy(new Error("the peer's answer makes no sense"));
      return false;
    }
    if (response.length === 0) this.settle(exchange, response);
    else exchange.state = "body";
    return true;
  }

  private settle(exchange: Exchange, response: BulkResponseFrame): void {
    this.exchange = undefined;
    this.headerFilled = 0;
    this.served++;
    this.stall?.cancel();
    this.stall = undefined;
    exchange.resolve(response);
  }

  private fail(error: unknown): void {
    const exchange = this.exchange;
    this.exchange = undefined;
    exchange?.reject(error);
  }

  /** One timer a period instead of one a read. */
  private watchProgress(): void {
    const { clock, stallTimeoutMs } = this.settings;
    this.lastProgressMs = clock.now();
    const arm = (delayMs: number): void => {
      this.stall = clock.after(delayMs, () => {
        const silentMs = clock.now() - this.lastProgressMs;
        if (silentMs >= stallTimeoutMs) this.destroy(new Error(`no byte for ${Math.round(silentMs)} ms`));
        else arm(stallTimeoutMs - silentMs);
      });
    };
    this.stall?.cancel();
    arm(stallTimeoutMs);
  }
}

/** "host:port", "[v6]:port". @throws INVALID_ARGUMENT. */
export function parseAddress(address: string): { host: string; port: number } {
  const match = /^(?:\[([^\]]+)\]|([^:]+)):(\d{1,5})$/.exec(address);
  const host = match?.[1] ?? match?.[2];
  const port = Number(match?.[3]);
  if (host === undefined || !(port > 0 && port < 65_536)) throw new TrayError("INVALID_ARGUMENT", `${JSON.stringify(address)} is not host:port`);
  return { host, port };
}
