import { SimClock } from "@tray/common";
import { type DeadlineEntry, Deadlines } from "./deadlines.js";

const entry = (fn: () => void): DeadlineEntry => ({ expiresAt: 0, deadlineList: undefined, previous: undefined, next: undefined, onDeadline: fn });

describe("Deadlines", () => {
  it("fires each entry at its time, and none that was removed", async () => {
    const clock = new SimClock();
    const deadlines = new Deadlines(clock);
    const fired: string[] = [];
    const at = (name: string) => entry(() => fired.push(`${name}@${clock.now()}`));
    const removed = at("removed");
    deadlines.add(at("a"), 100);
    deadlines.add(removed, 100);
    await clock.advance(30);
    deadlines.add(at("b"), 100);
    deadlines.add(at("c"), 20);
    deadlines.remove(removed);
    deadlines.remove(removed);
    await clock.advance(1000);
    expect(fired).toEqual(["c@50", "a@100", "b@130"]);
  });

  it("stands additions and removals while it fires", async () => {
    const clock = new SimClock();
    const deadlines = new Deadlines(clock);
    const fired: string[] = [];
    const victim = entry(() => fired.push("victim"));
    deadlines.add(
      entry(() => {
        fired.push("first");
        deadlines.remove(victim);
        deadlines.add(
          entry(() => fired.push(`again@${clock.now()}`)),
          10,
        );
      }),
      10,
    );
    deadlines.add(victim, 10);
    await clock.advance(100);
    expect(fired).toEqual(["first", "again@20"]);
  });
});
