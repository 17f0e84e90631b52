import fc from "fast-check";
import { claimSlots, openClaim, winClaim } from "./claims.js";

const handedMax = 1024;

describe("claims", () => {
  it("M1: are won once", () => {
    const claims = new Int32Array(claimSlots);
    const slot = openClaim(claims, 7);
    expect(winClaim(claims, slot, 7)).toBe(true);
    expect(winClaim(claims, slot, 7)).toBe(false);
  });

  it("M2: one that was taken back does not win in the name of the next execution in its slot", () => {
    const claims = new Int32Array(claimSlots);
    const first = openClaim(claims, 1);
    expect(winClaim(claims, first, 1)).toBe(true); // taken back; it still lies in the user's queue
    const second = openClaim(claims, 1 + claimSlots);
    expect(second).toBe(first);
    expect(winClaim(claims, first, 1)).toBe(false);
    expect(winClaim(claims, second, 1 + claimSlots)).toBe(true);
  });

  it("M3: a slot stays with an execution that waits while thousands of others come and go", () => {
    const claims = new Int32Array(claimSlots);
    const waits = openClaim(claims, 1);
    for (let id = 2; id < 3 * claimSlots; id++) winClaim(claims, openClaim(claims, id), id);
    expect(winClaim(claims, waits, 1)).toBe(true);
  });

  it("M1–M3: whatever is handed over is begun or taken back, and never both", () => {
    fc.assert(
      fc.property(
        fc.array(fc.record({ arrive: fc.nat(3000), stealOf: fc.nat(100), begin: fc.nat(1500) }), { maxLength: 40 }),
        fc.nat(5000),
        (rounds, firstId) => {
          const claims = new Int32Array(claimSlots);
          const queue: { id: number; slot: number }[] = []; // of the user's thread
          const open = new Map<number, number>(); // what the core thinks is neither begun nor taken back
          const begun = new Set<number>();
          let lastId = firstId;
          for (const { arrive, stealOf, begin } of rounds) {
            for (let i = 0; i < arrive; i++) {
              const id = ++lastId; // more come than may be handed over: those are stolen before
              if (open.size >= handedMax) continue;
              const slot = openClaim(claims, id);
              open.set(id, slot);
              queue.push({ id, slot });
            }
            for (const [id, slot] of [...open].reverse()) if (id % 100 < stealOf && winClaim(claims, slot, id)) open.delete(id);
            for (const { id, slot } of queue.splice(0, begin)) {
              if (!winClaim(claims, slot, id)) continue;
              expect(open.delete(id)).toBe(true); // M1, M2: it was not taken back
              begun.add(id);
            }
          }
          for (const { id, slot } of queue) if (winClaim(claims, slot, id)) open.delete(id);
          expect([...open.keys()]).toEqual([]); // M3: none was lost
        },
      ),
      { numRuns: 60 },
    );
  });
});
