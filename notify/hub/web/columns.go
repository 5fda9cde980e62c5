package web

import (
	"encoding/binary"
	"encoding/json"
	"strings"
)

// columnsType is the media type of the columns, which static/js/columns.js reads and openapi.yaml describes.
const columnsType = "application/vnd.ctwarden.columns"

// columnsMagic begins every document of columns.
const columnsMagic = "CTW1"

// columnsHead is the JSON at the beginning of the columns.
type columnsHead struct {
	// Epoch and Revision say what the reader has then; Since is what it must have had, 0: nothing.
	Epoch    string `json:"epoch"`
	Revision uint64 `json:"revision"`
	Since    uint64 `json:"since"`
	// Total is the number of places, Rows those that follow, Named how many of them follow with their names too.
	Total int `json:"total"`
	Rows  int `json:"rows"`
	Named int `json:"named"`
	// The dictionaries come whole where Named is not 0.
	Sites    []string   `json:"sites,omitempty"`
	Labels   [][]string `json:"labels,omitempty"`
	Versions []string   `json:"versions,omitempty"`
}

// columns encodes what changed after the board's revision since, 0: all rows in the order of site and host. The document is
//
//	"CTW1", the length of the head as a little-endian uint32, the head, spaces up to a multiple of four,
//	six columns of one uint32 a row: place, count, max, refused, seen, flags,
//	four columns of one uint32 a named row: place, site, labels, version,
//	and the names of these, each ended by a line feed.
func (b *board) columns(since uint64) ([]byte, uint64) {
	if since == 0 {
		b.mu.Lock() // for the order
		b.sorted()
		b.mu.Unlock()
	}
	b.mu.RLock()
	defer b.mu.RUnlock()
	places := b.changedSince(since)
	head := columnsHead{Epoch: b.epoch, Revision: b.revision, Since: since, Total: len(b.rows), Rows: len(places)}
	var named []uint32
	for _, p := range places {
		if b.rows[p].named > since {
			named = append(named, p)
		}
	}
	if head.Named = len(named); head.Named > 0 {
		head.Sites, head.Versions = b.sites.values, b.versions.values
		for _, set := range b.labels.values {
			head.Labels = append(head.Labels, splitLabels(set))
		}
	}
	return b.document(head, places, named), b.revision
}

func splitLabels(set string) []string {
	if set == "" {
		return []string{}
	}
	return strings.Split(set, "\x00")
}

// changedSince lists the places to send. The caller holds the lock.
func (b *board) changedSince(since uint64) []uint32 {
	if since == 0 && len(b.order) == len(b.rows) {
		return b.order
	}
	var places []uint32
	for i := range b.rows {
		if b.rows[i].changed > since {
			places = append(places, uint32(i))
		}
	}
	return places
}

func (b *board) document(head columnsHead, places, named []uint32) []byte {
	text, _ := json.Marshal(head) // strings and numbers always can be
	for len(text)%4 != 0 {
		text = append(text, ' ')
	}
	out := make([]byte, 0, 8+len(text)+24*len(places)+40*len(named))
	out = append(out, columnsMagic...)
	out = binary.LittleEndian.AppendUint32(out, uint32(len(text)))
	out = append(out, text...)
	for _, of := range []func(*boardRow) uint32{
		nil, func(r *boardRow) uint32 { return r.count }, func(r *boardRow) uint32 { return r.max },
		func(r *boardRow) uint32 { return r.refused }, func(r *boardRow) uint32 { return r.seen },
		func(r *boardRow) uint32 { return r.flags },
	} {
		out = b.column(out, places, of)
	}
	for _, of := range []func(*boardRow) uint32{
		nil, func(r *boardRow) uint32 { return r.site }, func(r *boardRow) uint32 { return r.labelSet },
		func(r *boardRow) uint32 { return r.version },
	} {
		out = b.column(out, named, of)
	}
	for _, p := range named {
		out = append(out, lineSafe(b.rows[p].host)...)
		out = append(out, '\n')
	}
	return out
}

// column appends one; without of it is the places themselves.
func (b *board) column(out []byte, places []uint32, of func(*boardRow) uint32) []byte {
	for _, p := range places {
		value := p
		if of != nil {
			value = of(&b.rows[p])
		}
		out = binary.LittleEndian.AppendUint32(out, value)
	}
	return out
}

// lineSafe keeps a name, which a host gives itself, from being taken for two.
func lineSafe(name string) string { return strings.ReplaceAll(name, "\n", "\uFFFD") }
