// FileLogStore: the logs directory of a session.
import { open, readdir } from "node:fs/promises";
import { basename, join } from "node:path";
import { messageOf, TrayError } from "@tray/common";
import type { LogStore } from "./store.js";

export class FileLogStore implements LogStore {
  constructor(private readonly directory: string) {}

  async list(): Promise<string[]> {
    const entries = await readdir(this.directory, { withFileTypes: true }).catch(() => []);
    return entries
      .filter((entry) => entry.isFile())
      .map((entry) => entry.name)
      .sort();
  }

  async read(file: string, offset: number, maxBytes: number): Promise<{ data: Uint8Array; offset: number; size: number }> {
    if (basename(file) !== file || file === "" || file === "." || file === "..")
      throw new TrayError("INVALID_ARGUMENT", `${JSON.stringify(file)} is not the name of a log file`);
    const handle = await open(join(this.directory, file), "r").catch((error: unknown) => {
      throw new TrayError("NOT_FOUND", `no log file ${file}: ${messageOf(error)}`);
    });
    try {
      const { size } = await handle.stat();
      const from = Math.max(0, Math.min(size, offset < 0 ? size + offset : offset));
      const data = Buffer.alloc(Math.max(0, Math.min(maxBytes, size - from)));
      const { bytesRead } = await handle.read(data, 0, data.length, from);
      return { data: data.subarray(0, bytesRead), offset: from, size };
    } finally {
      await handle.close();
    }
  }
}
