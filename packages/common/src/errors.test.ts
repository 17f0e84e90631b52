import { createContext, runInContext } from "node:vm";
import { InvariantError, errorCodes, invariant, isTrayError, messageOf, TrayError, unreachable } from "./errors.js";

describe("TrayError", () => {
  it("carries code, hint, details and cause", () => {
    const cause = new Error("below");
    const error = new TrayError("NODE_DIED", "gone", { cause, hint: "look", details: { node: "n" } });
    expect(error).toBeInstanceOf(Error);
    expect(error).toMatchObject({ name: "TrayError", code: "NODE_DIED", message: "gone", cause, hint: "look", details: { node: "n" } });
    expect("cause" in new TrayError("SYSTEM", "x")).toBe(false);
  });

  it("says what may be tried again", () => {
    const retryable = errorCodes.filter((code) => new TrayError(code, "x").retryable);
    expect(retryable.sort()).toEqual(["ACTOR_UNAVAILABLE", "DEADLINE_EXCEEDED", "QUEUE_EMPTY", "QUEUE_FULL", "RESOURCE_EXHAUSTED", "UNAVAILABLE"]);
  });

  it("has no code twice", () => {
    expect(new Set(errorCodes).size).toBe(errorCodes.length);
  });

  it("is known by its brand: of another copy of the package or another realm, and subclasses, but nothing that only looks like it", () => {
    class Sub extends TrayError {}
    const foreign: unknown = runInContext(
      'Object.assign(new Error("x"), { [Symbol.for("tray.TrayError")]: true, code: "CONFIG" })',
      createContext({}),
    );
    expect(isTrayError(new TrayError("CONFIG", "x"))).toBe(true);
    expect(isTrayError(new Sub("CONFIG", "x"), "CONFIG")).toBe(true);
    expect(isTrayError(foreign, "CONFIG")).toBe(true);
    expect(isTrayError(new TrayError("CONFIG", "x"), "SYSTEM")).toBe(false);
    for (const other of [new Error("x"), { name: "TrayError", code: "CONFIG" }, null, undefined, "CONFIG"]) expect(isTrayError(other)).toBe(false);
  });

  it("keeps its brand out of what is enumerated", () => {
    expect(Object.getOwnPropertySymbols(Object.assign({}, new TrayError("CONFIG", "x")))).toEqual([]);
  });
});

describe("invariants", () => {
  it("throw when broken, and make their message only then", () => {
    const message = jest.fn(() => "late");
    invariant(true, message);
    expect(message).not.toHaveBeenCalled();
    expect(() => invariant(0, message)).toThrow(new InvariantError("late"));
    expect(() => invariant(false, "plain")).toThrow("invariant violated: plain");
    expect(isTrayError(new InvariantError("x"))).toBe(false);
  });
  it("refuse a case that should not exist", () => {
    expect(() => unreachable("surprise" as never)).toThrow('unexpected case "surprise"');
  });
});

describe("messageOf", () => {
  it.each([
    [new Error("text"), "text"],
    ["text", "text"],
    [undefined, "undefined"],
    [{ toString: (): string => "own" }, "own"],
  ])("%p", (thrown, message) => expect(messageOf(thrown)).toBe(message));
});
