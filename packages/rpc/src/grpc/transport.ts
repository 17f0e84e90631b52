// GrpcTransport: links as bidirectional gRPC calls of `/tray.rpc.v1.Session/Connect`, one channel each, frames as raw messages.
//
// One channel a link on purpose: grpc-js shares connections through a global pool and backs off on its own; here a broken connection must
// break exactly its link, at once, and reconnecting is the session's business. For the same reason retries, proxies and idle timers are off.
// Silence is noticed by the session (limits.silenceMs), alike on every transport.
import * as grpc from "@grpc/grpc-js";
import { messageOf, TrayError } from "@tray/common";
import { isIP } from "node:net";
import { checkServerIdentity, type PeerCertificate } from "node:tls";
import { diagnoseTls } from "./diagnosis.js";
import { wireBytesMax } from "../limits.js";
import type { Accept, Link, LinkFailure, LinkHandlers, Listener, Transport } from "../transport.js";
import { receiveWindowBytes, widenReceiveWindow } from "./receive-window.js";

export interface TlsFiles {
  /** PEM: authority that signs both ends, own certificate, own key. */
  readonly ca: Buffer;
  readonly cert: Buffer;
  readonly key: Buffer;
}

export interface GrpcTransportOptions {
  /** Mutual TLS: both ends must show a certificate of the authority. Default: plain text. */
  tls?: TlsFiles | undefined;
}

// Failures reach whoever dialled or listens, as values; grpc-js would print some of them as well.
grpc.setLogVerbosity(grpc.logVerbosity.NONE);

type Frames = grpc.ClientDuplexStream<Buffer, Buffer>;
type IncomingFrames = grpc.ServerDuplexStream<Buffer, Buffer>;

const asIs = (frame: Buffer): Buffer => frame;
const connectMethod: grpc.MethodDefinition<Buffer, Buffer> = {
  path: "/tray.rpc.v1.Session/Connect",
  requestStream: true,
  responseStream: true,
  requestSerialize: asIs,
  requestDeserialize: asIs,
  responseSerialize: asIs,
  responseDeserialize: asIs,
};

const channelOptions: grpc.ChannelOptions = {
  "grpc.max_send_message_length": wireBytesMax,
  "grpc.max_receive_message_length": wireBytesMax,
  "grpc.use_local_subchannel_pool": 1,
  "grpc.enable_retries": 0,
  "grpc.enable_http_proxy": 0,
  "grpc.enable_channelz": 0,
  "grpc.service_config_disable_resolution": 1,
  "grpc-node.flow_control_window": receiveWindowBytes,
  // The session judges silence; these clear away connections whose calls have ended and whose peer never said so.
  "grpc.keepalive_time_ms": 30_000,
  "grpc.keepalive_timeout_ms": 10_000,
  "grpc.keepalive_permit_without_calls": 1,
  "grpc-node.max_session_memory": Number.MAX_SAFE_INTEGER,
};

/** An address that is no name may not be named in the handshake (RFC 6066), and Node warns of it; a name in its place does no harm, and the address is what is verified. */
function secure(address: string, { ca, key, cert }: TlsFiles): [grpc.ChannelCredentials, grpc.ChannelOptions] {
  const host = address.slice(0, address.lastIndexOf(":")).replace(/^\[(.*)\]$/, "$1");
  if (isIP(host) === 0) return [grpc.credentials.createSsl(ca, key, cert), channelOptions];
  const verify = { checkServerIdentity: (_name: string, shown: PeerCertificate) => checkServerIdentity(host, shown) };
  return [grpc.credentials.createSsl(ca, key, cert, verify), { ...channelOptions, "grpc.ssl_target_name_override": "tray.invalid" }];
}

/** The frame's bytes as the Buffer that grpc-js wants; no copy. */
const bufferOf = (frame: Uint8Array): Buffer => Buffer.from(frame.buffer, frame.byteOffset, frame.byteLength);

export class GrpcTransport implements Transport {
  constructor(private readonly options: GrpcTransportOptions = {}) {}

  connect(address: string, token: string | undefined, handlers: LinkHandlers): Link {
    const { tls } = this.options;
    const client =
      tls === undefined
        ? new grpc.Client(address, grpc.credentials.createInsecure(), channelOptions)
        : new grpc.Client(address, ...secure(address, tls));
    const metadata = new grpc.Metadata();
    if (token !== undefined) metadata.set("authorization", `Bearer ${token}`);
    const call = client.makeBidiStreamRequest(connectMethod.path, asIs, asIs, metadata, {});
    return new OutgoingLink(address, client, call, tls, handlers);
  }

