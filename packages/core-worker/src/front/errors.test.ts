import { isTrayError, TrayError } from "@tray/common";
import { inspect } from "node:util";
import { argumentRefusalOf, errorOf, fromCaller, refusalOf, SerializationError, TaskError, withoutCallers } from "./errors.js";
import { resolveActorOptions, resolveTaskOptions } from "./options.js";

const messageOf = (body: () => unknown): string => {
  try {
    body();
  } catch (error) {
    if (error instanceof Error) return error.message;
  }
  throw new Error("nothing was thrown");
};

describe("what a user sees of an error", () => {
  const failure = {
    code: "TASK_ERROR",
    message: "train threw Error: x",
    hint: "",
    detailsJson: '{"pid":7,"causeBase64":"AAAA"}',
    cause: new Uint8Array(1),
  };

  it("is code, hint and cause, not what is for programs", () => {
    const error = errorOf(failure, () => new RangeError("x"));
    expect(error).toBeInstanceOf(TaskError);
    expect(error).toMatchObject({ retryable: false, details: { pid: 7 }, name: "TaskError" });
    expect(Object.keys(error)).toEqual(["code"]);
    expect(Object.keys(new TrayError("CONFIG", "x", { hint: "h", details: {} })).sort()).toEqual(["code", "hint"]);
    expect(inspect(error)).toMatch(/^\[?TaskError: train threw Error: x\]? \{\n {2}code: 'TASK_ERROR',\n {2}\[cause\]: RangeError: x\n/);
  });

  it("has the stack of the API function's caller, awaits included, without the library's frames", async () => {
    async function entry(): Promise<void> {
      try {
        await Promise.resolve();
        throw errorOf(failure, () => undefined);
      } catch (error) {
        throw fromCaller(error, entry);
      }
    }
    async function userCode(): Promise<void> {
      await entry();
    }
    const error = await userCode().catch((e: unknown) => e as Error);
    const frames = (error as Error).stack?.split("\n").filter((line) => line.startsWith("    at ")) ?? [];
    // Who drained the microtasks may stand above.
    expect(frames.filter((frame) => !frame.includes("(node:"))[0]).toMatch(/at (async )?userCode/);
    const other = new Error("of the user");
    const { stack } = other;
    expect(fromCaller(other, entry)).toBe(other);
    expect(other.stack).toBe(stack);
  });

  it("loses the worker's frames at the end of a remote stack, and only those", () => {
    const own =
      "    at UserExecutor.invoke (/opt/tray/dist/index.cjs:1:2)\n    at run (/opt/tray/dist/index.cjs:1:2)\n    at process.processImmediate (node:internal/timers:483:21)";
    const user = "Error: two\n    at lines\n    at helper (/job/a.ts:3:1)\n    at tray.get (/opt/tray/dist/index.cjs:9:9)\n    at /job/a.ts:9:1";
    expect(withoutCallers(`${user}\n${own}`, "/opt/tray/dist")).toBe(user);
    const withNode = `${user}\n    at Timeout._onTimeout (node:internal/timers:1:1)`;
    expect(withoutCallers(withNode, "/opt/tray/dist")).toBe(withNode);
    expect(withoutCallers(`SystemError: lost\n${own}`, "/opt/tray/dist")).toBe(`SystemError: lost\n${own}`);
    expect(withoutCallers("no stack", "/opt/tray/dist")).toBe("no stack");
  });
});

describe("refusals", () => {
  const refuse = (path: string) => (): never => {
    throw new TrayError("SERIALIZATION", path);
  };
  it("name the argument and the function", () => {
    const serialize = (arg: unknown): unknown => (arg === "bad" ? refuse("value.callback → native handle Socket; create it inside the task")() : arg);
    const error = argumentRefusalOf(new TrayError("SERIALIZATION", "value[1].callback → …"), "train", [1, "bad"], serialize);
    expect(error).toBeInstanceOf(SerializationError);
    expect((error as Error).message).toBe("argument 2 of train cannot be shipped: .callback → native handle Socket; create it inside the task");
    expect((error as Error).name).toBe("SerializationError");
    const both = argumentRefusalOf(new TrayError("SERIALIZATION", "the value is nested too deep"), "train", [1], serialize);
    expect((both as Error).message).toBe("the arguments of train cannot be shipped: the value is nested too deep");
  });
  it("name what else cannot be shipped, and leave other errors alone", () => {
    expect((refusalOf(new TrayError("SERIALIZATION", "captured variable 'db' → Pool.socket → …"), "function f") as Error).message).toBe(
      "function f cannot be shipped: captured variable 'db' → Pool.socket → …",
    );
    const other = new TrayError("CONNECTION", "gone");
    expect(refusalOf(other, "x")).toBe(other);
    expect(argumentRefusalOf(other, "x", [], refuse("value"))).toBe(other);
  });
});

describe("unknown options", () => {
  it("say which one was probably meant, and which there are", () => {
    expect(messageOf(() => resolveTaskOptions({ numCpu: 1 } as object))).toBe("option numCpu: unknown option of a task; did you mean numCpus?");
    expect(messageOf(() => resolveTaskOptions({ num_gpus: 1 } as object))).toMatch(/did you mean numGpus\?$/);
    expect(messageOf(() => resolveActorOptions({ maxRestart: 1 } as object))).toMatch(/of an actor; did you mean maxRestarts\?$/);
    try {
      resolveTaskOptions({ zork: 1 } as object);
      throw new Error("was not refused");
    } catch (error) {
      if (!isTrayError(error, "INVALID_ARGUMENT")) throw error;
      expect(error.message).toBe("option zork: unknown option of a task");
      expect(error.hint).toMatch(/^known options: numCpus, /);
    }
  });
});
