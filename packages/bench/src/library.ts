// The library and the command that are measured: those of the package `tray` that this bundle finds, never a copy bundled into it, because the
// library's threads and workers must load the very same files.
import { createRequire } from "node:module";
import { dirname, join } from "node:path";

export type Tray = typeof import("tray");

const require = createRequire(import.meta.url);

export const loadTray = (): Tray => require("tray") as Tray;

/** The script of the `tray` command. */
export const trayCommand = (): string => join(dirname(require.resolve("tray/package.json")), "bin/tray.js");
