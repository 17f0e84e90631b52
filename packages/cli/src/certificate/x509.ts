// X.509 certificates (RFC 5280) of a cluster: an authority that signs itself, and what it issues to machines. ECDSA over P-256 with SHA-256.
import { createHash, generateKeyPairSync, type KeyObject, sign, X509Certificate } from "node:crypto";
import { isIPv4, isIPv6 } from "node:net";
import { bits, boolean, explicit, implicit, integer, objectId, octets, sequence, set, text, time } from "./der.js";

export interface Issued {
  readonly certPem: string;
  readonly keyPem: string;
}

export interface Authority {
  readonly certPem: string;
  readonly key: KeyObject;
}

export interface CertificateTerms {
  /** What the certificate's holder is called. */
  readonly name: string;
  readonly validFromMs: number;
  readonly validToMs: number;
  /** 32 hex digits or so, never the same twice of one authority. */
  readonly serial: string;
}

const ecdsaWithSha256 = sequence(objectId("1.2.840.10045.4.3.2"));
const isCritical = true;

export function makeAuthority(terms: CertificateTerms): Issued {
  const { publicKey, privateKey } = generateKeyPairSync("ec", { namedCurve: "prime256v1" });
  const name = nameOf(terms.name);
  const keyId = keyIdOf(publicKey);
  return {
    certPem: certificate(terms, { subject: name, publicKey, issuer: name, signer: privateKey }, [
      extension("2.5.29.19", sequence(boolean(true)), isCritical), // basic constraints: an authority
      extension("2.5.29.15", bits(Buffer.from([0b0000_0110]), 1), isCritical), // key usage: certificates, revocation lists
      extension("2.5.29.14", octets(keyId)),
    ]),
    keyPem: privateKey.export({ type: "pkcs8", format: "pem" }) as string,
  };
}

/** A certificate for both ends of connections: every process of a cluster listens and dials. @param hosts names and addresses under which its machine is reached. */
export function issue(authority: Authority, terms: CertificateTerms, hosts: readonly string[]): Issued {
  const { publicKey, privateKey } = generateKeyPairSync("ec", { namedCurve: "prime256v1" });
  const own = new X509Certificate(authority.certPem);
  const commonName = /^CN=(.*)$/m.exec(own.subject)?.[1] ?? "";
  return {
    certPem: certificate(terms, { subject: nameOf(terms.name), publicKey, issuer: nameOf(commonName), signer: authority.key }, [
      extension("2.5.29.19", sequence(), isCritical), // basic constraints: no authority
      extension("2.5.29.15", bits(Buffer.from([0b1000_0000]), 7), isCritical), // key usage: signatures
      extension("2.5.29.37", sequence(objectId("1.3.6.1.5.5.7.3.1"), objectId("1.3.6.1.5.5.7.3.2"))), // server and client
      extension("2.5.29.17", sequence(...hosts.map(alternativeName))),
      extension("2.5.29.35", sequence(implicit(0, keyIdOf(own.publicKey)))),
      extension("2.5.29.14", octets(keyIdOf(publicKey))),
    ]),
    keyPem: privateKey.export({ type: "pkcs8", format: "pem" }) as string,
  };
}

function certificate(
  { serial, validFromMs, validToMs }: CertificateTerms,
  of: { subject: Buffer; publicKey: KeyObject; issuer: Buffer; signer: KeyObject },
  extensions: readonly Buffer[],
): string {
  const version3 = explicit(0, integer(Buffer.from([2])));
  const body = sequence(
    version3,
    integer(Buffer.from(serial, "hex")),
    ecdsaWithSha256,
    of.issuer,
    sequence(time(validFromMs), time(validToMs)),
    of.subject,
    of.publicKey.export({ type: "spki", format: "der" }),
    explicit(3, sequence(...extensions)),
  );
  const der = sequence(body, ecdsaWithSha256, bits(sign("sha256", body, of.signer)));
  const lines = der.toString("base64").match(/.{1,64}/g) ?? [];
  return `-----BEGIN CERTIFICATE-----\n${lines.join("\n")}\n-----END CERTIFICATE-----\n`;
}

const nameOf = (commonName: string): Buffer => sequence(set(sequence(objectId("2.5.4.3"), text(commonName))));

function extension(id: string, value: Buffer, critical = false): Buffer {
  return sequence(objectId(id), ...(critical ? [boolean(true)] : []), octets(value));
}

/** RFC 5280 §4.2.1.2 (1): SHA-1 of the key's bits; an identifier, not a safeguard. */
function keyIdOf(publicKey: KeyObject): Buffer {
  const spki = publicKey.export({ type: "spki", format: "der" });
  const point = spki.subarray(spki.length - 65); // P-256, uncompressed: the end of the structure
  return createHash("sha1").update(point).digest();
}

function alternativeName(host: string): Buffer {
  if (isIPv4(host)) return implicit(7, Buffer.from(host.split(".").map(Number)));
  if (isIPv6(host)) return implicit(7, ipv6Bytes(host));
  return implicit(2, Buffer.from(host, "ascii"));
}

function ipv6Bytes(address: string): Buffer {
  const [head = "", tail] = (address.split("%")[0] ?? "").split("::");
  const groups = (part: string): number[] =>
    part === ""
      ? []
      : part.split(":").flatMap((group) => {
          if (!isIPv4(group)) return [Number.parseInt(group, 16)];
          const [a = 0, b = 0, c = 0, d = 0] = group.split(".").map(Number);
          return [a * 256 + b, c * 256 + d];
        });
  const [left, right] = [groups(head), tail === undefined ? [] : groups(tail)];
  const all = [...left, ...new Array<number>(8 - left.length - right.length).fill(0), ...right];
  return Buffer.from(all.flatMap((group) => [group >> 8, group & 0xff]));
}
