// Errors across the wire: by code, with message, hint and details; never by text. JSON: errors are rare and details are JSON values.
import { type ErrorCode, errorCodes, isTrayError, messageOf, TrayError } from "@tray/common";

const codes: ReadonlySet<string> = new Set(errorCodes);

export function encodeError(error: unknown): Uint8Array {
  const fields = isTrayError(error)
    ? { code: error.code, message: error.message, hint: error.hint, details: error.details }
    : { code: "SYSTEM", message: messageOf(error) };
  try {
    return new TextEncoder().encode(JSON.stringify(fields));
  } catch {
    // Details that are no JSON values (a cycle, a BigInt) must not cost the caller its answer.
    return new TextEncoder().encode(JSON.stringify({ ...fields, details: undefined }));
  }
}

/** A code unknown here (a newer peer's) becomes SYSTEM. */
export function decodeError(bytes: Uint8Array): TrayError {
  let fields: { code?: unknown; message?: unknown; hint?: unknown; details?: unknown };
  try {
    fields = JSON.parse(new TextDecoder().decode(bytes)) as typeof fields;
  } catch (error) {
    return new TrayError("SYSTEM", `unreadable error reply: ${messageOf(error)}`);
  }
  const known = typeof fields.code === "string" && codes.has(fields.code);
  return new TrayError(known ? (fields.code as ErrorCode) : "SYSTEM", String(fields.message), {
    ...(typeof fields.hint === "string" ? { hint: fields.hint } : {}),
    ...(typeof fields.details === "object" && fields.details !== null ? { details: fields.details as Record<string, unknown> } : {}),
  });
}
