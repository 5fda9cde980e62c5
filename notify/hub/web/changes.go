package web

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net/http"
	"strconv"
	"sync"
	"time"
)

// Followers of the changes.
const (
	maxFollowers = 512
	// beat is the longest pause between two messages, so that proxies keep the connection and the page sees that it is dead.
	beat = 10 * time.Second
	// writeWithin is how long a follower may take over one message. One that has gone to sleep is let go.
	writeWithin = 20 * time.Second
)

// follower is one reader of the changes.
type follower struct {
	h   *Handler
	w   http.ResponseWriter
	out *http.ResponseController
	// rows and incidents are the revisions that it has been told of; status is the last one that it was sent.
	rows, incidents uint64
	status          *brief
}

// getChanges streams what changes, as server-sent events. "rows" has the columns in base64, "incidents" the list of
// incidents, "status" the hub's status. A reader says by epoch and since which rows it has; where that is not known here,
// "reload" tells it to load the fleet again.
func (h *Handler) getChanges(w http.ResponseWriter, r *http.Request) {
	if h.readers.Add(1) > maxFollowers {
		h.readers.Add(-1)
		w.Header().Set("Retry-After", "30")
		refuse(w, http.StatusServiceUnavailable, "too many readers follow the changes; close some pages")
		return
	}
	defer h.readers.Add(-1)
	head := w.Header()
	head.Set("Content-Type", "text/event-stream")
	head.Set("Cache-Control", "no-store")
	head.Set("X-Accel-Buffering", "no") // nginx would keep the messages back
	f := &follower{h: h, w: w, out: http.NewResponseController(w)}
	// The server's limit on reading a request goes on while it is answered, and would end it.
	_ = f.out.SetReadDeadline(time.Time{})
	since, err := strconv.ParseUint(r.URL.Query().Get("since"), 10, 64)
	if err != nil || r.URL.Query().Get("epoch") != h.board.epoch || since > h.board.current() {
		_ = f.send("reload", []byte("{}")) // it will come again either way
		return
	}
	f.rows = since
	f.run(r)
}

func (f *follower) run(r *http.Request) {
	alive := time.NewTicker(beat)
	defer alive.Stop()
	for {
		news := f.h.news.wait()
		if f.tell() != nil {
			return // the reader has gone, or is asleep
		}
		select {
		case <-news:
		case <-alive.C:
			if f.send("beat", []byte("{}")) != nil {
				return
			}
		case <-f.h.followed:
			return
		case <-r.Context().Done():
			return
		}
	}
}

// tell sends everything that is new to the follower.
func (f *follower) tell() error {
	if f.h.board.current() > f.rows {
		columns, revision := f.h.board.columns(f.rows)
		text := make([]byte, base64.StdEncoding.EncodedLen(len(columns)))
		base64.StdEncoding.Encode(text, columns)
		if err := f.send("rows", text); err != nil {
			return err
		}
		f.rows = revision
	}
	if revision := f.h.cfg.Incidents.Revision(); revision != f.incidents {
		list, err := f.h.list.get(f.h, revision)
		if err == nil {
			err = f.send("incidents", list)
		}
		if err != nil {
			return err
		}
		f.incidents = revision
	}
	return f.tellStatus()
}

// tellStatus sends the few fields that every view shows, where they differ from what was last sent.
func (f *follower) tellStatus() error {
	status := f.h.brief.Load()
	if status == f.status {
		return nil
	}
	body, err := json.Marshal(status)
	if err != nil {
		return fmt.Errorf("encode the status: %w", err)
	}
	f.status = status
	return f.send("status", body)
}

// send writes one message; data has no line feeds.
func (f *follower) send(event string, data []byte) error {
	message := append([]byte("event: "+event+"\ndata: "), data...)
	// The server's own limit is for answers that end. Where the connection has no deadlines, its end is seen by writing.
	_ = f.out.SetWriteDeadline(time.Now().Add(writeWithin))
	if _, err := f.w.Write(append(message, "\n\n"...)); err != nil {
		return err
	}
	return f.out.Flush()
}

// incidentCache keeps the list of incidents as it is sent, since all followers are sent the same.
type incidentCache struct {
	mu       sync.Mutex
	revision uint64
	body     []byte
}

// get is the list as of revision or later.
func (c *incidentCache) get(h *Handler, revision uint64) (body []byte, err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.body == nil || c.revision != revision {
		c.revision = revision
		c.body, err = json.Marshal(h.incidentList(listFirst))
	}
	return c.body, err
}

// brief is the part of the status that every view shows.
type brief struct {
	Hub       string `json:"hub"`
	Leader    string `json:"leader"`
	Connected bool   `json:"connected"`
	Loaded    bool   `json:"loaded"`
	Problem   string `json:"problem,omitempty"`
	Dead      int    `json:"dead_letters"`
	Silences  int    `json:"silences"`
	Holds     int    `json:"holds"`
}

func briefOf(s Status) brief {
	return brief{
		Hub: s.Hub, Leader: s.Leader, Connected: s.Connected, Loaded: s.Loaded, Problem: s.Problem,
		Dead: len(s.DeadLetters), Silences: len(s.Silences), Holds: len(s.Holds),
	}
}
