package fleet

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/ctwarden/ctwarden/remediate"
)

// wire is the most that one event has: a server takes no larger message.
const wire = 1 << 20

// noise is text that no packing makes shorter, and where most bytes would become six in JSON.
func noise(n int) string {
	r := rand.New(rand.NewPCG(4, 4))
	b := make([]byte, n)
	for i := range b {
		b[i] = byte(r.Uint32())
		if i%3 == 0 {
			b[i] &= 0x1f
		}
	}
	return string(b)
}

// hostile is what one host can say at its worst: n incidents, all texts longer than what is kept, now and then one as long as
// a message.
func hostile(s *sim, site, host, long string, n int) {
	piece := func() string { // another one each time
		s.seq++
		from, size := s.seq*7919%(len(long)/2), 600
		if s.seq%3000 == 1 {
			size = len(long) / 2
		}
		return long[from : from+size]
	}
	for range n {
		i := remediate.Incident{
			ID: piece(), Severity: remediate.SeverityCritical, Verified: true, NetNS: remediate.NetNS{Name: piece()}, OpenedAt: s.now,
			Drops: 1 << 63, Verdict: piece(), Outcome: remediate.Outcome(piece()),
		}
		for range 50 {
			i.Top = append(i.Top, remediate.Talker{Address: piece(), Entries: 1 << 62})
		}
		ev := s.event(site, host, remediate.EventIncidentOpened, i)
		ev.Version, ev.ID = piece(), piece()
		s.f.Take(ev, s.now)
		for range mostSteps + 2 {
			s.f.Take(s.event(site, host, remediate.EventStepFailed, remediate.Step{
				ID: piece(), IncidentID: i.ID, At: s.now, Error: piece(), Reason: remediate.Reason(piece()), Outcome: remediate.Outcome(piece()),
			}), s.now)
			s.f.Take(s.event(site, host, remediate.EventStepRefused, remediate.Step{IncidentID: i.ID, At: s.now, Reason: remediate.Reason(piece())}), s.now)
		}
		s.now = s.now.Add(time.Millisecond)
	}
	s.f.Seen(HostSeen{Site: site, Host: host, Version: piece(), Mode: remediate.Mode(piece()), At: s.now, Incidents: []string{piece()}}, s.now)
}

// inShard are names of hosts that all lie in one shard.
func inShard(n int, pad string) []string {
	var names []string
	for k := 0; len(names) < n; k++ {
		if name := fmt.Sprintf("h%d%s", k, pad); shardOf("gva", name) == 7 {
			names = append(names, name)
		}
	}
	return names
}

// saveAll encodes what is dirty and loads it again; no value may be above what a server takes.
func saveAll(t *testing.T, s *sim) *Fleet {
	t.Helper()
	got := New(s.f.cfg)
	for _, key := range s.f.Dirty() {
		value, err := s.f.Encode(key)
		if err != nil {
			t.Fatal(err)
		}
		if len(value) > mostValue {
			t.Errorf("%s has %d bytes", key, len(value))
		}
		if err := got.Load(key, value); err != nil {
			t.Error(err)
		}
	}
	got.Tick(s.now)
	check(t, got)
	return got
}

func TestHostileEvents(t *testing.T) {
	long := noise(wire)
	tests := []struct {
		name             string
		hosts, incidents int
		whole            bool // nothing need be left out
	}{
		{"one host with a hundred incidents", 1, 100, true},
		{"eight hosts of one shard", 8, 100, false},
		{"each host of a shard of a fleet of 100,000", 400, 8, false},
		{"more hosts than that", 1000, 1, false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if raced && tt.hosts > 100 {
				t.Skip("too slow under the race detector, which has nothing to find here")
			}
			s := newSim(t, basic())
			s.open("gva/good", drops(5))
			names := inShard(tt.hosts, strings.Repeat("x", 200))
			for _, name := range names {
				hostile(s, "gva", name, long, tt.incidents)
			}
			s.pass(10 * time.Second)
			check(t, s.f)
			got := saveAll(t, s)
			if len(got.Hosts()) != len(names)+1 {
				t.Errorf("%d of %d hosts are saved", len(got.Hosts()), len(names)+1)
			}
			h, list, _ := s.f.Host("gva", names[0])
			if open := min(tt.incidents, mostOpen); h.Open != open || h.Folded != tt.incidents-open {
				t.Errorf("%d incidents are open, %d more are counted", h.Open, h.Folded)
			}
			for _, i := range list[:1] {
				for _, text := range []string{i.ID, i.NetNS, i.Verdict, string(i.Outcome), i.Top[0].Address, string(i.NoStep[0]), h.Version} {
					if len(text) > mostVerdict || !utf8.ValidString(text) || plainText(text) != text {
						t.Errorf("kept is %d bytes, %.40q", len(text), text)
					}
				}
			}
			if _, saved, _ := got.Host("gva", names[0]); tt.whole && len(saved) != mostOpen {
				t.Errorf("%d incidents are saved", len(saved))
			}
			if h, list, _ := got.Host("gva", "good"); h.Open != 1 || list[0].Drops != 5 {
				t.Errorf("the host that tells what all tell is saved as %+v", h)
			}
		})
	}
}

