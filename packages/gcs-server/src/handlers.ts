import { TrayError } from "@tray/common";
import type { GcsService } from "@tray/protocol";
import type { Handlers } from "@tray/rpc";

export type GcsHandlers = Handlers<typeof GcsService>;

/** A part of a message that every sender of this version fills in. @throws INVALID_ARGUMENT */
export function required<T>(value: T | undefined, what: string): T {
  if (value === undefined || value === "") throw new TrayError("INVALID_ARGUMENT", `${what} is missing`);
  return value;
}
