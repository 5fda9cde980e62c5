package fleet

import (
	"bytes"
	"encoding/json"
	"math"
	"strconv"
	"unicode/utf8"

	"github.com/ctwarden/ctwarden/remediate"
)

// The rows of a saved shard. Their names are short, since there are 100,000 of them; times are in ns. Writing them is by
// hand, as it is done several times a second in a storm; reading is not.
type shardRow struct {
	// Hosts are of type hostRow.
	Hosts []json.RawMessage `json:"h"`
}

type hostRow struct {
	raw       []byte        // what it was read from
	Site      string        `json:"s"`
	Name      string        `json:"n"`
	Version   string        `json:"v"`
	Seen      int64         `json:"t"`
	Told      int64         `json:"l"`
	AgentAt   int64         `json:"a"`
	LastWord  int64         `json:"w"`
	StateAt   int64         `json:"y"`
	State     HostState     `json:"x"`
	Fill      float64       `json:"f"`
	Count     uint64        `json:"c"`
	Max       uint64        `json:"m"`
	Mode      string        `json:"o"`
	Silent    string        `json:"g"`
	Incidents []incidentRow `json:"i"`
	Steps     []stepRow     `json:"q"`
	Tombs     []uint64      `json:"b"`
	Folded    int           `json:"d"`
}

type incidentRow struct {
	ID      string             `json:"i"`
	Group   string             `json:"g"`
	Flags   uint8              `json:"x"`
	NetNS   string             `json:"n"`
	Cause   string             `json:"u"`
	Opened  int64              `json:"o"`
	Closed  int64              `json:"e"`
	At      int64              `json:"t"`
	Taken   int64              `json:"k"`
	Hot     int64              `json:"f"`
	Ended   string             `json:"s"`
	Last    uint64             `json:"y"`
	Drops   uint64             `json:"d"`
	Early   uint64             `json:"l"`
	Chains  uint64             `json:"h"`
	Count   uint64             `json:"c"`
	Peak    uint64             `json:"p"`
	Max     uint64             `json:"m"`
	Top     []topRow           `json:"a"`
	Verdict string             `json:"v"`
	Outcome remediate.Outcome  `json:"r"`
	Steps   []stepRow          `json:"q"`
	Dropped []int              `json:"z"`
	NoStep  []remediate.Reason `json:"w"`
}

type topRow struct {
	Address string `json:"a"`
	Entries uint64 `json:"n"`
}

type stepRow struct {
	Key     uint64            `json:"k"`
	At      int64             `json:"t"`
	From    uint64            `json:"f"`
	To      uint64            `json:"o"`
	Reason  remediate.Reason  `json:"r"`
	Outcome remediate.Outcome `json:"u"`
	Flags   uint8             `json:"x"`
	Why     string            `json:"w"`
}

// The flags of an incident and of a step.
const (
	flagKnown = 1 << iota
	flagCritical
	flagVerified
	flagHistorical
	flagClosed
)

const (
	flagFailed = 1 << iota
	flagReverted
)

// object writes the members of a JSON object that are not zero.
type object struct {
	b    []byte
	more bool
}

func (o *object) key(k byte) {
	if o.more {
		o.b = append(o.b, ',')
	}
	o.more = true
	o.b = append(o.b, '"', k, '"', ':')
}

func (o *object) text(k byte, s string) {
	if s != "" {
		o.key(k)
		o.b = appendText(o.b, s)
	}
}

func (o *object) int(k byte, n int64) {
	if n != 0 {
		o.key(k)
		o.b = strconv.AppendInt(o.b, n, 10)
	}
}

func (o *object) uint(k byte, n uint64) {
	if n != 0 {
		o.key(k)
		o.b = strconv.AppendUint(o.b, n, 10)
	}
}

func (o *object) float(k byte, n float64) {
	if n != 0 && !math.IsNaN(n) && !math.IsInf(n, 0) {
		o.key(k)
		o.b = strconv.AppendFloat(o.b, n, 'g', -1, 64)
	}
}

// list writes an array with n elements, if there are any.
func (o *object) list(k byte, n int, each func(b []byte, i int) []byte) {
	if n == 0 {
		return
	}
	o.key(k)
	o.b = append(o.b, '[')
	for i := range n {
		if i > 0 {
			o.b = append(o.b, ',')
		}
		o.b = each(o.b, i)
	}
	o.b = append(o.b, ']')
}

