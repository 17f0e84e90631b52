// SharedArena: the node's arena as one process sees it: a file in /dev/shm, mapped in windows.
//
// Owns:     a file descriptor, the shared windows.
// Not mine: which bytes mean what (table/core.ts), the end of mappings (mapping.ts), the file's name and its removal after a crash.
//
// Why windows: one ArrayBuffer cannot show more than buffer.constants.MAX_LENGTH bytes (4 GiB on Node 20; asking for more ends the process).
// Window i begins at i × windowBytes and is twice as long, so that every block of up to windowBytes lies in the window of its first byte
// entirely, and always in the same: its page-table entries stay warm. Longer blocks get a mapping of their own.
//
// Invariants
//   S1. Nothing is mapped, and koffi not loaded, before the first use.
//   S2. close() and unlink() never take memory from under a view; windows go when the garbage collector has taken all views of them.
//   S3. The file descriptor is open exactly until close().
import { constants as bufferConstants } from "node:buffer";
import { closeSync, fstatSync, ftruncateSync, openSync, statfsSync, unlinkSync } from "node:fs";
import { dirname } from "node:path";
import { formatSize, invariant, messageOf, TrayError } from "@tray/common";
import { pageBytes } from "./allocator.js";
import type { Arena, PrivateView, ReadOptions } from "./arena.js";
import { mapBuffer } from "./mapping.js";
import { type Address, posix } from "./posix.js";
import { checkRange, copiedView, HeldView } from "./range.js";

const windowBytes = 2 ** 31;
/** Below this a copy is cheaper than a mapping, its page faults and its share of a garbage collection. */
const copyBelowDefault = 32 * 1024;
/** Fresh pages are zeroed by the kernel at a fraction of memcpy speed; several threads at it help. */
const populateThreads = 4;
const populatePartMin = 4 * 2 ** 20;

interface Window {
  readonly buffer: ArrayBuffer;
  readonly address: Address;
}

export class SharedArena implements Arena {
  private readonly windows = new Map<number, Window>();

  private constructor(
    readonly path: string,
    readonly capacity: number,
    private fd: number | undefined,
  ) {}

  /**
   * Makes the arena's file (mode 0600), for the raylet. Costs no memory until it is written to.
   * @param capacity bytes; rounded down to whole pages.
   * @throws OBJECT_STORE_FULL when the file system has not that much room now. CONFLICT when the file exists. SYSTEM otherwise.
   */
  static create(path: string, capacity: number): SharedArena {
    const bytes = Math.floor(capacity / pageBytes) * pageBytes;
    if (bytes <= 0) throw new TrayError("INVALID_ARGUMENT", `an arena of ${capacity} bytes is less than a page`);
    const directory = dirname(path);
    const available = roomIn(directory);
    // ftruncate reserves nothing, and a write that finds the file system full ends the process with SIGBUS: refuse while one still can.
    if (available < bytes) {
      throw new TrayError("OBJECT_STORE_FULL", `${directory} has ${formatSize(available)} free, the object store is to have ${formatSize(bytes)}`, {
        hint: "make the object store smaller (objectStoreMemory), or the file system larger (docker run --shm-size; mount -o remount,size=…)",
        details: { availableBytes: available, wantedBytes: bytes },
      });
    }
    let fd: number;
    try {
      fd = openSync(path, "wx+", 0o600);
    } catch (error) {
      const exists = (error as NodeJS.ErrnoException).code === "EEXIST";
      throw new TrayError(exists ? "CONFLICT" : "SYSTEM", `cannot create the arena ${path}: ${messageOf(error)}`, { cause: error });
    }
    try {
      ftruncateSync(fd, bytes);
    } catch (error) {
      closeSync(fd);
      unlinkSync(path);
      throw new TrayError("OBJECT_STORE_FULL", `cannot make ${path} ${formatSize(bytes)} long: ${messageOf(error)}`, { cause: error });
    }
    return new SharedArena(path, bytes, fd);
  }

  /** Opens an arena that the raylet made, for a worker, a driver, or another thread of one. @throws UNAVAILABLE when it is gone; INVALID_ARGUMENT when it is shorter than `capacity`. */
  static open(path: string, capacity: number): SharedArena {
    let fd: number;
    try {
      fd = openSync(path, "r+");
    } catch (error) {
      throw new TrayError("UNAVAILABLE", `cannot open the arena ${path}: ${messageOf(error)}`, { cause: error });
    }
    const { size } = fstatSync(fd);
    if (size >= capacity && capacity > 0 && capacity % pageBytes === 0) return new SharedArena(path, capacity, fd);
    closeSync(fd);
    throw new TrayError("INVALID_ARGUMENT", `the arena ${path} has ${size} bytes, not ${capacity}`);
  }

