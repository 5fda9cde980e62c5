package agent

import (
	"strings"
	"time"

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
	if l.lost == 0 && l.text == "" {
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
	if due := l.due(now); !due && (!all || l.lost == 0 && l.text == "") {
		return
	}
	a.sourceEvent(remediate.EventSourceDegraded, st, l.lost, l.text)
	l.told++
	l.lost, l.text = 0, ""
}
