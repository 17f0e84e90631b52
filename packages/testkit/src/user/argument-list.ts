// Argument lists of simulated programs as they travel: 2 bytes their number, then for each 4 bytes its length and its encoding (value.ts).

export function joined(encoded: readonly Uint8Array[]): Uint8Array {
  const bytes = new Uint8Array(2 + encoded.reduce((sum, one) => sum + one.length + 4, 0));
  const view = new DataView(bytes.buffer);
  view.setUint16(0, encoded.length);
  let at = 2;
  for (const one of encoded) {
    view.setUint32(at, one.length);
    bytes.set(one, at + 4);
    at += 4 + one.length;
  }
  return bytes;
}

export function separated(bytes: Uint8Array): Uint8Array[] {
  if (bytes.length < 2) return [];
  const view = new DataView(bytes.buffer, bytes.byteOffset);
  const out: Uint8Array[] = [];
  let at = 2;
  for (let left = view.getUint16(0); left > 0; left--) {
    const length = view.getUint32(at);
    out.push(bytes.subarray(at + 4, at + 4 + length));
    at += 4 + length;
  }
  return out;
}
