// Every limit of a raylet that is not a key of SystemConfig, named in one place.

/** Owners and their scheduling classes: a peer that invents class keys must not grow our memory. */
export const classesPerOwnerMax = 10_000;
/** Leases that one scheduling class of one owner may ask for at a time. */
export const wantedPerClassMax = 100_000;

/** How long a node that a task is tied to may be unknown here before that is an answer (it may have joined a moment ago). */
export const unknownNodeGraceMs = 2_000;
/** Between two questions to the global scheduler about one class. */
export const placeIntervalMs = 50;
/** Between two questions when the last one brought nothing and the view has not changed since. */
export const placeRetryMs = 1_000;
/** After so long demand that was sent elsewhere counts here again, unless its owner has spoken since. */
export const spilledForgetMs = 1_000;
/** After so long without an answer a placement question counts as failed and the class is served here. */
export const placeTimeoutMs = 5_000;
/** Arguments of at least this many bytes more elsewhere than here make the global scheduler choose. */
export const localityBytesMin = 1024 * 1024;

/** Exits of workers that are remembered for `workerFailure`. */
export const rememberedExitsMax = 1_000;
/** Actors of which it is remembered that they ended here. An order to create one again comes within the seconds for which the GCS repeats it. */
export const rememberedActorsMax = 10_000;
/** Last lines of stderr kept per worker. */
export const stderrTailLines = 20;
/** Consecutive failed starts after which starts wait (doubling up to the maximum). */
export const startBackoffMinMs = 200;
export const startBackoffMaxMs = 5_000;
/** Failed starts in a row after which those who wait for a worker of that kind are told. */
export const startFailuresMax = 5;

/** Longest log line; the rest goes to the next one. */
export const logLineBytesMax = 16 * 1024;
/** Lines of one worker's stream waiting to be published; more are dropped and counted (the file has them all). */
export const logLinesPendingMax = 10_000;
export const logFlushMs = 50;

/** Classes in one heartbeat. */
export const reportedClassesMax = 200;

/** Answers of readLog. */
export const readLogBytesMax = 4 * 1024 * 1024;

/** Spilled objects that are restored at the same time; more only compete for the disk. */
export const restoreReadsMax = 4;
/** Memory of the object store that is made present ahead of its first use, at most, and at a time. */
export const warmAheadMax = 64 * 1024 * 1024;
export const warmStepBytes = 16 * 1024 * 1024;
/** Chunks of one of them under way: while one is copied, the pages of the others come in. */
export const restoreChunksMax = 3;
/** Between two requests to the readers of a full object store to collect their garbage, which stops their programs for some milliseconds; doubles while it does not help. */
export const collectPauseMinMs = 20;
export const collectPauseMaxMs = 1_000;
/** Read from the spill store at a time: what one step may hold in memory. */
export const spillChunkBytesMax = 4 * 1024 * 1024;

/** Between two rounds of asking for an object those who have it and cannot be reached; doubles up to the maximum. */
export const pullPauseMinMs = 20;
export const pullPauseMaxMs = 1_000;
/** From which size on objects are worth more than the simplest transfer. */
export interface TransferSizes {
  /** Brought by several of the nodes that have it at a time: the time saved is worth the coordination. */
  readonly stripeBytesMin: number;
  /** Sent on to those who have it when several ask: a round trip costs less. */
  readonly fanoutBytesMin: number;
}
export const transferSizes: TransferSizes = { stripeBytesMin: 32 * 1024 * 1024, fanoutBytesMin: 1024 * 1024 };
export const stripesMax = 4;
/** A broadcast tree is not deeper: at two children a node it has reached a million by then. */
export const redirectsMax = 20;
/** News of a copy has reached its owner after so long, or the owner is out of reach. */
export const copyNewsMs = 60_000;
/** What waits for room in a store that is full of what others have pinned is refused after so long in which nothing moved. */
export const storeFullMs = 60_000;
/** While nothing moves, requests that hold objects and wait for others give them up after so long, all but one. */
export const favourAfterMs = 1_000;
/** One that is alone, and begins anew so often, is refused. */
export const triesAloneMax = storeFullMs / favourAfterMs;
/** Requests that wait for their turn to fetch. */
export const waitingFetchesMax = 100_000;
