/** Any value as one line of text: strings as they are, objects as JSON. For tables and filters. */
export function textOf(value: unknown): string {
  if (typeof value === "string") return value;
  return typeof value === "object" ? JSON.stringify(value) : String(value as number | boolean | bigint | symbol | undefined);
}
