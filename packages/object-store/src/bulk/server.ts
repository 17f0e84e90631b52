// BulkServer: answers other raylets' pulls with bytes straight from the arena.
//
// Owns:     the listening socket, its connections, the objects held open while they are being sent.
// Not mine: which objects there are (BulkSource), admission (the puller's raylet decides how much it pulls).
// Crosses:  in: request frames.  out: a response frame and the object's bytes.
//
// Invariants
//   V1. An object stays open (pinned) until the kernel has all its bytes, or the socket is destroyed; it is closed exactly once.
//   V2. A connection holds at most one request's worth of state: a frame in, two slices out. More bytes than one further request are an offence.
//   V3. Nothing is looked up for a peer whose token is wrong.
import { timingSafeEqual } from "node:crypto";
import { createServer as createPlainServer, type Server, type Socket } from "node:net";
import { createServer as createTlsServer, type TlsOptions } from "node:tls";
import { type Clock, type Logger, messageOf, silentLogger, type Timer } from "@tray/common";
import type { BulkOpened, BulkReadable, BulkSource, BulkStats } from "./bulk.js";
import { type BulkRequestFrame, type BulkStatus, decodeRequest, encodeResponse, noNodeId, proofOf, requestBytes } from "./wire.js";

export interface BulkServerOptions {
  readonly clock: Clock;
  readonly source: BulkSource;
  readonly token: string;
  readonly tls?: TlsOptions;
  readonly logger?: Logger;
  /** Default 512; further ones are closed at once. */
  readonly connectionsMax?: number;
  /** A connection without a request for so long is closed. Longer than the client's, so that clients close first. Default 90,000. */
  readonly idleTimeoutMs?: number;
  /** A peer that takes none of the bytes it asked for, or stops in the middle of a request, for so long is cut off. Default 30,000. */
  readonly stallTimeoutMs?: number;
  /** Bytes handed to the kernel at a time. Default 4 MiB. */
  readonly sliceBytes?: number;
}

export class BulkServer {
  private readonly server: Server;
  private readonly connections = new Set<ServerConnection>();
  /** Those still shaking hands included, which have no ServerConnection yet. */
  private readonly sockets = new Set<Socket>();
  private readonly counts = { bytes: 0, transfers: 0, failures: 0 };

  constructor(options: BulkServerOptions) {
    const proof = proofOf(options.token);
    const accept = (socket: Socket): void => {
      const connection = new ServerConnection(socket, proof, options, this.counts);
      this.connections.add(connection);
      socket.once("close", () => this.connections.delete(connection));
    };
    this.server =
      options.tls === undefined ? createPlainServer({ noDelay: true }, accept) : createTlsServer({ ...options.tls, noDelay: true }, accept);
    this.server.on("connection", (socket: Socket) => {
      this.sockets.add(socket);
      socket.once("close", () => this.sockets.delete(socket));
    });
    this.server.maxConnections = options.connectionsMax ?? 512;
    // A failed handshake ends its own connection only.
    this.server.on("tlsClientError", (error) => (options.logger ?? silentLogger).warn("bulk: TLS handshake failed", { error }));
  }

  get stats(): BulkStats {
    return { ...this.counts };
  }

  /** @param port 0 for any. @returns the port. */
  listen(host: string, port: number): Promise<number> {
    return new Promise((resolve, reject) => {
      this.server.once("error", reject);
      this.server.listen(port, host, () => {
        this.server.off("error", reject);
        const address = this.server.address();
        resolve(typeof address === "object" && address !== null ? address.port : port);
      });
    });
  }

  /** Cuts off all transfers and stops listening. Resolves when every object it held open is closed. */
  async close(): Promise<void> {
    const stopped = new Promise<void>((resolve) => this.server.close(() => resolve()));
    for (const socket of this.sockets) socket.destroy();
    await Promise.all([...this.connections].map((connection) => connection.close()));
    await stopped;
  }
}

class ServerConnection {
  private readonly frame = Buffer.alloc(requestBytes);
  private filled = 0;
  private serving: Promise<void> | undefined;
  private deadline: Timer | undefined;
  private readonly peer: string;
  private readonly logger: Logger;
  private readonly idleTimeoutMs: number;
  private readonly stallTimeoutMs: number;
  private readonly sliceBytes: number;

  constructor(
    private readonly socket: Socket,
    private readonly proof: Buffer,
    private readonly options: BulkServerOptions,
    private readonly counts: { bytes: number; transfers: number; failures: number },
  ) {
    this.peer = `${socket.remoteAddress ?? "?"}:${socket.remotePort ?? 0}`;
    this.logger = options.logger ?? silentLogger;
    this.idleTimeoutMs = options.idleTimeoutMs ?? 90_000;
    this.stallTimeoutMs = options.stallTimeoutMs ?? 30_000;
    this.sliceBytes = options.sliceBytes ?? 4 * 2 ** 20;
    socket.on("data", (chunk: Buffer) => this.onData(chunk));
    socket.on("error", (error) => this.logger.debug("bulk: connection failed", { peer: this.peer, error }));
    socket.once("close", () => this.deadline?.cancel());
    this.proceed();
  }

  async close(): Promise<void> {
    this.socket.destroy();
    await this.serving;
  }

