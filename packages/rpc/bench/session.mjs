// Sessions between two processes: one-way messages a second, calls in flight, ping-pong latency. Run after a build: node packages/rpc/bench/session.mjs
import { fork } from "node:child_process";
import grpc from "@grpc/grpc-js";
import { systemClock, systemRandom, silentLogger, Metrics } from "@tray/common";
import { Endpoint, GrpcTransport } from "@tray/rpc";
import { BenchService, bareMethod, peerInfo } from "./service.mjs";

const peerProfile = process.env.PEER_PROFILE === undefined ? [] : ["--cpu-prof", "--cpu-prof-dir", process.env.PEER_PROFILE];
const peer = fork(new URL("./peer.mjs", import.meta.url), { execArgv: peerProfile });
const { address, bareAddress } = await new Promise((resolve) => peer.once("message", resolve));
const metrics = new Metrics();
const endpoint = new Endpoint({
  transport: new GrpcTransport(),
  clock: systemClock,
  random: systemRandom,
  logger: silentLogger,
  metrics,
  self: peerInfo("driver", "bench"),
});
const session = endpoint.connect(address, { reconnect: { giveUpMs: 2000 } });
await session.opened();
const client = session.client(BenchService);
const none = { bytes: new Uint8Array(0) };
const turn = () => new Promise((resolve) => setImmediate(resolve));
const quantile = (sorted, q) => sorted[Math.floor(sorted.length * q)];

async function oneWay(size, total, perTurn) {
  const message = { bytes: new Uint8Array(size).fill(7) };
  const before = Number(new TextDecoder().decode((await client.count(none)).bytes));
  const start = performance.now();
  for (let sent = 0; sent < total; ) {
    for (let i = 0; i < perTurn && sent < total; i++, sent++) client.push(message);
    if (session.writable) await turn();
    else await session.drained();
  }
  const after = Number(new TextDecoder().decode((await client.count(none)).bytes)); // in order: comes after all of them
  const seconds = (performance.now() - start) / 1000;
  if (after - before !== total) throw new Error(`${after - before} of ${total} arrived`);
  const gigabytes = (size * total) / seconds / 1e9;
  console.log(`one-way ${size} B, ${perTurn} a turn: ${Math.round(total / seconds / 1000)} k/s  ${gigabytes.toFixed(2)} GB/s`);
}

async function inFlight(total, width) {
  const message = { bytes: new Uint8Array(120).fill(7) };
  let left = total;
  const start = performance.now();
  await Promise.all(
    Array.from({ length: width }, async () => {
      while (left-- > 0) await client.echo(message);
    }),
  );
  console.log(`calls 120 B, ${width} in flight: ${Math.round(total / (performance.now() - start))} k/s`);
}

async function pingPong(name, total, once) {
  const times = [];
  for (let i = 0; i < total; i++) {
    const start = performance.now();
    await once();
    times.push((performance.now() - start) * 1000);
  }
  times.sort((a, b) => a - b);
  console.log(`ping-pong ${name}: p50 ${quantile(times, 0.5).toFixed(0)} µs  p99 ${quantile(times, 0.99).toFixed(0)} µs`);
}

// The yardstick: the same bytes over a bare gRPC stream between the same two processes.
const bareClient = new grpc.Client(bareAddress, grpc.credentials.createInsecure());
const bareCall = bareClient.makeBidiStreamRequest(
  bareMethod.path,
  bareMethod.requestSerialize,
  bareMethod.responseDeserialize,
  new grpc.Metadata(),
  {},
);
let onBare = () => undefined;
bareCall.on("data", () => onBare()).on("error", () => undefined);
const bareFrame = Buffer.alloc(150);
const bareEcho = () =>
  new Promise((resolve) => {
    onBare = resolve;
    bareCall.write(bareFrame);
  });
const echoed = { bytes: new Uint8Array(120).fill(7) };

const only = process.argv[2];
for (let round = 0; round < 2; round++) {
  if (only === undefined || only === "oneway") {
    await oneWay(120, 1_000_000, 64);
    await oneWay(120, 2_000_000, 1000);
  }
  if (only === undefined || only === "large") await oneWay(100 * 1024, 10_000, 16);
  if (only === undefined || only === "calls") await inFlight(200_000, 200);
  if (only === undefined || only === "pingpong") {
    await pingPong("bare gRPC stream", 10_000, bareEcho);
    await pingPong("session call 120 B", 10_000, () => client.echo(echoed));
  }
}
bareCall.cancel();
bareClient.close();
await endpoint.close();
peer.disconnect();
