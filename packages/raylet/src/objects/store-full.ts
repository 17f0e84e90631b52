// The refusal of room in the object store, with what fills it.
import { formatSize, TrayError } from "@tray/common";
import type { ObjectTableCore } from "@tray/object-store";

/** @param sizes of the objects for which there is no room, together. */
export function storeFull(table: ObjectTableCore, sizes: readonly number[]): TrayError {
  const usage = table.usage();
  const { capacity } = usage;
  const pinnedBytes = usage.pinnedBytes + usage.deletedBytes; // views of deleted objects hold on to their room, too
  const bytes = sizes.reduce((sum, size) => sum + size, 0);
  const what = sizes.length === 1 ? `an object of ${formatSize(bytes)}` : `${sizes.length} objects that are needed together, of ${formatSize(bytes)}`;
  const why =
    bytes > capacity
      ? `the node's object store has ${formatSize(capacity)}`
      : `${formatSize(pinnedBytes)} of the ${formatSize(capacity)} of the node's object store are held by values in use`;
  return new TrayError("OBJECT_STORE_FULL", `no room for ${what}: ${why}`, {
    hint: "use fewer large values at a time and let go of those that are done with (ref.release()), or start the node with a larger --object-store-memory",
    details: { capacityBytes: capacity, pinnedBytes, wantedBytes: bytes },
  });
}
