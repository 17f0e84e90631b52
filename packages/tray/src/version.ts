/** tray's version; all processes of a cluster run the same. */
export const version = "0.1.0";
