import fc from "fast-check";
import { PreambleSplitter } from "./preamble.js";

const first = "2026-11-23 01:33:18,387\tINFO job-supervisor -- Runtime env is setting up.\n";

function split(pieces: readonly string[], entrypoint = "echo a\necho b"): { talk: string; data: string } {
  const out = { talk: "", data: "" };
  const splitter = PreambleSplitter.forJob(
    "j",
    entrypoint,
    (t) => (out.talk += t),
    (t) => (out.data += t),
  );
  for (const piece of pieces) splitter.write(piece);
  splitter.end();
  return out;
}

describe("PreambleSplitter", () => {
  it("takes the two lines off, wherever the log is cut", () => {
    const preamble = `${first}Running entrypoint for job j: echo a\necho b\n`;
    const log = `${preamble}a\nb\n`;
    fc.assert(
      fc.property(fc.array(fc.nat(log.length), { maxLength: 6 }), (cuts) => {
        const at = [0, ...cuts.sort((a, b) => a - b), log.length];
        expect(split(at.slice(1).map((end, i) => log.slice(at[i], end)))).toEqual({ talk: preamble, data: "a\nb\n" });
      }),
    );
  });
  it("shows why a job did not run", () => {
    expect(split([`${first}runtime_env setup failed: no\n`])).toEqual({ talk: first, data: "runtime_env setup failed: no\n" });
  });
  it("leaves other logs alone", () => {
    expect(split(["hello\nworld"])).toEqual({ talk: "", data: "hello\nworld" });
    expect(split(["hello"])).toEqual({ talk: "", data: "hello" });
  });
});
