/** tray's version: what processes tell each other at connection (both ends must run the same) and `tray --version` prints. As in every package.json. */
export const trayVersion = "0.1.0";
