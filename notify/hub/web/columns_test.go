package web

import (
	"encoding/binary"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/ctwarden/ctwarden/remediate"
)

// copyOfRows is what a reader keeps of the columns, by the same rules as static/js/columns.js.
type copyOfRows struct {
	head           columnsHead
	rows           map[uint32]*boardRow
	order          []uint32
	sites, version []string
	labels         [][]string
}

// take applies a document.
func (c *copyOfRows) take(t *testing.T, doc []byte) {
	t.Helper()
	if string(doc[:4]) != columnsMagic {
		t.Fatalf("begins with %q", doc[:4])
	}
	n := binary.LittleEndian.Uint32(doc[4:])
	var head columnsHead
	if err := json.Unmarshal(doc[8:8+n], &head); err != nil {
		t.Fatal(err)
	}
	at := 8 + n
	if at%4 != 0 {
		t.Fatalf("the columns begin at %d", at)
	}
	column := func(n int) []uint32 {
		out := make([]uint32, n)
		for i := range out {
			out[i] = binary.LittleEndian.Uint32(doc[at:])
			at += 4
		}
		return out
	}
	if head.Since == 0 {
		*c = copyOfRows{rows: map[uint32]*boardRow{}}
	} else if head.Epoch != c.head.Epoch || head.Since != c.head.Revision {
		t.Fatalf("changes since %d of %s for one who has %d of %s", head.Since, head.Epoch, c.head.Revision, c.head.Epoch)
	}
	c.head = head
	places, counts, maxes, refused, seen, flags := column(head.Rows), column(head.Rows), column(head.Rows), column(head.Rows), column(head.Rows), column(head.Rows)
	for i, p := range places {
		if c.rows[p] == nil {
			c.rows[p] = &boardRow{}
		}
		r := c.rows[p]
		r.count, r.max, r.refused, r.seen, r.flags = counts[i], maxes[i], refused[i], seen[i], flags[i]
	}
	c.names(t, head, column, doc, &at)
	if head.Since == 0 {
		c.order = places
	}
}

func (c *copyOfRows) names(t *testing.T, head columnsHead, column func(int) []uint32, doc []byte, at *uint32) {
	t.Helper()
	named, sites, labels, versions := column(head.Named), column(head.Named), column(head.Named), column(head.Named)
	names := strings.Split(string(doc[*at:]), "\n")
	if len(names) != head.Named+1 || names[head.Named] != "" {
		t.Fatalf("%d names, want %d", len(names)-1, head.Named)
	}
	if head.Named > 0 {
		c.sites, c.labels, c.version = head.Sites, head.Labels, head.Versions
	}
	for i, p := range named {
		r := c.rows[p]
		r.host, r.site, r.labelSet, r.version = names[i], sites[i], labels[i], versions[i]
	}
}

// all is what the copy says of every host that is there.
func (c *copyOfRows) all() map[HostRef]Row {
	out := map[HostRef]Row{}
	for _, r := range c.rows {
		if r.flags&flagGone != 0 {
			continue
		}
		row := Row{
			Site: c.sites[r.site], Host: r.host, Version: c.version[r.version], Mode: modeOf(r.flags), Labels: c.labels[r.labelSet], Count: uint64(r.count),
			Max: uint64(r.max), Refused: uint64(r.refused), Seen: time.Unix(int64(r.seen), 0).UTC(), Severity: severityOf(r.flags),
			Silent: r.flags&flagSilent != 0, Stopped: r.flags&flagStopped != 0, Held: r.flags&flagHeld != 0,
		}
		out[HostRef{row.Site, row.Host}] = row
	}
	return out
}

// TestColumnsFollow: a reader who applies the changes has what the fleet has, whatever changed and however often it looked.
func TestColumnsFollow(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	hub := newFakeHub()
	b := newBoard()
	want := map[HostRef]Row{}
	var eager, lazy copyOfRows
	doc, _ := b.columns(0)
	eager.take(t, doc)
	for round := range 200 {
		for range random.IntN(4) {
			r := randomRow(random)
			hub.fleet.put(r)
			if delete(want, HostRef{r.Site, r.Host}); !r.Gone {
				want[HostRef{r.Site, r.Host}] = r
			}
		}
		b.refresh(&hub.fleet)
		doc, revision := b.columns(eager.head.Revision)
		eager.take(t, doc)
		if eager.head.Revision != revision {
			t.Fatalf("the document says revision %d, the board %d", eager.head.Revision, revision)
		}
		if got := eager.all(); !reflect.DeepEqual(got, want) {
			t.Fatalf("round %d: got %v, want %v", round, got, want)
		}
		if round%17 == 0 {
			doc, _ := b.columns(lazy.head.Revision)
			lazy.take(t, doc)
			if got := lazy.all(); !reflect.DeepEqual(got, want) {
				t.Fatalf("round %d, who looks seldom: got %v, want %v", round, got, want)
			}
		}
	}
}

