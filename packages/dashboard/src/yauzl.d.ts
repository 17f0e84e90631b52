// The part of yauzl 3 that is used here; the package has no types of its own.
declare module "yauzl" {
  import type { Readable } from "node:stream";

  interface Entry {
    /** Raw bytes, with `decodeStrings: false`. */
    readonly fileName: Buffer;
    readonly generalPurposeBitFlag: number;
    readonly extraFields: readonly { readonly id: number; readonly data: Buffer }[];
    readonly uncompressedSize: number;
    readonly externalFileAttributes: number;
  }
  interface ZipFile {
    eachEntry(): AsyncIterable<Entry>;
    openReadStreamPromise(entry: Entry): Promise<Readable>;
    close(): void;
  }
  function openPromise(
    path: string,
    options: { lazyEntries: true; autoClose: boolean; decodeStrings: false; validateEntrySizes: boolean },
  ): Promise<ZipFile>;
  function getFileNameLowLevel(flags: number, raw: Buffer, extraFields: Entry["extraFields"], strict: boolean): string;
}
