package fleet

import (
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"maps"
	"path"
	"slices"
	"strconv"
	"time"
)

// mostSilences bounds the silences that are kept.
const mostSilences = 1000

// Silence makes a silence and returns its ID; the same silence made twice at the same time is one. The error says which of
// its fields cannot be.
func (f *Fleet) Silence(s Silence, now time.Time) (string, error) {
	if err := s.check(now); err != nil {
		return "", fmt.Errorf("make a silence: %w", err)
	}
	if len(f.silences) >= mostSilences {
		return "", fmt.Errorf("make a silence: there are %d already; end some", len(f.silences))
	}
	at := nanos(now)
	f.settle(at)
	s.MadeAt, s.EndedBy = now.UTC(), ""
	if s.From.IsZero() {
		s.From = now
	}
	s.From, s.Until, s.Labels = s.From.UTC(), s.Until.UTC(), maps.Clone(s.Labels)
	s.ID = s.id()
	f.silences[s.ID] = &s
	f.ledger.mark(silenceKey(s.ID))
	f.silencesChanged(at)
	return s.ID, nil
}

func (s *Silence) check(now time.Time) error {
	switch {
	case s.By == "":
		return errors.New("by is empty; say who makes it")
	case s.Site == "" && s.Host == "" && len(s.Labels) == 0 && s.Cause == "":
		return errors.New("it matches everything; name a site, a host, labels or a cause, or host * for all")
	case !s.Until.After(now) || !s.Until.After(s.From):
		return errors.New("until is not after from and now")
	}
	if _, err := path.Match(s.Host, ""); err != nil {
		return fmt.Errorf("host %q is no pattern: %w", s.Host, err)
	}
	for k, pattern := range s.Labels {
		if _, err := path.Match(pattern, ""); err != nil {
			return fmt.Errorf("label %s: %q is no pattern: %w", k, pattern, err)
		}
	}
	return nil
}

func (s *Silence) id() string {
	h := sha256.New()
	fmt.Fprintf(h, "%q %q %q %q %d %d %d %q", s.Site, s.Host, classID("", s.Labels), s.Cause, nanos(s.From), nanos(s.Until),
		nanos(s.MadeAt), s.By)
	return hex.EncodeToString(h.Sum(nil)[:8])
}

// Unsilence ends a silence now. The errors are [ErrUnknown] and [ErrOver].
func (f *Fleet) Unsilence(id, by string, now time.Time) error {
	at := nanos(now)
	f.settle(at)
	s := f.silences[id]
	switch {
	case s == nil:
		return ErrUnknown
	case !s.Until.After(now):
		return ErrOver
	}
	s.Until, s.EndedBy = now.UTC(), cmp.Or(by, "somebody")
	f.ledger.mark(silenceKey(id))
	f.silencesChanged(at)
	return nil
}

// Silences are all that are kept, those that end first in front: also those that ended within the last day.
func (f *Fleet) Silences() []Silence {
	out := make([]Silence, 0, len(f.silences))
	for _, s := range f.silences {
		c := *s
		c.Labels = maps.Clone(s.Labels)
		out = append(out, c)
	}
	slices.SortFunc(out, func(a, b Silence) int { return cmp.Or(a.Until.Compare(b.Until), cmp.Compare(a.ID, b.ID)) })
	return out
}

// silencesChanged has all open groups looked at, and finds when a silence begins or ends next.
func (f *Fleet) silencesChanged(now int64) {
	f.silenceAt = never
	for _, s := range f.silences {
		for _, at := range []int64{nanos(s.From), nanos(s.Until)} {
			if at > now {
				f.silenceAt = min(f.silenceAt, at)
			}
		}
	}
	for _, g := range f.groups {
		if g.closed == 0 {
			g.wake(now)
		}
	}
}

// active are the silences that hold at now.
func (f *Fleet) active(now int64) []*Silence {
	var out []*Silence
	for _, s := range f.silences {
		if nanos(s.From) <= now && now < nanos(s.Until) {
			out = append(out, s)
		}
	}
	return out
}

// silenced tells whether everything that is open in a group is silenced.
func (f *Fleet) silenced(g *group, now int64) bool {
	active := f.active(now)
	if len(active) == 0 {
		return false
	}
	if g.kind == KindBudget {
		return slices.ContainsFunc(active, func(s *Silence) bool { return s.onlyCause() && s.Cause == g.cause })
	}
	for _, i := range g.members {
		if !i.closed && !silencedBy(active, i.host, i.cause) {
			return false
		}
	}
	for _, h := range g.hosts {
		if h.silent && !silencedBy(active, h, g.cause) {
			return false
		}
	}
	return true
}

func (s *Silence) onlyCause() bool { return s.Site == "" && s.Host == "" && len(s.Labels) == 0 }

func silencedBy(active []*Silence, h *host, cause string) bool {
	return slices.ContainsFunc(active, func(s *Silence) bool {
		return (s.Site == "" || s.Site == h.site.name) && matches(s.Host, h.name) && hasLabels(h.class.labels, s.Labels) &&
			(s.Cause == "" || s.Cause == cause)
	})
}

// silenceKey is the key of a saved silence.
func silenceKey(id string) string { return keySilence + id }

// hex2 is a byte as two hex digits.
func hex2(n int) string {
	s := strconv.FormatInt(int64(n), 16)
	if len(s) == 1 {
		return "0" + s
	}
	return s
}