func randomRow(random *rand.Rand) Row {
	return Row{
		Site: fmt.Sprint("s", random.IntN(3)), Host: fmt.Sprint("h", random.IntN(9)), Version: fmt.Sprint(random.IntN(2)), Mode: modeOf(uint32(random.IntN(2)) * flagRemediate),
		Labels: [][]string{{}, {"a=1"}, {"a=1", "b=2"}}[random.IntN(3)], Count: uint64(random.IntN(5)), Max: 5, Refused: uint64(random.IntN(2)),
		Seen: time.Unix(int64(random.IntN(3))+1, 0).UTC(), Severity: []remediate.Severity{"", remediate.SeverityWarning, remediate.SeverityCritical}[random.IntN(3)],
		Silent: random.IntN(4) == 0, Stopped: random.IntN(4) == 0, Held: random.IntN(4) == 0, Gone: random.IntN(6) == 0,
	}
}

// TestColumnsSaySameOnce: what did not change is not sent again.
func TestColumnsSaySameOnce(t *testing.T) {
	hub, b := newFakeHub(), newBoard()
	same := Row{Site: "s", Host: "h", Max: 10, Count: 5, Labels: []string{"rack=1"}}
	hub.fleet.put(same)
	if !b.refresh(&hub.fleet) || b.refresh(&hub.fleet) {
		t.Fatal("one refresh must find a change, the next none")
	}
	hub.fleet.put(same)
	if b.refresh(&hub.fleet) {
		t.Error("the same row again is a change")
	}
	before := b.current()
	same.Count = 6
	hub.fleet.put(same)
	b.refresh(&hub.fleet)
	var c copyOfRows
	doc, _ := b.columns(0)
	c.take(t, doc)
	c.head.Revision = before
	doc, _ = b.columns(before)
	c.take(t, doc)
	if c.head.Rows != 1 || c.head.Named != 0 || c.head.Sites != nil || c.rows[0].count != 6 {
		t.Errorf("got %+v, %+v", c.head, c.rows[0])
	}
}

func TestColumnsInOrder(t *testing.T) {
	hub, b := newFakeHub(), newBoard()
	for _, name := range []string{"b/h1", "a/h10", "a/h2", "a/g", "a/h2x", "a10/x", "a2/x", "a/line\nfeed"} {
		s, host, _ := strings.Cut(name, "/")
		hub.fleet.put(Row{Site: s, Host: host})
	}
	b.refresh(&hub.fleet)
	var c copyOfRows
	doc, _ := b.columns(0)
	c.take(t, doc)
	var got []string
	for _, p := range c.order {
		got = append(got, c.sites[c.rows[p].site]+"/"+c.rows[p].host)
	}
	want := []string{"a/g", "a/h2", "a/h2x", "a/h10", "a/line\uFFFDfeed", "a2/x", "a10/x", "b/h1"}
	if !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
}

func TestNatural(t *testing.T) {
	sorted := []string{"", "07", "7", "8", "10", "a", "a01", "a1", "a1b", "a2", "a10", "a10b2", "a10b11", "b"}
	for i, a := range sorted {
		for j, b := range sorted {
			got := natural(a, b)
			if (got < 0) != (i < j) || (got == 0) != (i == j) {
				t.Errorf("natural(%q, %q) is %d", a, b, got)
			}
		}
	}
}

// TestColumnsLimits: what does not fit is told as the most that does.
func TestColumnsLimits(t *testing.T) {
	hub, b := newFakeHub(), newBoard()
	hub.fleet.put(Row{Site: "s", Host: "h", Count: 1 << 40, Max: 1 << 32, Refused: 1<<32 - 1, Seen: time.Unix(-5, 0)})
	b.refresh(&hub.fleet)
	if r := b.rows[0]; r.count != 1<<32-1 || r.max != 1<<32-1 || r.refused != 1<<32-1 || r.seen != 0 {
		t.Errorf("got %+v", r)
	}
}

func BenchmarkColumns(b *testing.B) {
	hub, board := newFakeHub(), newBoard()
	fillScene(hub, 100_000, time.Now())
	board.refresh(&hub.fleet)
	b.Run("all of 100000", func(b *testing.B) {
		for b.Loop() {
			doc, _ := board.columns(0)
			b.ReportMetric(float64(len(doc)), "bytes")
			b.ReportMetric(float64(len(pack(doc))), "packed-bytes")
		}
	})
	b.Run("400 changes of 100000", func(b *testing.B) {
		for n := 0; b.Loop(); n++ {
			before := board.current()
			for i := range 400 {
				r := hub.fleet.row((n*400 + i) % 100_000)
				r.Count++
				hub.fleet.put(r)
			}
			board.refresh(&hub.fleet)
			board.columns(before)
		}
	})
}
