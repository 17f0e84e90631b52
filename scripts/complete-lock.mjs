// Completes package-lock.json: npm leaves out optional packages of other platforms when its registry does not offer them, and `npm ci` then refuses the lock.
// Run it after every change of the lock: node scripts/complete-lock.mjs package-lock.json
import { readFileSync, writeFileSync } from "node:fs";
const file = process.argv[2];
const lock = JSON.parse(readFileSync(file, "utf8"));
const cpus = {
  arm64: "arm64",
  x64: "x64",
  arm: "arm",
  armv7: "arm",
  "arm-eabi": "arm",
  "arm-gnueabihf": "arm",
  "arm-musleabihf": "arm",
  ia32: "ia32",
  ppc64: "ppc64",
  ppc64le: "ppc64",
  s390x: "s390x",
  riscv64: "riscv64",
  loong64: "loong64",
  mips64el: "mips64el",
  wasm32: "wasm32",
  universal: "universal",
};
let added = 0;
for (const [path, entry] of Object.entries({ ...lock.packages })) {
  for (const [name, version] of Object.entries(entry.optionalDependencies ?? {})) {
    const nested = `${path}/node_modules/${name}`,
      top = `node_modules/${name}`;
    if (lock.packages[nested] || lock.packages[top]) continue;
    if (!/^\d/.test(version)) {
      console.log("skip (range)", name, version);
      continue;
    }
    const os = /(android|darwin|linux|win32|freebsd|openbsd|netbsd|sunos|aix|openharmony)/.exec(name)?.[1];
    const cpu = Object.entries(cpus)
      .filter(([k]) => new RegExp(`(^|[-/_])${k}($|-)`).test(name))
      .sort((a, b) => b[0].length - a[0].length)[0]?.[1];
    const libc = /musl/.test(name) ? "musl" : os === "linux" && /gnu/.test(name) ? "glibc" : undefined;
    if (!os && !cpu) {
      console.log("skip (no platform)", name, version);
      continue;
    }
    lock.packages[top] = {
      version,
      ...(cpu ? { cpu: [cpu] } : {}),
      ...(entry.dev ? { dev: true } : {}),
      ...(libc ? { libc: [libc] } : {}),
      optional: true,
      ...(os ? { os: [os] } : {}),
    };
    added++;
  }
}
const { "": rootEntry, ...rest } = lock.packages;
lock.packages = { "": rootEntry, ...Object.fromEntries(Object.entries(rest).sort(([a], [b]) => a.localeCompare(b, "en"))) };
writeFileSync(file, `${JSON.stringify(lock, null, 2)}\n`);
console.log(`added ${added}`);