  async listen(address: string, accept: Accept): Promise<Listener> {
    const { tls } = this.options;
    const credentials =
      tls === undefined
        ? grpc.ServerCredentials.createInsecure()
        : grpc.ServerCredentials.createSsl(tls.ca, [{ cert_chain: tls.cert, private_key: tls.key }], true);
    const server = new grpc.Server(channelOptions);
    widenReceiveWindow(server);
    server.addService({ connect: connectMethod }, { connect: (call: IncomingFrames) => IncomingLink.open(call, accept) });
    const port = await new Promise<number>((resolve, reject) => {
      server.bindAsync(address, credentials, (error, bound) => (error === null ? resolve(bound) : reject(error)));
    }).catch((error: unknown) => {
      server.forceShutdown();
      throw new TrayError("CONNECTION", `cannot listen on ${address}: ${messageOf(error)}`, { cause: error });
    });
    return {
      address: `${address.slice(0, address.lastIndexOf(":"))}:${port}`,
      close: () =>
        new Promise((resolve) => {
          // Links have said goodbye by now; whoever still hangs on is a peer that does not answer.
          server.forceShutdown();
          resolve();
        }),
    };
  }
}

class OutgoingLink implements Link {
  private over = false;
  private heard = false;
  private readonly gone: Promise<void>;

  constructor(
    readonly remote: string,
    private readonly client: grpc.Client,
    private readonly call: Frames,
    tls: TlsFiles | undefined,
    private handlers: LinkHandlers | undefined,
  ) {
    call.on("data", (frame: Buffer) => {
      this.heard = true;
      this.handlers?.onFrame(frame);
    });
    call.on("error", () => undefined); // the status says the same, and comes always
    this.gone = new Promise((resolve) => {
      call.on("status", (status: grpc.StatusObject) => {
        this.over = true;
        client.close();
        resolve();
        const failure = failureOf(status, remote);
        if (this.heard || failure.kind !== "broken") return this.tell(failure);
        void diagnoseTls(remote, tls).then((found) => this.tell(found === undefined ? failure : { kind: "untrusted", ...found }));
      });
    });
  }

  private tell(failure: LinkFailure): void {
    const { handlers } = this;
    this.handlers = undefined;
    handlers?.onEnd(failure);
  }

  send(frame: Uint8Array): void {
    if (!this.over) this.call.write(bufferOf(frame));
  }
  /** The server answers our half-close with its own end, and thereby has read everything. */
  close(): Promise<void> {
    this.handlers = undefined;
    if (!this.over) {
      this.over = true;
      this.call.end();
    }
    return this.gone;
  }
  abort(): void {
    this.handlers = undefined;
    this.over = true;
    this.call.cancel();
    this.client.close();
  }
}

class IncomingLink implements Link {
  readonly remote: string;
  private handlers: LinkHandlers | undefined;
  private over = false;
  private readonly gone: Promise<void>;

  private constructor(private readonly call: IncomingFrames) {
    this.remote = call.getPeer();
    this.gone = new Promise((resolve) => {
      const ended = (message: string): void => {
        const { handlers } = this;
        this.handlers = undefined;
        if (!this.over) call.end();
        this.over = true;
        handlers?.onEnd({ kind: "closed", message });
      };
      call.on("data", (frame: Buffer) => this.handlers?.onFrame(frame));
      call.on("error", () => undefined); // followed by "cancelled" or "close"
      call.on("end", () => ended("closed by the peer"));
      call.on("cancelled", () => ended("connection lost"));
      call.on("close", () => {
        ended("connection lost");
        resolve();
      });
    });
  }

  static open(call: IncomingFrames, accept: Accept): void {
    const link = new IncomingLink(call);
    const authorization = call.metadata.get("authorization")[0];
    const token = typeof authorization === "string" && authorization.startsWith("Bearer ") ? authorization.slice("Bearer ".length) : undefined;
    const answer = accept(link, token);
    if ("refuse" in answer) {
      link.over = true;
      call.emit("error", { code: grpc.status.UNAUTHENTICATED, details: answer.refuse });
    } else link.handlers = answer;
  }

  send(frame: Uint8Array): void {
    if (!this.over) this.call.write(bufferOf(frame));
  }
  close(): Promise<void> {
    this.handlers = undefined;
    if (!this.over) {
      this.over = true;
      this.call.end();
    }
    return this.gone;
  }
  abort(): void {
    this.handlers = undefined;
    if (this.over) return;
    this.over = true;
    this.call.emit("error", { code: grpc.status.ABORTED, details: "link aborted" });
  }
}

/** grpc-js tells the cause of a failed connection in the details and nowhere else; this is the only place that reads them. */
function failureOf(status: grpc.StatusObject, address: string): LinkFailure {
  const { code, details } = status;
  if (code === grpc.status.OK || code === grpc.status.CANCELLED) return { kind: "closed", message: "closed by the peer" };
  if (code === grpc.status.UNAUTHENTICATED) return { kind: "unauthenticated", message: details };
  if (code === grpc.status.UNAVAILABLE && /ECONNREFUSED/.test(details)) return { kind: "refused", message: `connection refused at ${address}` };
  const [, lastError] = /Last error: (.*?) \(\d{4}-/.exec(details) ?? [];
  return { kind: "broken", message: lastError ?? (details === "" ? (grpc.status[code] ?? `status ${code}`) : details) };
}
