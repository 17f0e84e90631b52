// Keys of the GCS's key-value store that more than one process knows.

/** Namespace of tray's own keys; users' namespaces are job namespaces and do not begin with "_". */
export const internalNamespace = "_tray";
/** Under internalNamespace: the dashboard's URL as UTF-8, written by the dashboard when it serves; `status` reports it. */
export const dashboardUrlKey = "dashboard-url";
