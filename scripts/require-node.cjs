// Says in one line that Node is too old, in a syntax that an old Node understands.
"use strict";
var floor = /(\d+)\.(\d+)/.exec(require("../package.json").engines.node);
var version = process.versions.node.split(".").map(Number);
if (version[0] < Number(floor[1]) || (version[0] === Number(floor[1]) && version[1] < Number(floor[2]))) {
  console.error("tray needs Node " + floor[1] + "." + floor[2] + " or newer; this is Node " + process.versions.node + " (" + process.execPath + ").");
  process.exit(2);
}