// appendText writes a JSON string.
func appendText(b []byte, s string) []byte {
	for i := range len(s) {
		if c := s[i]; c < ' ' || c == '"' || c == '\\' || c >= utf8.RuneSelf {
			quoted, err := json.Marshal(s)
			if err != nil {
				return append(b, `""`...) // no string fails
			}
			return append(b, quoted...)
		}
	}
	b = append(b, '"')
	b = append(b, s...)
	return append(b, '"')
}

// appendShard writes a shard, its hosts in the order in which they came; rows above a size at a leanness, where that is not
// zero.
func (f *Fleet) appendShard(b []byte, n uint8, over, leanness int) []byte {
	hosts := f.shards[n]
	o := object{b: append(b, '{')}
	o.list('h', len(hosts), func(b []byte, i int) []byte {
		h := hosts[i]
		switch {
		case h.row == nil:
			from := len(b)
			b = h.append(b)
			h.row = bytes.Clone(b[from:])
			return b
		case leanness > 0 && len(h.row) > over:
			return h.lean(leanness).append(b)
		}
		return append(b, h.row...)
	})
	return append(o.b, '}')
}

func (h *host) append(b []byte) []byte {
	o := object{b: append(b, '{')}
	o.text('s', h.site.name)
	o.text('n', h.name)
	o.text('v', h.version)
	o.int('t', h.seen)
	o.int('l', h.told)
	o.int('a', h.agentAt)
	o.int('w', h.lastWord)
	o.int('y', h.stateAt)
	if s := h.state(); s != HostUp {
		o.text('x', string(s))
	}
	o.float('f', h.fill)
	o.uint('c', h.count)
	o.uint('m', h.max)
	o.text('o', h.mode)
	if h.silentGroup != nil {
		o.text('g', h.silentGroup.id)
	}
	o.int('d', int64(h.folded))
	o.list('i', len(h.incidents), func(b []byte, i int) []byte { return h.incidents[i].append(b) })
	o.list('q', len(h.steps), func(b []byte, i int) []byte { return h.steps[i].append(b) })
	o.list('b', len(h.tombs), func(b []byte, i int) []byte { return strconv.AppendUint(b, h.tombs[i], 10) })
	return append(o.b, '}')
}

func (i *incident) append(b []byte) []byte {
	o := object{b: append(b, '{')}
	o.text('i', i.id)
	if i.group != nil {
		o.text('g', i.group.id)
	}
	o.uint('x', uint64(i.flags()))
	o.text('n', i.netns)
	o.text('u', i.cause)
	o.int('o', i.opened)
	o.int('e', i.closedAt)
	o.int('t', i.at)
	o.int('k', i.taken)
	o.int('f', i.hot)
	o.text('s', i.ended)
	o.uint('y', i.last)
	o.uint('d', i.drops)
	o.uint('l', i.early)
	o.uint('h', i.chains)
	o.uint('c', i.entries)
	o.uint('p', i.peak)
	o.uint('m', i.max)
	o.list('a', len(i.top), func(b []byte, k int) []byte {
		t := object{b: append(b, '{')}
		t.text('a', i.top[k].Address)
		t.uint('n', i.top[k].Entries)
		return append(t.b, '}')
	})
	o.text('v', i.verdict)
	o.text('r', string(i.outcome))
	o.list('q', len(i.steps), func(b []byte, k int) []byte { return i.steps[k].append(b) })
	if d := i.dropped; d != (stepCounts{}) {
		all := []int{d.Applied, d.Effective, d.Ineffective, d.Failed, d.Reverted}
		o.list('z', len(all), func(b []byte, k int) []byte { return strconv.AppendInt(b, int64(all[k]), 10) })
	}
	o.list('w', len(i.noStep), func(b []byte, k int) []byte { return appendText(b, string(i.noStep[k])) })
	return append(o.b, '}')
}

func (i *incident) flags() (x uint8) {
	set := func(is bool, bit uint8) {
		if is {
			x |= bit
		}
	}
	set(i.known, flagKnown)
	set(i.critical, flagCritical)
	set(i.verified, flagVerified)
	set(i.historical, flagHistorical)
	set(i.closed, flagClosed)
	return x
}

func (s *step) append(b []byte) []byte {
	o := object{b: append(b, '{')}
	o.uint('k', s.key)
	o.int('t', s.at)
	o.uint('f', s.from)
	o.uint('o', s.to)
	o.text('r', string(s.reason))
	o.text('u', string(s.outcome))
	var x uint64
	if s.failed {
		x |= flagFailed
	}
	if s.reverted {
		x |= flagReverted
	}
	o.uint('x', x)
	o.text('w', s.why)
	return append(o.b, '}')
}
