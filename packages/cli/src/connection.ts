// A connection to the GCS for one command. rpc and gRPC are loaded here and nowhere else, so that commands that do not connect start fast.
import { Metrics, silentLogger } from "@tray/common";
import type { Client, GcsService, RayletService } from "@tray/protocol";
import { readTlsDir } from "@tray/node-launcher";
import { CliFailure, exitCodes } from "./failure.js";
import { isHttp, type Session, type Target } from "./globals.js";

export interface Connection {
  readonly gcs: Client<typeof GcsService>;
  raylet(address: string): Client<typeof RayletService>;
  close(): Promise<void>;
}

const connectMs = 5_000;

/** @throws CONNECTION, AUTHENTICATION, VERSION_MISMATCH; CliFailure for an address that is the dashboard's. */
export async function connect(session: Session, target: Target): Promise<Connection> {
  if (isHttp(target.address)) {
    throw new CliFailure(
      exitCodes.usage,
      "INVALID_ARGUMENT",
      `this command talks to the GCS, and ${target.address} is a dashboard`,
      "name the GCS: --address HOST:PORT          (job commands take either)",
    );
  }
  const { context } = session;
  const [{ Endpoint, GrpcTransport }, protocol] = await Promise.all([import("@tray/rpc"), import("@tray/protocol")]);
  const tls = target.tlsDir === undefined ? undefined : readTlsDir(target.tlsDir, context.clock.wallMs());
  const endpoint = new Endpoint({
    transport: new GrpcTransport({ tls }),
    clock: context.clock,
    random: context.random,
    logger: silentLogger,
    metrics: new Metrics(),
    self: {
      kind: "cli",
      id: context.random.hex(16),
      incarnation: context.random.hex(8),
      version: protocol.trayVersion,
      nodeVersion: context.nodeVersion,
    },
    token: target.token,
  });
  const giveUpMs = Math.min(session.timeoutMs ?? connectMs, connectMs);
  const gcs = endpoint.connect(target.address, { reconnect: { giveUpMs } });
  try {
    await gcs.opened();
  } catch (error) {
    await endpoint.close();
    throw error;
  }
  return {
    gcs: gcs.client(protocol.GcsService),
    raylet: (address) => {
      const raylet = endpoint.connect(address, { reconnect: { giveUpMs: 2_000, refusedMeansGone: true } });
      raylet.opened().catch(() => undefined); // calls on it fail with the reason
      return raylet.client(protocol.RayletService);
    },
    close: () => endpoint.close(),
  };
}

/** Runs `use` with a connection to the command's cluster. */
export async function withConnection<T>(session: Session, target: Target, use: (connection: Connection) => Promise<T>): Promise<T> {
  const connection = await connect(session, target);
  try {
    return await use(connection);
  } finally {
    await connection.close();
  }
}
