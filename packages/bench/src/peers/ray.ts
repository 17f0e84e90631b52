// Ray, in virtual environments of its own outside the repository, running the cases of ray/bench.py.
import { existsSync, mkdirSync } from "node:fs";
import { join } from "node:path";
import type { Samples } from "../case.js";
import { run, runForAnswer } from "../process.js";
import { caseArguments, type PeerHost, type PeerSystem } from "./peer.js";

const version = "2.58.0";
/** Ray 2.58 has wheels for these. */
const pythons = ["python3.13", "python3.12", "python3.11", "python3.10", "python3"];

/** The case that starts Ray's head as tray's is started: with a dashboard. For all others it would be one more thing that runs. */
const dashboardCases: readonly string[] = ["head"];

export async function openRay(host: PeerHost): Promise<PeerSystem> {
  const plain = await install(host, "ray");
  const withDashboard = await install(host, "ray[default]");
  const pythonVersion = (await run(plain, ["-c", "import platform; print(platform.python_version())"], host)).trim();
  return {
    system: "ray",
    title: `Ray ${version}`,
    detail: `Python ${pythonVersion}`,
    measure: async (caseName, request) => {
      // What would turn a comparison into one of settings: usage reports, and a cluster that happens to run.
      const env = { ...host.env, RAY_USAGE_STATS_ENABLED: "0", RAY_ADDRESS: undefined, RAY_DEDUP_LOGS: "0", PYTHONUNBUFFERED: "1" };
      const python = dashboardCases.includes(caseName) ? withDashboard : plain;
      return await runForAnswer<Samples>(python, [join(host.sourceDir, "ray/bench.py"), ...caseArguments(caseName, request)], {
        env,
        cwd: request.scratchDir,
        signal: request.signal,
      });
    },
  };
}

/** The interpreter of a virtual environment that has `distribution` and NumPy; made when it is missing or was left half made. */
async function install(host: PeerHost, distribution: "ray" | "ray[default]"): Promise<string> {
  const dir = join(host.cacheDir, `${distribution.replace(/\[(.*)\]/, "-$1")}-${version}`);
  const python = join(dir, "bin/python");
  const ready = join(dir, "ready");
  if (existsSync(ready)) return python;
  host.say(`installing ${distribution} ${version} into ${dir}`);
  mkdirSync(host.cacheDir, { recursive: true });
  await run(await findPython(host), ["-m", "venv", "--clear", dir], host);
  await run(python, ["-m", "pip", "install", "--quiet", `${distribution}==${version}`, "numpy"], host);
  await run(python, ["-c", `import ray, numpy, sys; assert ray.__version__ == "${version}"; open(sys.argv[1], "w").close()`, ready], host);
  return python;
}

async function findPython(host: PeerHost): Promise<string> {
  for (const python of pythons) {
    const works = await run(python, ["-c", "import venv, sys; assert (3, 10) <= sys.version_info < (3, 14)"], host).then(
      () => true,
      () => false,
    );
    if (works) return python;
  }
  throw new Error(`ray ${version} needs Python 3.10 to 3.13; none is on the PATH`);
}