  write(offset: number, length: number): Uint8Array {
    const fd = this.checked(offset, length);
    if (length === 0) return new Uint8Array(0);
    if (length > windowBytes) return new Uint8Array(mapBuffer(fd, offset, length, "shared").buffer, 0, length);
    const index = Math.floor(offset / windowBytes);
    return new Uint8Array(this.window(fd, index).buffer, offset - index * windowBytes, length);
  }

  readPrivate(offset: number, length: number, options: ReadOptions = {}): PrivateView {
    const fd = this.checked(offset, length);
    if (length === 0 || length < (options.copyBelowBytes ?? copyBelowDefault)) return copiedView(this.write(offset, length), options);
    invariant(offset % pageBytes === 0, () => `a private read at ${offset}, which begins no page`);
    try {
      return new HeldView(mapBuffer(fd, offset, length, "private", options.onUnmapped).buffer, true);
    } catch (error) {
      // The kernel bounds mappings per process (vm.max_map_count): a program that keeps tens of thousands of large values goes on, by copy.
      if (!(error instanceof TrayError)) throw error;
      return copiedView(this.write(offset, length), options);
    }
  }

  /**
   * Has pages of a block that was never written made present by other threads, ahead of writing it: faster than faulting them in one by one
   * (twice, measured), does not block this thread, and a full file system becomes an error instead of SIGBUS. Of no use for blocks used before.
   * @throws OBJECT_STORE_FULL when the file system has no room for the pages.
   */
  async prepare(offset: number, length: number): Promise<void> {
    const fd = this.checked(offset, length);
    if (length === 0 || length > windowBytes) return;
    const index = Math.floor(offset / windowBytes);
    const window = this.window(fd, index);
    const start = Math.floor(offset / pageBytes) * pageBytes;
    const end = Math.ceil((offset + length) / pageBytes) * pageBytes;
    const parts = Math.max(1, Math.min(populateThreads, Math.floor((end - start) / populatePartMin)));
    const partBytes = Math.ceil((end - start) / parts / pageBytes) * pageBytes;
    const pending: Promise<boolean>[] = [];
    for (let at = start; at < end; at += partBytes) {
      pending.push(posix().populate(window.address + (at - index * windowBytes), Math.min(partBytes, end - at)));
    }
    const done = await Promise.all(pending);
    // The reference to the buffer must outlive the calls on its memory (S2).
    invariant(window.buffer.byteLength > 0, "the window was detached");
    if (done.every(Boolean)) return;
    throw new TrayError("OBJECT_STORE_FULL", `${dirname(this.path)} has no room for ${formatSize(length)} more of the object store`, {
      details: { availableBytes: roomIn(dirname(this.path)), wantedBytes: length },
    });
  }

  close(): void {
    if (this.fd === undefined) return;
    closeSync(this.fd); // S3; mappings do not need it
    this.fd = undefined;
    this.windows.clear(); // S2
  }

  /** Removes the file's name; who has it open or mapped keeps it. Idempotent. The raylet's, at its end. */
  unlink(): void {
    try {
      unlinkSync(this.path);
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== "ENOENT") throw error;
    }
  }

  private checked(offset: number, length: number): number {
    if (this.fd === undefined) throw new TrayError("UNAVAILABLE", `the arena ${this.path} is closed`);
    checkRange(this, offset, length);
    if (length > bufferConstants.MAX_LENGTH) {
      throw new TrayError(
        "INVALID_ARGUMENT",
        `an object of ${formatSize(length)} is longer than one buffer can be (${formatSize(bufferConstants.MAX_LENGTH)})`,
      );
    }
    return this.fd;
  }

  private window(fd: number, index: number): Window {
    let window = this.windows.get(index);
    if (window === undefined) {
      const start = index * windowBytes;
      window = mapBuffer(fd, start, Math.min(2 * windowBytes, this.capacity - start), "shared"); // S1
      this.windows.set(index, window);
    }
    return window;
  }
}

function roomIn(directory: string): number {
  try {
    const { bavail, bsize } = statfsSync(directory);
    return bavail * bsize;
  } catch (error) {
    throw new TrayError("SYSTEM", `cannot ask ${directory} for its free space: ${messageOf(error)}`, { cause: error });
  }
}
