import { copyFileSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { generateKeyPairSync } from "node:crypto";
import { systemClock } from "@tray/common";
import { readTlsDir, tlsDirOf } from "./tls-dir.js";

const identity = join(__dirname, "../../object-store/test/identity");
const nowMs = systemClock.wallMs();
let dir: string;
beforeEach(() => {
  dir = mkdtempSync(join(tmpdir(), "tls-dir-"));
  for (const [from, to] of [
    ["cert.pem", "ca.pem"],
    ["cert.pem", "cert.pem"],
    ["key.pem", "key.pem"],
  ] as const)
    copyFileSync(join(identity, from), join(dir, to));
});
afterEach(() => rmSync(dir, { recursive: true, force: true }));

it.each([
  ["a flag before everything", { tlsDir: "/flag", env: { TRAY_TLS_DIR: "/env" }, cluster: { tlsDir: undefined } }, "/flag"],
  ["the variable before what the cluster was started with", { env: { TRAY_TLS_DIR: "/env" }, cluster: { tlsDir: "/plan" } }, "/env"],
  ["what the cluster was started with", { env: { TRAY_TLS_DIR: "" }, cluster: { tlsDir: "/plan" } }, "/plan"],
  ["nothing for a cluster of this machine that speaks no TLS", { env: { TRAY_TLS_DIR: "/env" }, cluster: { tlsDir: undefined } }, undefined],
  ["the variable for a cluster elsewhere", { env: { TRAY_TLS_DIR: "/env" } }, "/env"],
])("takes %s", (_what, lookup, dir_) => {
  expect(tlsDirOf(lookup)).toBe(dir_);
});

it("reads what is right", () => {
  const { ca, cert, key } = readTlsDir(dir, nowMs);
  expect([ca, cert, key].map((pem) => pem.toString().split("\n")[0])).toEqual([
    "-----BEGIN CERTIFICATE-----",
    "-----BEGIN CERTIFICATE-----",
    "-----BEGIN PRIVATE KEY-----",
  ]);
});

it.each<[string, () => void, number, RegExp]>([
  ["a missing file", () => rmSync(join(dir, "key.pem")), nowMs, /key\.pem cannot be read: ENOENT/],
  ["no certificate", () => writeFileSync(join(dir, "ca.pem"), "x"), nowMs, /ca\.pem is not a certificate/],
  ["no key", () => writeFileSync(join(dir, "key.pem"), "x"), nowMs, /key\.pem is not a private key/],
  ["another key", () => writeFileSync(join(dir, "key.pem"), otherKey()), nowMs, /key\.pem is not the key of cert\.pem/],
  ["an expired certificate", () => undefined, Date.parse("2200-01-01"), /ca\.pem has expired: it was valid to /],
])("says what is wrong: %s", (_what, spoil, atMs, words) => {
  spoil();
  expect(() => readTlsDir(dir, atMs)).toThrow(
    expect.objectContaining({ code: "CONFIG", message: expect.stringMatching(words), hint: expect.stringContaining("tray cert init") }),
  );
});

const otherKey = (): string => generateKeyPairSync("ec", { namedCurve: "prime256v1" }).privateKey.export({ type: "pkcs8", format: "pem" }) as string;
