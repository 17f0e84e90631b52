// Connects with whatever copy of the library and address it is given, and tells how that ended.  Arguments: [library's file]
//   says: connected {jobId} | failed {name, code, message, hint, classes}
import { pathToFileURL } from "node:url";
import { say } from "./checks.mjs";

const [library = "tray"] = process.argv.slice(2);
const tray = await import(library === "tray" ? library : pathToFileURL(library).href);
try {
  const context = await tray.init();
  say("connected", { jobId: context.jobId });
  await tray.shutdown();
} catch (error) {
  const classes = ["ConnectionError", "AuthenticationError", "VersionMismatchError"].filter((name) => error instanceof tray[name]);
  say("failed", { name: error.name, code: error.code, message: error.message, hint: error.hint ?? null, classes });
  process.exitCode = 1;
}
