package agent

import (
	"encoding/json"
	"fmt"
	"strings"
	"time"

	"go.uber.org/zap"

	"github.com/ctwarden/ctwarden/remediate"
	"github.com/ctwarden/ctwarden/watcher"
)

// lossesAtOnce is how many losses of one source are told of singly in lossesEvery; what is more is added up. Somebody who
// may truncate a log could else make us say as much as he likes.
const (
	lossesAtOnce = 10
	lossesEvery  = time.Minute
	// longestLoss bounds the text of losses that are added up, in bytes.
	longestLoss = 512
)

// losses is what a stream lost and nobody was told of yet.
type losses struct {
	lost  uint64
	text  string
	told  int       // events since the time below
	since time.Time // when a new count began
	saved bool      // the state file has them
}

// untold is the saved form.
type untold struct {
	Lost uint64 `json:"lost"`
	Text string `json:"text"`
}

// lossesKey is the name in the state file of what a stream lost and nobody was told of.
func lossesKey(stream string) string { return "losses " + stream }

// empty tells whether there is nothing to tell.
func (l *losses) empty() bool { return l.lost == 0 && l.text == "" }

// untoldLosses is what the state file is to keep of losses: a kill must not silence them, since the position is behind
// them already. An empty value takes back what was told.
func (a *Agent) untoldLosses() map[string][]byte {
	out := map[string][]byte{}
	for key, st := range a.streams {
		l := &st.losses
		switch {
		case l.saved && l.empty():
			out[lossesKey(key)], l.saved = nil, false
		case !l.empty():
			b, err := json.Marshal(untold{l.lost, l.text})
			if err != nil {
				a.cfg.Log.Error("losses not saved", zap.String("source", key), zap.Error(err))
				continue
			}
			out[lossesKey(key)], l.saved = b, true
		}
	}
	return out
}

// restore takes over what an earlier run did not come to tell.
func (l *losses) restore(saved []byte) error {
	if len(saved) == 0 {
		return nil
	}
	var u untold
	if err := json.Unmarshal(saved, &u); err != nil {
		return fmt.Errorf("losses of the run before not understood: %w", err)
	}
	l.lost, l.text, l.saved = u.Lost, u.Text, true
	return nil
}

// add takes what a batch says was lost.
func (l *losses) add(s watcher.Stats) {
	l.lost += s.Lost
	switch {
	case s.LostText == "" || strings.Contains(l.text, s.LostText):
	case l.text == "":
		l.text = s.LostText
	case len(l.text)+len(s.LostText) < longestLoss:
		l.text += "; " + s.LostText
	}
}

// due tells whether there is something to say, and whether it may be said.
func (l *losses) due(now time.Time) bool {
	if l.empty() {
		return false
	}
	if now.Sub(l.since) >= lossesEvery {
		l.told, l.since = 0, now
	}
	return l.told < lossesAtOnce
}

// sayLost tells what a stream has lost; all tells whether it must be said whatever was said before.
func (a *Agent) sayLost(now time.Time, st *stream, all bool) {
	l := &st.losses
	if due := l.due(now); !due && (!all || l.empty()) {
		return
	}
	a.sourceEvent(remediate.EventSourceDegraded, st, l.lost, l.text)
	l.told++
	l.lost, l.text = 0, ""
}
