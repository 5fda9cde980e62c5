// Package web shows the fleet to people and programs over HTTP: the page, the JSON API below /api/v1, /metrics and /healthz.
//
// It holds no state of the fleet but the board, a compact copy of every host's row. [Handler.Run] brings the board up to
// date every 200 ms from the hub's [Fleet]; the page loads it once as columns (/api/v1/fleet) and follows by server-sent
// events (/api/v1/changes), each of which carries what changed since the one before, in the same columns. A reader that is
// slow gets fewer and larger changes, never a queue.
//
// Everybody who can reach the listener may read. Whoever acts (acknowledge, silence, hold) is a user of the configuration
// who logged in, or one that a trusted proxy names in a header; the hub is told by whom.
//
// The page is plain modules and style sheets, embedded as they are: there is no build step. Its policy allows nothing but
// its own files, so it works where there is no other network. The one foreign part is uPlot, below static/vendor.
package web
