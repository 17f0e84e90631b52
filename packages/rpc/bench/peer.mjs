// The other process of session.mjs: listens, counts one-way messages, answers calls.
import grpc from "@grpc/grpc-js";
import { systemClock, systemRandom, silentLogger, Metrics } from "@tray/common";
import { Endpoint, GrpcTransport } from "@tray/rpc";
import { BenchService, bareMethod, peerInfo } from "./service.mjs";

const endpoint = new Endpoint({
  transport: new GrpcTransport(),
  clock: systemClock,
  random: systemRandom,
  logger: silentLogger,
  metrics: new Metrics(),
  self: peerInfo("worker", "peer"),
});
let count = 0;
endpoint.serve(BenchService, {
  push: () => void count++,
  echo: (request) => request,
  count: () => ({ bytes: new TextEncoder().encode(String(count)) }),
});
const bare = new grpc.Server();
bare.addService({ echo: bareMethod }, { echo: (call) => void call.on("data", (frame) => call.write(frame)).on("error", () => undefined) });
const barePort = await new Promise((resolve, reject) => {
  bare.bindAsync("127.0.0.1:0", grpc.ServerCredentials.createInsecure(), (error, port) => (error === null ? resolve(port) : reject(error)));
});
process.send({ address: await endpoint.listen("127.0.0.1:0"), bareAddress: `127.0.0.1:${barePort}` });
process.on("disconnect", () => process.exit(0));
