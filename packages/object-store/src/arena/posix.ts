// The handful of C library calls behind SharedArena, through koffi: no addon to compile. Linux only.
//
// koffi is loaded at the first call and not at import: it costs some ten milliseconds that a process without large objects never pays.
import { createRequire } from "node:module";
import { TrayError } from "@tray/common";

/** A user-space address; fits a double (47 bits). */
export type Address = number;

export interface Posix {
  /** @throws OBJECT_STORE_FULL with the errno's name when the kernel refuses. */
  map(fd: number, offset: number, length: number, kind: "shared" | "private"): Address;
  unmap(address: Address, length: number): void;
  /** A view of foreign memory: it does not own what it shows. */
  view(address: Address, length: number): ArrayBuffer;
  /** Makes pages present and writable on another thread. False when the kernel has no room for them; never a signal. */
  populate(address: Address, length: number): Promise<boolean>;
}

interface Koffi {
  load(path: null): { func(name: string, result: string, parameters: string[]): unknown };
  view(address: Address, length: number): ArrayBuffer;
  errno(): number;
  os: { errno: Record<string, number> };
}
type Mmap = (hint: number, length: number, protection: number, flags: number, fd: number, offset: number) => Address;
type Munmap = (address: Address, length: number) => number;
type Madvise = {
  (address: Address, length: number, advice: number): number;
  async(address: Address, length: number, advice: number, done: (error: Error | null, result: number) => void): void;
};

const protReadWrite = 3;
const mapShared = 0x01;
const mapPrivate = 0x02;
/** Copy-on-write pages that nobody writes should not count against overcommit limits. */
const mapNoReserve = 0x4000;
/** Linux 5.14. */
const madvPopulateWrite = 23;

let loaded: Posix | undefined;

export function posix(): Posix {
  loaded ??= load();
  return loaded;
}

function load(): Posix {
  if (process.platform !== "linux") {
    throw new TrayError("SYSTEM", `the shared-memory object store needs Linux; this is ${process.platform}`);
  }
  let koffi: Koffi;
  try {
    // Bundles are CommonJS, where import.meta is empty; sources are ES modules, where __filename does not exist.
    const require = createRequire(typeof __filename === "string" ? __filename : import.meta.url);
    koffi = require("koffi") as Koffi;
  } catch (error) {
    throw new TrayError("SYSTEM", "the native library koffi does not load", {
      cause: error,
      hint: "install tray's dependencies for this platform; a bundler must leave koffi external",
    });
  }
  const libc = koffi.load(null);
  const mmap = libc.func("mmap", "intptr_t", ["intptr_t", "size_t", "int", "int", "int", "int64_t"]) as Mmap;
  const munmap = libc.func("munmap", "int", ["intptr_t", "size_t"]) as Munmap;
  const madvise = libc.func("madvise", "int", ["intptr_t", "size_t", "int"]) as Madvise;
  const errorName = (): string => {
    const number = koffi.errno();
    return Object.entries(koffi.os.errno).find(([, value]) => value === number)?.[0] ?? String(number);
  };
  let populates: boolean | undefined;
  return {
    map(fd, offset, length, kind) {
      const address = mmap(0, length, protReadWrite, kind === "shared" ? mapShared : mapPrivate | mapNoReserve, fd, offset);
      if (address === -1) throw new TrayError("OBJECT_STORE_FULL", `mmap of ${length} bytes failed: ${errorName()}`);
      return address;
    },
    unmap(address, length) {
      if (munmap(address, length) !== 0) throw new TrayError("SYSTEM", `munmap failed: ${errorName()}`);
    },
    view: (address, length) => koffi.view(address, length),
    populate(address, length) {
      // An old kernel says EINVAL, for no pages as for many: then writing will fault pages in as ever.
      populates ??= madvise(address, 0, madvPopulateWrite) === 0;
      if (!populates) return Promise.resolve(true);
      return new Promise((resolve, reject) => {
        madvise.async(address, length, madvPopulateWrite, (error, result) => {
          if (error === null || error === undefined) resolve(result === 0);
          else reject(error);
        });
      });
    },
  };
}
