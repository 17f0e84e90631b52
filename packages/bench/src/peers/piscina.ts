// Piscina: a pool of threads in one process, with its defaults. Nothing is distributed there; it is what a Node program would use otherwise.
import { existsSync, mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import type { Samples } from "../case.js";
import { run, runForAnswer } from "../process.js";
import { caseArguments, type PeerHost, type PeerSystem } from "./peer.js";

const version = "4.9.4";

export async function openPiscina(host: PeerHost): Promise<PeerSystem> {
  const dir = join(host.cacheDir, `piscina-${version}`);
  const ready = join(dir, "ready");
  if (!existsSync(ready)) {
    host.say(`installing piscina ${version} into ${dir}`);
    mkdirSync(dir, { recursive: true });
    writeFileSync(join(dir, "package.json"), `{ "private": true }\n`);
    await run("npm", ["install", "--no-audit", "--no-fund", "--save-exact", `piscina@${version}`], { ...host, cwd: dir });
    writeFileSync(ready, "");
  }
  return {
    system: "piscina",
    title: `Piscina ${version}`,
    detail: "its default number of threads, one process",
    measure: async (caseName, request) =>
      await runForAnswer<Samples>(
        process.execPath,
        [join(host.sourceDir, "piscina/bench.cjs"), "--modules", join(dir, "package.json"), ...caseArguments(caseName, request)],
        {
          env: host.env,
          cwd: request.scratchDir,
          signal: request.signal,
        },
      ),
  };
}
