// What the page knows, and who wants to hear of changes to it.
import { Fleet } from "./columns.js";

export const state = {
  fleet: new Fleet(),
  incidents: { open: 0, total: 0, incidents: [], loaded: false },
  status: null,
  session: { user: "", login: false },
  live: "wait", // live | wait | lost
};

const listeners = new Map(); // kinds: rows, incidents, status, session, live

/** on calls listener after each change of that kind, until the function that it returns is called. */
export function on(kind, listener) {
  if (!listeners.has(kind)) listeners.set(kind, new Set());
  listeners.get(kind).add(listener);
  return () => listeners.get(kind).delete(listener);
}

export function tell(kind, detail) {
  for (const listener of listeners.get(kind) ?? []) listener(detail);
}
