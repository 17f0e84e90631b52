export { type Arena, type PrivateView, type ReadOptions } from "./arena/arena.js";
export { ArenaAllocator, blockBytes, pageBytes } from "./arena/allocator.js";
export { finalizeMappings, liveMappings } from "./arena/mapping.js";
export { MemoryArena } from "./arena/memory-arena.js";
export { SharedArena } from "./arena/shared-arena.js";
export {
  type Bulk,
  type BulkOpen,
  type BulkOpened,
  type BulkOutcome,
  type BulkPull,
  type BulkReadable,
  type BulkSource,
  type BulkStats,
} from "./bulk/bulk.js";
export { BulkClient, type BulkClientOptions } from "./bulk/client.js";
export { Fanout, type FanoutDecision, type FanoutOptions } from "./bulk/fanout.js";
export { MemoryBulkNetwork, type MemoryBulkOptions } from "./bulk/memory-bulk.js";
export { BulkServer, type BulkServerOptions } from "./bulk/server.js";
export {
  type SpillBatch,
  type SpillCommands,
  SpillCore,
  type SpilledOnly,
  type SpillOptions,
  type SpillUsage,
  type SpillWrite,
} from "./spill/core.js";
export { LmdbSpillStore, type LmdbSpillStoreOptions } from "./spill/lmdb-spill-store.js";
export { MemorySpillStore, type MemorySpillStoreOptions } from "./spill/memory-spill-store.js";
export { openS3 } from "./spill/s3-bucket.js";
export { type Bucket, S3SpillStore, type S3SpillStoreOptions } from "./spill/s3-spill-store.js";
export type { SpillItem, SpillStore } from "./spill/store.js";
export { ObjectTableCore, type ObjectTableOptions } from "./table/core.js";
export {
  type ClientGone,
  type CopyKind,
  type CreateOutcome,
  type CreateRequest,
  type DeleteOutcome,
  type Evicted,
  type Grant,
  type Holder,
  type ObjectInfo,
  type ObjectOwner,
  type Outcome,
  type PinOutcome,
  type SealOutcome,
  type StoreUsage,
  type TableEffects,
  type WaitingCreate,
} from "./table/types.js";
