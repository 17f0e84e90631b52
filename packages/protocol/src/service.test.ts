import { BinaryWriter } from "@bufbuild/protobuf/wire";
import { type Client, defineService, type Handlers, type MessageCodec, method, oneWay, wireIdOf } from "./service.js";

const codec: MessageCodec<{ n: number }> = {
  encode: (message, writer = new BinaryWriter()) => writer.uint32(8).uint32(message.n),
  decode: () => ({ n: 0 }),
};

describe("defineService", () => {
  it("gives methods wire names and ids that depend on the name alone", () => {
    const service = defineService("raylet", {
      createActor: method(codec, codec),
      released: oneWay(codec),
      kill: method(codec, codec, { idempotent: false }),
    });
    expect(service.wire.createActor).toEqual({
      wireName: "raylet/createActor",
      wireId: wireIdOf("raylet/createActor"),
      def: service.methods.createActor,
    });
    expect([service.methods.createActor.idempotent, service.methods.kill.idempotent]).toEqual([true, false]);
    expect(wireIdOf("")).toBe(0x811c9dc5); // FNV-1a's offset basis; the next from its reference vectors
    expect(wireIdOf("foobar")).toBe(0xbf9cf968);
  });

  it("refuses two methods of one id", () => {
    const seen = new Map<number, string>();
    for (let i = 0; ; i++) {
      const other = seen.get(wireIdOf(`s/m${i}`));
      if (other !== undefined) {
        expect(() => defineService("s", { [other]: oneWay(codec), [`m${i}`]: oneWay(codec) })).toThrow(/collides/);
        return;
      }
      seen.set(wireIdOf(`s/m${i}`), `m${i}`);
    }
  });
});

// Checked by the compiler: a record without one of the methods is no Handlers, and clients know their arguments.
const typed = defineService("typed", { ask: method(codec, codec), tell: oneWay(codec) });
export const complete: Handlers<typeof typed> = { ask: (request) => ({ n: request.n + 1 }), tell: () => undefined };
// @ts-expect-error `tell` is missing
export const incomplete: Handlers<typeof typed> = { ask: (request) => request };
export const use = (client: Client<typeof typed>): Promise<{ n: number }> => {
  client.tell({ n: 1 });
  return client.ask({ n: 1 }, { timeoutMs: 5 });
};
