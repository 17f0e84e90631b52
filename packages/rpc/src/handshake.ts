// First words on a link: who, which session, how far. Checked field by field: they come from outside.
import { type ErrorCode, errorCodes, TrayError } from "@tray/common";
import type { PeerInfo, PeerKind } from "@tray/protocol";
import { jsonOf } from "./frame.js";

export const protocolVersion = 1;

/** The dialler's first frame. */
export interface Hello {
  readonly protocol: number;
  readonly peer: PeerInfo;
  /** The dialler's name for the session, the same on every link and through resets. */
  readonly session: string;
  /** The stream that it would resume, once welcomed; absent on the first link. */
  readonly stream?: string | undefined;
  /** Last data frame that it received on that stream. */
  readonly received: number;
  readonly windowBytes: number;
  /** The only incarnation that it wants to talk to. */
  readonly expectIncarnation?: string | undefined;
}

/** The acceptor's answer. */
export interface Welcome {
  readonly peer: PeerInfo;
  /** Names the life of the numbering on both sides; a new one means that the acceptor starts from nothing. */
  readonly stream: string;
  readonly resumed: boolean;
  readonly received: number;
  readonly windowBytes: number;
}

/** The acceptor's refusal. `gone`: the incarnation asked for does not live here. */
export interface Refusal {
  readonly code: ErrorCode;
  readonly message: string;
  readonly hint?: string | undefined;
  readonly gone?: boolean | undefined;
}

const kinds: ReadonlySet<string> = new Set<PeerKind>(["raylet", "gcs", "driver", "worker", "dashboard", "cli", "autoscaler"]);

/** Why the two may not talk, or undefined. */
export function incompatibility(self: PeerInfo, hello: Hello): Refusal | undefined {
  const { peer } = hello;
  const at = self.address === undefined ? "" : ` at ${self.address}`;
  if (hello.protocol !== protocolVersion) {
    return {
      code: "VERSION_MISMATCH",
      message: `the ${self.kind}${at} speaks session protocol ${protocolVersion} (tray ${self.version}), this ${peer.kind} ${hello.protocol} (tray ${peer.version})`,
      hint: "run the same version of tray everywhere",
    };
  }
  if (peer.version !== self.version) {
    return {
      code: "VERSION_MISMATCH",
      message: `the ${self.kind}${at} runs tray ${self.version}, this ${peer.kind} tray ${peer.version}`,
      hint: `install tray ${self.version} here, or restart the cluster with ${peer.version}`,
    };
  }
  if (exchangesValues(self.kind) && exchangesValues(peer.kind) && majorOf(self.nodeVersion) !== majorOf(peer.nodeVersion)) {
    return {
      code: "VERSION_MISMATCH",
      message: `the ${self.kind}${at} runs Node ${self.nodeVersion}, this ${peer.kind} Node ${peer.nodeVersion}: processes that exchange values need the same major version`,
      hint: `run this ${peer.kind} with Node ${majorOf(self.nodeVersion)}`,
    };
  }
  if (self.clusterId !== undefined && peer.clusterId !== undefined && self.clusterId !== peer.clusterId) {
    return {
      code: "CONNECTION",
      message: `the ${self.kind}${at} belongs to cluster ${self.clusterId}, this ${peer.kind} to ${peer.clusterId}`,
      hint: "check the address",
    };
  }
  if (hello.expectIncarnation !== undefined && hello.expectIncarnation !== self.incarnation) {
    return { code: "UNAVAILABLE", message: `the process asked for is gone: ${self.kind} ${self.id} lives${at} now`, gone: true };
  }
  return undefined;
}

const exchangesValues = (kind: PeerKind): boolean => kind === "driver" || kind === "worker";
const majorOf = (version: string): string => version.split(".", 1)[0] ?? version;

/** Throws INVALID_ARGUMENT when `value` is no hello. What is here must stay in every later protocol, so that versions can refuse each other by name. */
export function parseHello(value: unknown): Hello {
  const o = recordOf(value, "hello");
  return {
    protocol: numberOf(o, "protocol"),
    peer: parsePeer(o["peer"]),
    session: stringOf(o, "session"),
    stream: optionalStringOf(o, "stream"),
    received: numberOf(o, "received"),
    windowBytes: numberOf(o, "windowBytes"),
    expectIncarnation: optionalStringOf(o, "expectIncarnation"),
  };
}

export function parseWelcome(value: unknown): Welcome {
  const o = recordOf(value, "welcome");
  return {
    peer: parsePeer(o["peer"]),
    stream: stringOf(o, "stream"),
    resumed: o["resumed"] === true,
    received: numberOf(o, "received"),
    windowBytes: numberOf(o, "windowBytes"),
  };
}

export function parseRefusal(value: unknown): Refusal {
  const o = recordOf(value, "refusal");
  const code = errorCodes.find((c) => c === o["code"]) ?? "UNAVAILABLE";
  return { code, message: stringOf(o, "message"), hint: optionalStringOf(o, "hint"), gone: o["gone"] === true };
}

/** The reason in a bye; never throws, the session ends either way. */
export function byeReason(frame: Uint8Array): string {
  try {
    return stringOf(recordOf(jsonOf(frame), "bye"), "reason");
  } catch {
    return "no reason given";
  }
}

function parsePeer(value: unknown): PeerInfo {
  const o = recordOf(value, "peer");
  const kind = stringOf(o, "kind");
  if (!kinds.has(kind)) throw new TrayError("INVALID_ARGUMENT", `handshake: unknown kind of peer '${kind}'`);
  return {
    kind: kind as PeerKind,
    id: stringOf(o, "id"),
    incarnation: stringOf(o, "incarnation"),
    address: optionalStringOf(o, "address"),
    version: stringOf(o, "version"),
    nodeVersion: stringOf(o, "nodeVersion"),
    clusterId: optionalStringOf(o, "clusterId"),
  };
}

type Fields = Record<string, unknown>;

function recordOf(value: unknown, what: string): Fields {
  if (typeof value !== "object" || value === null || Array.isArray(value)) throw new TrayError("INVALID_ARGUMENT", `handshake: ${what} is no object`);
  return value as Fields;
}
function stringOf(o: Fields, key: string): string {
  const value = o[key];
  if (typeof value !== "string") throw new TrayError("INVALID_ARGUMENT", `handshake: ${key} must be a string`);
  return value;
}
function optionalStringOf(o: Fields, key: string): string | undefined {
  return o[key] === undefined ? undefined : stringOf(o, key);
}
function numberOf(o: Fields, key: string): number {
  const value = o[key];
  if (typeof value !== "number" || !Number.isSafeInteger(value) || value < 0)
    throw new TrayError("INVALID_ARGUMENT", `handshake: ${key} must be a whole number`);
  return value;
}
