// A CommonJS driver; connects by itself at its first use of the API.
//   says: value
const assert = require("node:assert/strict");
const tray = require("tray");
const { map } = require("tray/util");

const offset = 40;
const helper = (x) => x + offset;
const f = tray.remote((x) => helper(x));
class Cell {
  constructor(value) {
    this.value = value;
  }
  swap(value) {
    const old = this.value;
    this.value = value;
    return old;
  }
}

async function main() {
  assert.equal(tray.isInitialized(), false);
  const value = await tray.get(f.remote(2));
  assert.equal(tray.isInitialized(), true);
  const cell = tray.remote(Cell).remote(value);
  await tray.get(cell.swap.remote("new"));
  const mapped = [];
  for await (const result of map(helper, [1, 2])) mapped.push(result);
  console.log(
    `value ${JSON.stringify([value, await tray.get(cell.swap.remote(null)), (await import("tray")).ObjectRef === tray.ObjectRef, mapped])}`,
  );
}

void main();