// TestGreedyHostsLoseFirst holds that hosts of a shard keep what they told where another tells far too much.
func TestGreedyHostsLoseFirst(t *testing.T) {
	s := newSim(t, basic())
	names := inShard(20, "")
	for _, name := range names[8:] {
		s.open("gva/"+name, top("192.0.2.1", 9, "192.0.2.2", 8), func(i *remediate.Incident) { i.Verdict = "a few sources hold most" })
		s.step("gva/"+name, remediate.EventStepApplied, name, remediate.ReasonFull, "")
	}
	for _, name := range names[:8] {
		hostile(s, "gva", name, noise(wire), 70)
	}
	got := saveAll(t, s)
	_, list, _ := got.Host("gva", names[19])
	if len(list) != 1 || len(list[0].Top) != 2 || list[0].Verdict == "" || len(list[0].Steps) != 1 {
		t.Errorf("saved is %+v", list)
	}
	if h, greedy, _ := got.Host("gva", names[0]); h.Open != mostOpen || greedy[0].Verdict != "" {
		t.Errorf("of the host that tells too much are saved %d incidents, with %q", h.Open, greedy[0].Verdict)
	}
}

func TestTooManyOpenIncidents(t *testing.T) {
	s := newSim(t, basic())
	for n := range 100 {
		s.open(fmt.Sprintf("gva/a1/%d", n), drops(10))
		s.now = s.now.Add(time.Second)
	}
	s.pass(10 * time.Second)
	h, list, _ := s.f.Host("gva", "a1")
	if h.Open != mostOpen || h.Folded != 100-mostOpen || len(list) != mostOpen || list[len(list)-1].ID != "36" {
		t.Errorf("%d are open, %d counted; the oldest is %s", h.Open, h.Folded, list[len(list)-1].ID)
	}
	if g := s.only(); g.Incidents != 100 || g.Drops != 1000 || g.Hosts != 1 || !g.says("a1 has more than 64 open incidents") {
		t.Errorf("the group is %+v", g)
	}
	s.f = reload(t, s.f, s.f.cfg)
	s.pages()
	for n := range 100 { // what is only counted stays so
		s.update(fmt.Sprintf("gva/a1/%d", n), drops(11))
	}
	s.pass(10 * time.Minute)
	s.sent = withoutUpdates(s.sent)
	s.want("")
	if g := s.only(); g.Incidents != 100 {
		t.Errorf("told again, it has %d incidents", g.Incidents)
	}
	for n := range 100 {
		s.close(fmt.Sprintf("gva/a1/%d", n))
	}
	s.pass(time.Minute)
	s.want("resolve ops")
	if h, _, _ := s.f.Host("gva", "a1"); h.Open != 0 || h.Folded != 0 {
		t.Errorf("at the end %d are open, %d counted", h.Open, h.Folded)
	}
	check(t, s.f)
}

func TestTexts(t *testing.T) {
	tests := []struct{ name, in, want string }{
		{"plain", "4.2.1", "4.2.1"},
		{"cut", strings.Repeat("a", 90), strings.Repeat("a", mostWord)},
		{"cut at a character", strings.Repeat("ü", 40), strings.Repeat("ü", mostWord/2)},
		{"control characters", "a\x00b\nc\x7fd", "a b c d"},
		{"no character", "a\xffb", "a?b"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if got := text(tt.in, mostWord); got != tt.want {
				t.Errorf("it is %q, want %q", got, tt.want)
			}
		})
	}
}

func TestLongIDsStayApart(t *testing.T) {
	a, b := strings.Repeat("x", 500)+"a", strings.Repeat("x", 500)+"b"
	if boundID(a) == boundID(b) || len(boundID(a)) > mostID || boundID(boundID(a)) != boundID(a) {
		t.Errorf("%s, %s", boundID(a), boundID(b))
	}
	if boundID("a\nb") == boundID("a b") || boundName("hv1.example") != "hv1.example" {
		t.Error("names are mixed up")
	}
}

// TestGroupOfManySites has a trouble at more sites than a saved group lists.
func TestGroupOfManySites(t *testing.T) {
	cfg := basic()
	cfg.GroupBy = nil
	s := newSim(t, cfg)
	for i := range 4 * mostSites {
		s.open(fmt.Sprintf("%s%d/%sh", strings.Repeat("s", 240), i, strings.Repeat("x", 240)))
	}
	s.pass(time.Minute)
	got := saveAll(t, s)
	if g := got.Groups()[0]; len(g.Sites) != mostSites || g.Hosts != 4*mostSites {
		t.Errorf("%d sites are listed, of %d hosts", len(g.Sites), g.Hosts)
	}
}
