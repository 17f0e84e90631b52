#!/usr/bin/env node
import "../dist/bin/tray.cjs";
