import fc from "fast-check";
import { Fanout } from "./fanout.js";

const MiB = 2 ** 20;

function nodesServed(fanout: Fanout, nodes: readonly string[], size = 10 * MiB): Record<string, string> {
  return Object.fromEntries(
    nodes.map((node) => {
      const decision = fanout.begin("object", size, node, true);
      return [node, decision.kind === "send" ? "here" : decision.nodeId];
    }),
  );
}

describe("Fanout", () => {
  it("sends to a few, and sends the others on to those in turn", () => {
    expect(nodesServed(new Fanout({ sendsMax: 2, bytesMin: MiB }), ["a", "b", "c", "d", "e"])).toEqual({
      a: "here",
      b: "here",
      c: "a",
      d: "b",
      e: "a",
    });
  });
  it("serves everybody when told to, and for small objects", () => {
    const everybody = { a: "here", b: "here", c: "here" };
    expect(nodesServed(new Fanout({ sendsMax: 0, bytesMin: MiB }), ["a", "b", "c"])).toEqual(everybody);
    expect(nodesServed(new Fanout({ sendsMax: 1, bytesMin: MiB }), ["a", "b", "c"], MiB - 1)).toEqual(everybody);
  });
  it("serves again when a send has ended, and those who insist always", () => {
    const fanout = new Fanout({ sendsMax: 1, bytesMin: MiB });
    const first = fanout.begin("object", MiB, "a", true);
    expect(fanout.begin("object", MiB, "b", false).kind).toBe("send");
    expect(fanout.begin("object", MiB, "c", true).kind).toBe("elsewhere");
    if (first.kind === "send") first.end(true);
    expect(fanout.begin("object", MiB, "c", true)).toEqual({ kind: "elsewhere", nodeId: "b", receiving: true }); // b is still being sent to, and was asked less
  });
  it("names nobody whose transfer broke off", () => {
    const fanout = new Fanout({ sendsMax: 1, bytesMin: MiB });
    const broken = fanout.begin("object", MiB, "a", true);
    fanout.begin("object", MiB, "b", false);
    if (broken.kind === "send") broken.end(false);
    expect(fanout.begin("object", MiB, "c", true)).toEqual({ kind: "elsewhere", nodeId: "b", receiving: true });
  });
  it("F4: says of those who were sent it once that they may have lost it, and does not name one that has asked again", () => {
    const fanout = new Fanout({ sendsMax: 1, bytesMin: MiB });
    for (const node of ["a", "b"]) {
      const sent = fanout.begin("object", MiB, node, true);
      if (sent.kind === "send") sent.end(true);
    }
    fanout.begin("object", MiB, "c", true);
    expect(fanout.begin("object", MiB, "a", true)).toEqual({ kind: "elsewhere", nodeId: "b", receiving: false });
    expect(fanout.begin("object", MiB, "b", true)).toEqual({ kind: "elsewhere", nodeId: "c", receiving: true });
  });
  it("sends nobody to itself", () => {
    const fanout = new Fanout({ sendsMax: 1, bytesMin: MiB });
    fanout.begin("object", MiB, "a", true);
    expect(fanout.begin("object", MiB, "a", true).kind).toBe("send"); // a second part of the same object
  });

  it("brings any object to any number of nodes, whoever fails on the way, without anyone waiting for itself", () => {
    fc.assert(
      fc.property(
        fc.integer({ min: 1, max: 40 }),
        fc.integer({ min: 1, max: 3 }),
        fc.array(fc.nat(), { maxLength: 200 }),
        (nodes, sendsMax, draws) => {
          // Everybody asks the first node; a node that is sent on asks there; what breaks off begins again at the first node.
          const fanouts = new Map<string, Fanout>(Array.from({ length: nodes + 1 }, (_, i) => [`${i}`, new Fanout({ sendsMax, bytesMin: MiB })]));
          const parent = new Map<string, { readonly from: string; readonly end: (complete: boolean) => void }>();
          const ask = (node: string): void => {
            let at = "0";
            for (let hops = 0; ; hops++) {
              const decision = (fanouts.get(at) as Fanout).begin("object", MiB, node, hops < nodes);
              if (decision.kind === "send") {
                parent.set(node, { from: at, end: decision.end });
                return;
              }
              expect(decision.nodeId).not.toBe(node);
              at = decision.nodeId;
            }
          };
          for (let node = 1; node <= nodes; node++) ask(`${node}`);
          for (const draw of draws) {
            const node = `${(draw % nodes) + 1}`;
            parent.get(node)?.end(false);
            ask(node);
            for (let at = node, hops = 0; at !== "0"; at = parent.get(at)?.from ?? "0", hops++) expect(hops).toBeLessThanOrEqual(nodes);
          }
        },
      ),
    );
  });
});
