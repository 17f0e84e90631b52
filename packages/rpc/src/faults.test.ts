import { isTrayError, SeededRandom } from "@tray/common";
import { FaultPlan } from "./faults.js";

describe("FaultPlan", () => {
  it("loses requests and replies as often as it says, and delays within its bounds", () => {
    const plan = FaultPlan.parse('{"gcs/registerActor":{"requestLost":0.25,"replyLost":0.5,"delayMs":[5,50]}}');
    const random = new SeededRandom(7);
    const counts = { request: 0, reply: 0, none: 0 };
    for (let i = 0; i < 10_000; i++) {
      const fate = plan.draw("gcs/registerActor", random);
      counts[fate?.lose ?? "none"]++;
      expect(fate?.delayMs).toBeGreaterThanOrEqual(5);
      expect(fate?.delayMs).toBeLessThanOrEqual(50);
    }
    expect(counts.request / 10_000).toBeCloseTo(0.25, 1);
    expect(counts.reply / 10_000).toBeCloseTo(0.75 * 0.5, 1);
  });

  it("takes the most specific entry, and leaves the rest alone", () => {
    const plan = FaultPlan.parse('{"gcs/a":{"requestLost":1},"gcs/*":{"replyLost":1}}');
    const random = new SeededRandom(1);
    expect(plan.draw("gcs/a", random)?.lose).toBe("request");
    expect(plan.draw("gcs/b", random)?.lose).toBe("reply");
    expect(plan.draw("raylet/a", random)).toBeUndefined();
    expect(FaultPlan.parse('{"*":{"requestLost":1}}').draw("raylet/a", random)?.lose).toBe("request");
  });

  it.each([
    ["{", "not JSON"],
    ["[]", "must be an object"],
    ['{"a/b":{"requestLos":1}}', "unknown key 'requestLos'"],
    ['{"a/b":{"replyLost":1.5}}', "replyLost must be a number from 0 to 1"],
    ['{"a/b":{"delayMs":[5,1]}}', "delayMs must be [min, max]"],
  ])("refuses %s", (json, text) => {
    const thrown = (() => {
      try {
        return FaultPlan.parse(json);
      } catch (error) {
        return error;
      }
    })();
    expect(isTrayError(thrown, "CONFIG") && thrown.message).toContain(text);
  });
});
