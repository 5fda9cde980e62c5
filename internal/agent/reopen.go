package agent

import (
	"bytes"
	"encoding/json"
	"fmt"
	"slices"

	"go.uber.org/zap"

	"github.com/ctwarden/ctwarden/internal/state"
	"github.com/ctwarden/ctwarden/remediate"
)

// opened books that the start has opened the file, and returns what has to be said of it. What a file that was found
// damaged held besides the outbox goes into the fresh one.
func (r *recorder) opened() (text string) {
	news := *r.disk.news
	r.disk.news = nil
	r.queue.opened(r.disk.store.Load())
	r.mu.Lock()
	defer r.mu.Unlock()
	if news.SetAside != "" {
		text = reopenedText(news, nil, reckoning{known: r.known})
		r.change = r.image.change()
	}
	r.known = false
	return text
}

// reopened has all that is known written into a state file that was opened while the agent runs, and says what happened:
// it was damaged, removed or replaced, or it could not be opened before. It is called in a turn at the disk.
func (r *recorder) reopened(store *state.Store) error {
	news, why := *r.disk.news, r.disk.why
	r.mu.Lock()
	n := reckoning{known: r.known && why == nil}
	r.mu.Unlock()
	var earlier state.Snapshot
	if !news.Fresh && !n.known {
		var err error
		if earlier, err = store.Load(); err != nil {
			r.disk.condemn(err)
			return err
		}
	}
	n.kept, n.lost = r.queue.reopened(news.Fresh && why != nil)
	if !news.Fresh {
		r.queue.opened(store)
	}
	r.mu.Lock()
	steps := r.image.adopt(earlier.Steps)
	n.open, n.places = r.image.unknown(earlier.Tracker), r.image.left(earlier.Positions)
	r.change = r.image.change() // which has what was to be committed, in the right order
	r.known = false
	r.mu.Unlock()
	r.disk.news, r.disk.why = nil, nil

	if n.known && !news.Fresh {
		r.log.Info("state file read whole", zap.Int("events_waiting", store.Len()))
		return nil
	}
	text := reopenedText(news, why, n)
	r.log.Warn("state file opened while running", zap.String("text", text))
	r.told(text, steps)
	return nil
}

// reckoning is what came of opening the file again.
type reckoning struct {
	known      bool // what it held besides the outbox was taken over at the start
	kept, lost int  // events, see outbox.reopened
	open       int  // incidents that only the file knew
	places     int  // and sources' positions
}

func reopenedText(news state.Opened, why error, n reckoning) string {
	text := "the state file could not be opened at the start and now is: what happened since is in it"
	switch {
	case why != nil && news.SetAside != "":
		text = fmt.Sprintf("the state file was found damaged (%v); it was set aside as %s and a fresh one begun with all that "+
			"is known", why, news.SetAside)
	case why != nil && news.Fresh:
		text = fmt.Sprintf("%v; a fresh one was begun with all that is known", why)
	case why != nil:
		text = fmt.Sprintf("%v; the file there now was gone on with", why)
	case news.SetAside != "":
		text = fmt.Sprintf("the state file was damaged (%s); it was set aside as %s and a fresh one begun", news.Problem, news.SetAside)
		if n.known {
			text += " with the positions, incidents and steps, which were sound; events that waited in it are not sent"
		}
	}
	if why != nil && news.Fresh {
		text += fmt.Sprintf("; %d events were written again, %d that only that file held are lost", n.kept, n.lost)
	}
	if n.open > 0 {
		text += fmt.Sprintf("; %d incidents that were open before the start are not followed to their end", n.open)
	}
	if n.places > 0 && why == nil {
		text += fmt.Sprintf("; what %d sources had behind their saved positions at the start was not read", n.places)
	}
	return text
}

// image is what the state file should hold besides the outbox.
type image struct {
	positions, meta map[string][]byte
	tracker         []byte
	steps           []state.Record
}

func newImage() image {
	return image{positions: map[string][]byte{}, meta: map[string][]byte{}}
}

// put overlays a change.
func (m *image) put(c state.Change) {
	for k, v := range c.Positions {
		m.positions[k] = v
	}
	for k, v := range c.Meta {
		m.meta[k] = v
	}
	if c.Tracker != nil {
		m.tracker = c.Tracker
	}
	for _, s := range c.Steps {
		if at := m.step(s.ID); at >= 0 {
			m.steps[at] = s
			continue
		}
		m.steps = append(m.steps, s)
	}
	if over := len(m.steps) - keptSteps; over > 0 {
		m.steps = m.steps[over:]
	}
}

func (m *image) step(id string) int {
	for i := len(m.steps) - 1; i >= 0; i-- {
		if m.steps[i].ID == id {
			return i
		}
	}
	return -1
}

// adopt takes over the steps of an earlier run that the image does not have, and returns them.
func (m *image) adopt(steps []state.Record) []state.Record {
	var news []state.Record
	for _, s := range steps {
		if m.step(s.ID) < 0 {
			news = append(news, s)
		}
	}
	m.steps = append(news[:len(news):len(news)], m.steps...)
	if over := len(m.steps) - keptSteps; over > 0 {
		m.steps = m.steps[over:]
	}
	return news
}

// unknown counts the incidents that are open in another snapshot of the tracker and not in the image's.
func (m *image) unknown(tracker []byte) int {
	var theirs, ours remediate.TrackerState
	if len(tracker) == 0 || json.Unmarshal(tracker, &theirs) != nil {
		return 0
	}
	if m.tracker != nil && json.Unmarshal(m.tracker, &ours) != nil {
		return 0
	}
	known := map[string]bool{}
	for _, o := range ours.Open {
		known[o.ID] = true
	}
	n := 0
	for _, o := range theirs.Open {
		if !known[o.ID] {
			n++
		}
	}
	return n
}

// left counts the positions of others that the image has in another place.
func (m *image) left(positions map[string][]byte) (n int) {
	for stream, at := range positions {
		if ours, ok := m.positions[stream]; ok && !bytes.Equal(ours, at) {
			n++
		}
	}
	return n
}

// change is what writes all of the image.
func (m *image) change() state.Change {
	// The steps are copied, since put replaces them in their place while the change is being committed.
	c := state.Change{Tracker: m.tracker, Steps: slices.Clone(m.steps), Positions: map[string][]byte{}, Meta: map[string][]byte{}}
	for k, v := range m.positions {
		c.Positions[k] = v
	}
	for k, v := range m.meta {
		c.Meta[k] = v
	}
	return c
}