  private onData(chunk: Buffer): void {
    if (this.filled + chunk.length > requestBytes) {
      this.offend("bytes beyond a request"); // V2
      return;
    }
    this.frame.set(chunk, this.filled);
    this.filled += chunk.length;
    if (this.serving === undefined) this.proceed();
  }

  private proceed(): void {
    if (this.filled < requestBytes) {
      if (this.filled === 0) this.expect(this.idleTimeoutMs, "idle");
      else this.expect(this.stallTimeoutMs, "stopped in the middle of a request");
      return;
    }
    this.filled = 0;
    const request = decodeRequest(this.frame);
    if (request === undefined) {
      this.offend("not a bulk request");
      return;
    }
    if (!timingSafeEqual(request.proof, this.proof)) {
      this.logger.warn("bulk: wrong token", { peer: this.peer }); // V3
      this.counts.failures++;
      this.socket.end(this.response(request, "unauthenticated"));
      return;
    }
    this.serving = this.serve(request).then(
      () => this.afterServing(),
      (error: unknown) => {
        // The response has begun, or the source is broken: the peer learns from the broken connection and resumes or goes elsewhere.
        this.counts.failures++;
        if (!this.socket.destroyed)
          this.logger.warn("bulk: sending failed", { peer: this.peer, objectId: request.objectId, error: messageOf(error) });
        this.socket.destroy();
      },
    );
  }

  private afterServing(): void {
    this.serving = undefined;
    if (!this.socket.destroyed) this.proceed();
  }

  private async serve(request: BulkRequestFrame): Promise<void> {
    this.deadline?.cancel();
    let object: BulkOpened;
    try {
      object = await this.options.source.open({ ...request, peer: this.peer });
    } catch (error) {
      this.logger.warn("bulk: cannot open object", { objectId: request.objectId, error: messageOf(error) });
      this.counts.failures++;
      this.socket.write(this.response(request, "unavailable"));
      return;
    }
    if (object === undefined) {
      this.counts.failures++;
      this.socket.write(this.response(request, "notFound"));
      return;
    }
    if ("elsewhere" in object) {
      this.socket.write(this.response(request, "elsewhere", 0, 0, object.elsewhere, object.receiving));
      return;
    }
    let complete = false;
    try {
      if (request.offset + request.length > object.size) {
        this.counts.failures++;
        this.socket.write(this.response(request, "invalid", object.size));
        return;
      }
      await this.send(request, object);
      complete = true;
    } finally {
      object.close(complete); // V1: send() ended, so the kernel has the bytes or the socket is destroyed
    }
  }

  private async send(request: BulkRequestFrame, object: BulkReadable): Promise<void> {
    this.socket.write(this.response(request, "ok", object.size, request.length));
    // Two slices under way: while the kernel takes one, the next one waits in the stream, so that the socket never runs dry between them.
    let previous: Promise<void> = Promise.resolve();
    let at = request.offset;
    const end = request.offset + request.length;
    try {
      while (at < end) {
        const slice = await this.orLost(object.read(at, Math.min(this.sliceBytes, end - at)));
        if (slice.byteLength === 0 || slice.byteLength > end - at) throw new Error(`the source gave ${slice.byteLength} bytes at ${at}`);
        if (this.socket.destroyed) throw new Error("connection lost");
        this.expect(this.stallTimeoutMs, "takes no bytes");
        const written = this.write(slice);
        at += slice.byteLength;
        await previous;
        previous = written;
      }
      await previous;
    } catch (error) {
      // A slice may still lie in the kernel's hands: only a destroyed socket lets go of the arena's memory (V1).
      this.socket.destroy();
      throw error;
    }
    this.counts.transfers++;
  }

  /** Bytes that are still to come here may be long in coming: nobody waits for them when the peer is gone. */
  private orLost(read: Uint8Array | Promise<Uint8Array>): Uint8Array | Promise<Uint8Array> {
    if (read instanceof Uint8Array) return read;
    return new Promise((resolve, reject) => {
      const lost = (): void => reject(new Error("connection lost"));
      this.socket.once("close", lost);
      void read.then(resolve, reject).finally(() => this.socket.off("close", lost));
    });
  }

  private write(slice: Uint8Array): Promise<void> {
    const written = new Promise<void>((resolve, reject) => {
      this.socket.write(slice, (error) => {
        if (error !== null && error !== undefined) {
          reject(error);
          return;
        }
        this.counts.bytes += slice.byteLength;
        resolve();
      });
    });
    // It is awaited a slice later; until then its failure is not an unhandled one.
    written.catch(() => undefined);
    return written;
  }

  private response(request: BulkRequestFrame, status: BulkStatus, size = 0, length = 0, nodeId = noNodeId, receiving = false): Buffer {
    return encodeResponse({ requestId: request.requestId, status, size, length, nodeId, receiving });
  }

  private expect(timeoutMs: number, otherwise: string): void {
    this.deadline?.cancel();
    this.deadline = this.options.clock.after(timeoutMs, () => {
      this.logger.debug("bulk: closing connection", { peer: this.peer, why: otherwise });
      this.socket.destroy();
    });
  }

  private offend(what: string): void {
    this.counts.failures++;
    this.logger.warn("bulk: protocol violation", { peer: this.peer, what });
    this.socket.destroy();
  }
}
