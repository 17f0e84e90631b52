export { type Chunk, chunkBytesMax, ChunkFile } from "./chunk-file.js";
export { LmdbStore, type LmdbStoreOptions } from "./lmdb-store.js";
export { MemoryDisk, MemoryStore, type MemoryStoreOptions } from "./memory-store.js";
export type { EntriesOptions, Store, Table } from "./store.js";
export { maxKeyBytes, maxValueBytes, WriteBatch, type WriteOp } from "./write-batch.js";
