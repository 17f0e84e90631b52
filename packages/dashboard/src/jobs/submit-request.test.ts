import { SeededRandom } from "@tray/common";
import { newSubmissionId, parseSubmitRequest } from "./submit-request.js";

describe("parseSubmitRequest", () => {
  it.each([
    [{}, "JobSubmitRequest.__init__() missing 1 required positional argument: 'entrypoint'"],
    [{ entrypoint: 1 }, "entrypoint must be a string, got <class 'int'>"],
    [{ entrypoint: "x", submission_id: 1.5 }, "submission_id must be a string if provided, got <class 'float'>"],
    [{ entrypoint: "x", runtime_env: [] }, "runtime_env must be a dict, got <class 'list'>"],
    [{ entrypoint: "x", metadata: { a: 1 } }, "metadata values must be strings, got <class 'int'>"],
    [{ entrypoint: "x", entrypoint_num_cpus: "1" }, "entrypoint_num_cpus must be a number, got <class 'str'>"],
    [{ entrypoint: "x", entrypoint_memory: 1.5 }, "entrypoint_memory must be an integer, got <class 'float'>"],
    [{ entrypoint: "x", entrypoint_resources: { a: true } }, "entrypoint_resources values must be numbers, got <class 'bool'>"],
    [{ entrypoint: "x", colour: "red" }, "JobSubmitRequest.__init__() got an unexpected keyword argument 'colour'"],
    [{ entrypoint: "x", entrypoint_label_selector: { a: "b c" } }, "Invalid label selector value `b c`"],
    [{ entrypoint: "x", submission_id: "a/b" }, "may not contain"],
    [[], "got <class 'list'>"],
  ])("%j: %s", (body, message) => {
    expect(() => parseSubmitRequest(body)).toThrow(message);
  });
  it("drops nulls before it judges, and takes the old name of the id", () => {
    expect(parseSubmitRequest({ entrypoint: "x", colour: null, job_id: "old", submission_id: null, entrypoint_num_cpus: 2 })).toMatchObject({
      submissionId: "old",
      needs: { numCpus: 2, memoryBytes: 0 },
    });
    expect(parseSubmitRequest({ entrypoint: "x", submission_id: "" }).submissionId).toBeUndefined();
  });
  it("makes ids of letters that are told apart", () => {
    expect(newSubmissionId(new SeededRandom(1))).toMatch(/^raysubmit_[A-HJ-NP-Za-kmnp-z1-9]{16}$/);
  });
});
