import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { crc32 } from "node:zlib";
import fc from "fast-check";
import { relative, resolve } from "node:path";
import { memberPath, unpackZip } from "./unpack.js";

interface Member {
  name: string;
  text?: string;
  mode?: number;
}

/** A plain archive of stored members; whatever the names say. */
function zip(members: readonly Member[]): Buffer {
  const parts: Buffer[] = [];
  const directory: Buffer[] = [];
  let offset = 0;
  for (const { name, text = "", mode = 0o100644 } of members) {
    const data = Buffer.from(text);
    const nameBytes = Buffer.from(name);
    const fields = Buffer.alloc(26);
    fields.writeUInt16LE(20, 0);
    fields.writeUInt16LE(0x800, 2);
    fields.writeUInt32LE(crcOf(data), 10);
    fields.writeUInt32LE(data.length, 14);
    fields.writeUInt32LE(data.length, 18);
    fields.writeUInt16LE(nameBytes.length, 22);
    const local = Buffer.concat([Buffer.from("PK\u0003\u0004", "latin1"), fields, nameBytes, data]);
    const tail = Buffer.alloc(14);
    tail.writeUInt32LE((mode << 16) >>> 0, 6);
    tail.writeUInt32LE(offset, 10);
    directory.push(Buffer.concat([Buffer.from("PK\u0001\u0002", "latin1"), Buffer.from([20, 3]), fields, tail, nameBytes]));
    offset += local.length;
    parts.push(local);
  }
  const central = Buffer.concat(directory);
  const end = Buffer.alloc(22);
  end.write("PK\u0005\u0006", 0, "latin1");
  end.writeUInt16LE(members.length, 8);
  end.writeUInt16LE(members.length, 10);
  end.writeUInt32LE(central.length, 12);
  end.writeUInt32LE(offset, 16);
  return Buffer.concat([...parts, central, end]);
}

const crcOf = (data: Buffer): number => (crc32 as (d: Buffer) => number)(data);

describe("unpackZip", () => {
  let dir: string;
  const signal = new AbortController().signal;
  beforeEach(() => {
    dir = mkdtempSync(join(tmpdir(), "tray-unpack-"));
  });
  afterEach(() => rmSync(dir, { recursive: true, force: true }));
  const unpack = async (members: readonly Member[]) => {
    writeFileSync(join(dir, "a.zip"), zip(members));
    return await unpackZip(join(dir, "a.zip"), join(dir, "out"), signal);
  };

  it("writes files with their modes, empty directories, and names of any script", async () => {
    expect(
      await unpack([
        { name: "bin/run", text: "#!/bin/sh\n", mode: 0o100755 },
        { name: "empty/", mode: 0o040755 },
        { name: "ü/日.txt", text: "x" },
      ]),
    ).toEqual({ files: 2, skipped: [] });
    expect(statSync(join(dir, "out/bin/run")).mode & 0o777).toBe(0o755);
    expect(readdirSync(join(dir, "out/empty"))).toEqual([]);
    expect(readFileSync(join(dir, "out/ü/日.txt"), "utf8")).toBe("x");
  });
  it("skips members that would land outside, and links", async () => {
    const bad = ["../evil", "/evil", "a/../../evil", "..\\evil", "C:/evil", ".."];
    const { files, skipped } = await unpack([
      ...bad.map((name) => ({ name, text: "x" })),
      { name: "link", text: "/etc/passwd", mode: 0o120777 },
      { name: "good", text: "x" },
    ]);
    expect({ files, skipped }).toEqual({ files: 1, skipped: [...bad, "link"] });
    expect(readdirSync(dir).sort()).toEqual(["a.zip", "out"]);
    expect(existsSync("/evil")).toBe(false);
    expect(readdirSync(join(dir, "out"))).toEqual(["good"]);
  });
  it("refuses what is no archive", async () => {
    writeFileSync(join(dir, "a.zip"), "not a zip");
    await expect(unpackZip(join(dir, "a.zip"), join(dir, "out"), signal)).rejects.toMatchObject({ code: "RUNTIME_ENV_SETUP" });
  });
  it("never resolves a name to a place outside the root", () => {
    const part = fc.constantFrom("..", ".", "a", "", "b c", "\\", "C:");
    fc.assert(
      fc.property(fc.array(part, { maxLength: 6 }), fc.boolean(), (parts, absolute) => {
        const path = memberPath("/root/dir", (absolute ? "/" : "") + parts.join("/"));
        if (path !== undefined) expect(relative("/root/dir", resolve(path))).toMatch(/^(?!\.\.(\/|$))./);
      }),
    );
  });
});
