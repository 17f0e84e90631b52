// Objects that are needed together, of which some are gone.
import { silentLogger, SimClock } from "@tray/common";
import { type GetObjectReply, ObjectPurpose } from "@tray/protocol";
import type { ObjectEntry } from "./object-entry.js";
import { ObjectFetcher, type FetcherHost } from "./object-fetcher.js";
import type { Peers } from "./peers.js";
import { ReferenceTable } from "./reference-table.js";

const nothing = (): undefined => undefined;
const node = { nodeId: "n".repeat(32), raylet: "r", bulk: "b" };

it("while one is made again, the others are not pinned; then all are pinned together", async () => {
  const clock = new SimClock();
  const references = new ReferenceTable(
    { freed: nothing, returned: nothing, lineageEnded: nothing, lineageValues: nothing, streamDropped: nothing },
    () => 0,
  );
  const pinned = new Set<number>();
  let gone = "";
  const host = {
    self: () => ({ workerId: "w", nodeId: node.nodeId, endpoint: "e" }),
    node: () => node,
    missing: (entry: ObjectEntry) => references.unresolve(entry),
    raylet: () => ({
      getObjects: ({ objects }: { objects: { objectId: string; pin: number }[] }) =>
        Promise.resolve({
          objects: objects.map(({ objectId, pin }): GetObjectReply => {
            const found = objectId !== gone;
            if (found) pinned.add(pin);
            return { found, offset: pin, size: 1, pulled: false, missingNodeIds: [] };
          }),
        }),
      releaseObjects: ({ pins }: { pins: number[] }) => pins.forEach((pin) => pinned.delete(pin)),
    }),
  } as unknown as FetcherHost;
  const fetcher = new ObjectFetcher(references, {} as Peers, clock, silentLogger, host);
  const entries = ["a", "b"].map((digit) => references.own(digit.repeat(40), undefined, 0));
  const [, lost] = entries as [ObjectEntry, ObjectEntry];
  for (const entry of entries) {
    references.use(entry);
    references.resolve(entry, { kind: "stored", size: 1, nodes: [node] });
  }
  gone = lost.id;
  const located = fetcher.locateAll(entries, ObjectPurpose.ARGUMENT);
  await clock.advance(1);
  expect([lost.state.kind, pinned.size, fetcher.pinCount]).toEqual(["pending", 0, 0]);
  gone = "";
  references.resolve(lost, { kind: "stored", size: 1, nodes: [node] });
  expect(await clock.complete(located, 1_000)).toMatchObject([{ kind: "stored" }, { kind: "stored" }]);
  expect([pinned.size, fetcher.pinCount]).toEqual([2, 2]);
});
