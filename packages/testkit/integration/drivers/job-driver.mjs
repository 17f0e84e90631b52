// A job that uses tray and tells what it was given. Runs from an uploaded directory: "tray" is the cluster's own.
import { readFileSync } from "node:fs";
import * as tray from "tray";

const context = await tray.init();
const value = await tray.get(tray.remote((x) => x * 2).remote(21));
const told = {
  value,
  jobId: context.jobId,
  submission: process.env.TRAY_JOB_SUBMISSION_ID,
  env: process.env.GREETING,
  data: readFileSync("data/input.txt", "utf8"),
};
console.log(`told ${JSON.stringify(told)}`);
await new Promise((resolve) => setTimeout(resolve, Number(process.argv[2] ?? "0")));
