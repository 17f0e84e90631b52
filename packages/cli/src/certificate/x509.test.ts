import { createPrivateKey, X509Certificate } from "node:crypto";
import { connect, createServer, type TLSSocket } from "node:tls";
import type { AddressInfo } from "node:net";
import { once } from "node:events";
import { type CertificateTerms, issue, makeAuthority } from "./x509.js";

const dayMs = 86_400_000;
const nowMs = Date.parse("2026-11-23T12:00:00Z");
const terms = (name: string, serial: string, validToMs = nowMs + 825 * dayMs): CertificateTerms => ({ name, serial, validFromMs: nowMs, validToMs });
const authority = makeAuthority(terms("an authority", "0102"));
const signer = { certPem: authority.certPem, key: createPrivateKey(authority.keyPem) };

it("makes an authority that signs itself", () => {
  const ca = new X509Certificate(authority.certPem);
  expect({ ca: ca.ca, subject: ca.subject, issuer: ca.issuer, serial: ca.serialNumber }).toEqual({
    ca: true,
    subject: "CN=an authority",
    issuer: "CN=an authority",
    serial: "0102",
  });
  expect(ca.verify(ca.publicKey)).toBe(true);
  expect(ca.checkPrivateKey(signer.key)).toBe(true);
});

it("issues certificates for names and addresses", () => {
  const machine = issue(signer, terms("a machine", "ff00"), ["head.example.org", "10.0.0.5", "fe80::1:2", "::1", "::ffff:1.2.3.4"]);
  const cert = new X509Certificate(machine.certPem);
  const ca = new X509Certificate(authority.certPem);
  expect(cert.checkIssued(ca)).toBe(true);
  expect(cert.verify(ca.publicKey)).toBe(true);
  expect(cert.ca).toBe(false);
  expect(cert.checkPrivateKey(createPrivateKey(machine.keyPem))).toBe(true);
  expect(cert.checkHost("head.example.org")).toBe("head.example.org");
  for (const ip of ["10.0.0.5", "::1", "fe80:0:0:0:0:0:1:2"]) expect(cert.checkIP(ip)).toBe(ip);
  expect(cert.checkIP("10.0.0.6")).toBeUndefined();
  expect([Date.parse(cert.validFrom), Date.parse(cert.validTo)]).toEqual([nowMs, nowMs + 825 * dayMs]);
});

it("writes years after 2049", () => {
  const late = new X509Certificate(issue(signer, terms("late", "01", Date.parse("2061-02-03T04:05:06Z")), ["a"]).certPem);
  expect(Date.parse(late.validTo)).toBe(Date.parse("2061-02-03T04:05:06Z"));
});

it("lets two machines shake hands, and no stranger", async () => {
  // Valid while this test runs, whenever that is.
  const around = (name: string): CertificateTerms => ({
    name,
    serial: "77",
    validFromMs: performance.timeOrigin - dayMs,
    validToMs: performance.timeOrigin + dayMs,
  });
  const made = makeAuthority(around("another authority"));
  const machine = issue({ certPem: made.certPem, key: createPrivateKey(made.keyPem) }, around("m"), ["127.0.0.1"]);
  const own = { ca: made.certPem, cert: machine.certPem, key: machine.keyPem };
  const server = createServer({ ...own, requestCert: true, rejectUnauthorized: true }, (socket) => socket.end("hello"));
  server.on("tlsClientError", () => undefined);
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  const { port } = server.address() as AddressInfo;
  const dial = (options: object): Promise<string> =>
    new Promise((resolve) => {
      const socket: TLSSocket = connect({ host: "127.0.0.1", port, ...options });
      let heard = "";
      socket.on("data", (data: Buffer) => (heard += data.toString()));
      socket.on("error", (error: NodeJS.ErrnoException) => resolve(error.code ?? error.message));
      socket.on("close", () => resolve(heard));
    });
  try {
    expect(await dial(own)).toBe("hello");
    expect(await dial({ ca: made.certPem })).toMatch(/CERTIFICATE_REQUIRED/);
    expect(await dial({ ...own, ca: authority.certPem })).toMatch(/ISSUER|SIGNATURE|VERIFY|SELF_SIGNED/);
  } finally {
    server.close();
  }
});
