// A network in memory with virtual time, for tests of the parts that speak to peers.
import { Metrics, SeededRandom, SimClock, silentLogger } from "@tray/common";
import type { PeerKind } from "@tray/protocol";
import { Endpoint, type FaultPlan, MemoryNetwork } from "@tray/rpc";
import { Peers } from "../src/core/peers.js";

export class TestNetwork {
  readonly clock = new SimClock();
  readonly network: MemoryNetwork;
  private readonly random: SeededRandom;

  constructor(seed = 1) {
    this.random = new SeededRandom(seed);
    this.network = new MemoryNetwork({ clock: this.clock, random: this.random.fork() });
  }

  /** A process on `host`; its id is the host's name unless another is given. */
  endpoint(host: string, kind: PeerKind, more: { id?: string; faults?: FaultPlan } = {}): Endpoint {
    return new Endpoint({
      transport: this.network.transport(host),
      clock: this.clock,
      random: this.random.fork(),
      logger: silentLogger,
      metrics: new Metrics(),
      self: { kind, id: more.id ?? host, incarnation: this.random.hex(8), version: "0.1.0", nodeVersion: "20.0.0" },
      faults: more.faults,
    });
  }

  peers(endpoint: Endpoint, giveUpMs = 5_000): Peers {
    return new Peers(endpoint, giveUpMs);
  }
}
