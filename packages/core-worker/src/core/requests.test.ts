// What stays behind of requests that nobody waits for any more.
import { deferred } from "@tray/common";
import type { Located, ToUser } from "../thread/to-user.js";
import type { BlockedLease } from "./blocked-lease.js";
import type { ObjectEntry } from "./object-entry.js";
import type { ObjectFetcher } from "./object-fetcher.js";
import { ReferenceTable } from "./reference-table.js";
import { Requests } from "./requests.js";

const nothing = (): undefined => undefined;

it("a wait that times out and is repeated asks for the object once, and holds nothing when it has come", async () => {
  const references = new ReferenceTable(
    { freed: nothing, returned: nothing, lineageEnded: nothing, lineageValues: nothing, streamDropped: nothing },
    () => 0,
  );
  const asked: { readonly resolve: (where: Located) => void }[] = [];
  const unpinned: number[] = [];
  const replies: [number, string][] = [];
  const requests = new Requests(
    { reply: (id: number, _ok: boolean, json: string) => replies.push([id, json]) } as unknown as ToUser,
    references,
    {
      isHere: () => false,
      locate: () => {
        const { promise, resolve } = deferred<Located>();
        asked.push({ resolve });
        return promise;
      },
      unpin: (pins: readonly number[]) => unpinned.push(...pins),
    } as unknown as ObjectFetcher,
    {} as BlockedLease,
    () => 0,
  );
  const entry: ObjectEntry = references.own("a".repeat(40), undefined, 0);
  references.use(entry);
  references.resolve(entry, { kind: "stored", size: 10, nodes: [{ nodeId: "elsewhere", raylet: "", bulk: "" }] });
  for (let id = 1; id <= 3; id++) {
    requests.wait(id, false, 1, true, [entry]);
    requests.forget(id);
  }
  requests.wait(4, false, 1, true, [entry]);
  expect(asked).toHaveLength(1);
  asked[0]?.resolve({ kind: "stored", pinId: 9, offset: 0, size: 10 });
  await new Promise(setImmediate);
  expect(replies).toEqual([
    [1, "[]"],
    [2, "[]"],
    [3, "[]"],
    [4, "[0]"],
  ]);
  expect([unpinned, entry.uses]).toEqual([[9], 1]);
  requests.wait(5, false, 1, true, [entry]);
  expect(asked).toHaveLength(2); // it may have left again
});
