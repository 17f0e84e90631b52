// What goes wrong with TLS, and in which words a dialler hears of it. Another authority's certificate, and one for another name, are in the integration suite.
import { createServer, type Server, type Socket } from "node:net";
import { createServer as createTlsServer } from "node:tls";
import type { AddressInfo } from "node:net";
import { testIdentity } from "../../test/worlds.js";
import type { LinkFailure } from "../transport.js";
import { diagnoseTls } from "./diagnosis.js";
import { GrpcTransport } from "./transport.js";

const servers: Server[] = [];
afterEach(async () => {
  await Promise.all(servers.splice(0).map((server) => new Promise((resolve) => server.close(resolve))));
});

async function serve(server: Server): Promise<string> {
  servers.push(server);
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  return `127.0.0.1:${(server.address() as AddressInfo).port}`;
}
const endOf = (transport: GrpcTransport, address: string): Promise<LinkFailure> =>
  new Promise((resolve) => transport.connect(address, undefined, { onFrame: () => undefined, onEnd: resolve }));

it("a dialler with certificates hears that the listener speaks no TLS, and the other way round", async () => {
  const [plain, secure] = [new GrpcTransport(), new GrpcTransport({ tls: testIdentity })];
  const refuse = { refuse: "nobody is let in" };
  const [plainListener, secureListener] = [await plain.listen("127.0.0.1:0", () => refuse), await secure.listen("127.0.0.1:0", () => refuse)];
  try {
    expect(await endOf(secure, plainListener.address)).toMatchObject({
      kind: "untrusted",
      message: expect.stringContaining("does not speak TLS"),
      hint: expect.any(String),
    });
    expect(await endOf(plain, secureListener.address)).toMatchObject({
      kind: "untrusted",
      message: expect.stringContaining("speaks TLS, and this side"),
      hint: expect.any(String),
    });
    expect(await endOf(secure, secureListener.address)).toEqual({ kind: "unauthenticated", message: refuse.refuse });
    expect(await diagnoseTls(secureListener.address, testIdentity)).toBeUndefined();
  } finally {
    await Promise.all([plainListener.close(), secureListener.close()]);
  }
});

it("a certificate that the dialler's authority did not make, and one that the listener's did not", async () => {
  const { ca: _ca, ...withoutAuthority } = testIdentity;
  const address = await serve(
    createTlsServer({ ...testIdentity, requestCert: true, rejectUnauthorized: true }).on("tlsClientError", () => undefined),
  );
  const judged = (tls: object): Promise<unknown> => diagnoseTls(address, tls as typeof testIdentity);
  expect(await judged(withoutAuthority)).toMatchObject({ message: expect.stringContaining("not from the authority in our ca.pem") });
  expect(await judged({ ca: testIdentity.ca })).toMatchObject({ message: expect.stringContaining("does not accept our certificate") });
});

it("what has nothing to do with TLS is left as it is: nobody there, hung up, closed", async () => {
  const sockets: Socket[] = [];
  const address = await serve(createServer((socket) => void (sockets.push(socket), socket.destroy())));
  expect(await diagnoseTls(address, testIdentity)).toBeUndefined();
  expect(await diagnoseTls(address, undefined)).toBeUndefined();
  expect(await endOf(new GrpcTransport({ tls: testIdentity }), address)).toMatchObject({ kind: "broken" });
  expect(sockets.length).toBeGreaterThanOrEqual(4); // two that were asked, the link's own and its diagnosis
  const [server] = servers.splice(0);
  await new Promise((resolve) => server?.close(resolve));
  expect(await diagnoseTls(address, testIdentity)).toBeUndefined();
});
