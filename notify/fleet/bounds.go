package fleet

import (
	"cmp"
	"encoding/hex"
	"maps"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/ctwarden/ctwarden/remediate"
)

// The bounds of what is kept, whatever comes over the wire: an event may have a megabyte, all of it in one text.
const (
	// mostName bounds the bytes of a name or an address, mostID of an incident's ID, mostWord of a word such as a version,
	// mostVerdict of a sentence.
	mostName    = 255
	mostID      = 80
	mostWord    = 64
	mostVerdict = 300
	// mostTop bounds the addresses of an incident, mostNoStep the reasons why no step was taken, mostSteps the steps.
	mostTop    = 5
	mostNoStep = 8
	mostSteps  = 16
	// mostOpen bounds the open incidents of one host, mostClosed the closed ones, mostTombs those that are recognised.
	mostOpen   = 64
	mostClosed = 8
	mostTombs  = 32
	// mostListed is from how many incidents of a host on the closed ones are thrown out without waiting.
	mostListed = 24
	// mostReasons and mostSites bound what is told of one group.
	mostReasons = 30
	mostSites   = 1000
)

// text is a copy of a text from outside, cut to at most that many bytes, without what is no character or has no picture: in
// JSON each byte of it would become six. Like all texts from outside that are kept it is copied, since it may be a part of a
// whole message.
func text(s string, most int) string {
	return strings.Clone(clip(plainText(clip(s, most)), most))
}

// plainText has spaces in the place of control characters, and question marks for what is no character.
func plainText(s string) string {
	clean := func(r rune) bool {
		return r < ' ' || r == 0x7f || r == utf8.RuneError || r == '\u2028' || r == '\u2029'
	}
	if !strings.ContainsFunc(s, clean) {
		return s
	}
	return strings.Map(func(r rune) rune {
		switch {
		case r == utf8.RuneError:
			return '?'
		case clean(r):
			return ' '
		}
		return r
	}, s)
}

// boundName is a name as it is; one that is too long ends in a hash of it, so that it stays another than any other.
func boundName(name string) string { return hashed(name, mostName) }

// boundID is the ID of an incident, in the same manner.
func boundID(id string) string { return hashed(id, mostID) }

func hashed(s string, most int) string {
	if len(s) <= most && plainText(s) == s {
		return s
	}
	var sum [8]byte
	for k, h := 0, hash64(s); k < len(sum); k, h = k+1, h>>8 {
		sum[k] = byte(h)
	}
	return text(s, most-2*len(sum)-1) + "~" + hex.EncodeToString(sum[:])
}

// clip cuts a text to at most that many bytes, at a character.
func clip(s string, most int) string {
	if len(s) <= most {
		return s
	}
	for most > 0 && s[most]&0xc0 == 0x80 {
		most--
	}
	return s[:most]
}

// newIncident makes an incident that is heard of for the first time, in the place of others where there are too many.
func (f *Fleet) newIncident(h *host, id string, now int64) *incident {
	f.thin(h)
	f.fold(h)
	i := &incident{id: strings.Clone(id), host: h, taken: now}
	h.incidents = append(h.incidents, i)
	return i
}

// fold makes room where a host has too many open incidents: the oldest goes, those of which only steps were heard first.
// What it counted stays with its group, and it is counted with the host.
func (f *Fleet) fold(h *host) {
	open := slices.DeleteFunc(slices.Clone(h.incidents), func(i *incident) bool { return i.closed })
	if len(open) == 0 {
		h.folded = 0
	}
	if len(open) < mostOpen {
		return
	}
	oldest := slices.MinFunc(open, func(a, b *incident) int {
		if a.known != b.known {
			if b.known {
				return -1
			}
			return 1
		}
		return cmp.Or(cmp.Compare(a.opened, b.opened), cmp.Compare(a.taken, b.taken), cmp.Compare(a.id, b.id))
	})
	if oldest.live() {
		if g := oldest.group; g != nil && h.folded == 0 {
			f.note(g, oldest.at, h, h.name+" has more than "+strconv.Itoa(mostOpen)+" open incidents: the oldest are only counted", true)
		}
		h.folded++
	}
	f.drop(oldest)
}

// fewReasons keeps the most frequent reasons of a group.
func fewReasons(m map[remediate.Reason]int) map[remediate.Reason]int {
	if len(m) <= mostReasons {
		return m
	}
	for _, why := range byCount(m)[mostReasons:] {
		delete(m, why)
	}
	return m
}

// fewSites keeps the sites with the most hosts.
func fewSites(m map[string]int) {
	if len(m) <= mostSites {
		return
	}
	names := slices.SortedFunc(maps.Keys(m), func(a, b string) int { return cmp.Or(cmp.Compare(m[b], m[a]), cmp.Compare(a, b)) })
	for _, name := range names[mostSites:] {
		delete(m, name)
	}
}
