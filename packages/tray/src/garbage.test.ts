import { SimClock } from "@tray/common";
import { collectGarbage, collectIfWanted } from "./garbage.js";

// The module keeps when it collected last: each test goes on where the one before it ended.
const clock = new SimClock();

it("what ended is collected at once while somebody waits for room, not more often than is good, and not when nobody does", async () => {
  let done = 0;
  const count = (): void => void done++;
  collectIfWanted(clock, count);
  await clock.advance(5_000);
  expect(done).toBe(0); // nobody has asked

  collectGarbage(clock, count);
  await clock.advance(2);
  expect(done).toBe(1);
  for (let i = 0; i < 10; i++) collectIfWanted(clock, count);
  await clock.advance(10);
  expect(done).toBe(1); // too soon
  await clock.advance(90);
  expect(done).toBe(2); // once for all of them

  await clock.advance(1_000);
  collectIfWanted(clock, count);
  await clock.advance(100);
  expect(done).toBe(3);
  await clock.advance(1_000); // nobody has asked for so long that nobody waits any more
  collectIfWanted(clock, count);
  await clock.advance(5_000);
  expect(done).toBe(3);
});

it("finds what its finalizers let go of, too", async () => {
  const found: string[] = [];
  const registry = new FinalizationRegistry<string>((name) => found.push(name));
  (() => registry.register(new Uint8Array(10), "view"))();
  const collected = new Promise<void>((resolve) => collectGarbage(clock, resolve));
  for (let i = 0; i < 20; i++) {
    await new Promise((resolve) => setImmediate(resolve)); // finalizers are tasks of the real event loop
    await clock.advance(10);
  }
  await collected;
  expect(found).toEqual(["view"]);
});
