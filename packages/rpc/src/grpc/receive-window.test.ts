import { Server } from "@grpc/grpc-js";
import { widenReceiveWindow } from "./receive-window.js";

it("finds what it widens in the installed grpc-js", () => {
  const server = new Server();
  expect(widenReceiveWindow(server)).toBe(true);
  server.forceShutdown();
});
