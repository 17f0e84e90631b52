// An entrypoint with a tree of processes: itself, a child, and a grandchild in a session of its own.  Argument: a file for their pids.
import { spawn } from "node:child_process";
import { writeFileSync } from "node:fs";

const [file] = process.argv.slice(2);
const sleeper = "setTimeout(() => {}, 100_000)";
const child = spawn(
  process.execPath,
  [
    "-e",
    `const c = require("node:child_process").spawn(process.execPath, ["-e", ${JSON.stringify(sleeper)}], { detached: true, stdio: "ignore" });
     console.log(c.pid); ${sleeper}`,
  ],
  { stdio: ["ignore", "pipe", "inherit"] },
);
child.stdout.on("data", (text) => {
  writeFileSync(file, JSON.stringify([process.pid, child.pid, Number(String(text))]));
  console.log("tree is up");
});
setTimeout(() => {}, 100_000);
