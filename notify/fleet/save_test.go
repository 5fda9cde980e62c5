package fleet

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"math/rand/v2"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/ctwarden/ctwarden/remediate"
)

// allKeys are the keys of everything that a fleet has.
func allKeys(f *Fleet) []string {
	var keys []string
	for n, list := range f.shards {
		if len(list) > 0 {
			keys = append(keys, shardKeys[n])
		}
	}
	for id := range f.groups {
		keys = append(keys, groupKey(id))
	}
	for id := range f.silences {
		keys = append(keys, silenceKey(id))
	}
	slices.Sort(keys)
	return keys
}

// encodeAll encodes everything, also what was seen since and is not worth a save by itself.
func encodeAll(t *testing.T, f *Fleet) map[string][]byte {
	t.Helper()
	for _, h := range f.hosts {
		h.row = nil
	}
	saved := map[string][]byte{}
	for _, key := range allKeys(f) {
		value, err := f.Encode(key)
		if err != nil || value == nil {
			t.Fatalf("encode %s: %v, %v", key, value, err)
		}
		saved[key] = value
	}
	return saved
}

func loadAll(t *testing.T, saved map[string][]byte, cfg Config, r *rand.Rand) *Fleet {
	t.Helper()
	f := New(cfg)
	keys := slices.Sorted(maps.Keys(saved))
	r.Shuffle(len(keys), func(i, j int) { keys[i], keys[j] = keys[j], keys[i] })
	for _, key := range keys {
		if err := f.Load(key, saved[key]); err != nil {
			t.Fatal(err)
		}
	}
	return f
}

func reload(t *testing.T, f *Fleet, cfg Config) *Fleet {
	t.Helper()
	return loadAll(t, encodeAll(t, f), cfg, rand.New(rand.NewPCG(1, 2)))
}

// same compares all that two fleets show and save.
func same(t *testing.T, got, want *Fleet) {
	t.Helper()
	g, w := encodeAll(t, got), encodeAll(t, want)
	if a, b := slices.Sorted(maps.Keys(g)), slices.Sorted(maps.Keys(w)); !slices.Equal(a, b) {
		t.Fatalf("the keys are %v, want %v", a, b)
	}
	for key, value := range w {
		if !bytes.Equal(g[key], value) {
			a, _ := unpack(g[key])
			b, _ := unpack(value)
			t.Errorf("%s differs: %s", key, firstDifference(strings.ReplaceAll(string(a), ",", ",\n"), strings.ReplaceAll(string(b), ",", ",\n")))
		}
	}
	if a, b := shown(t, got), shown(t, want); a != b {
		t.Errorf("what is shown differs: %s", firstDifference(a, b))
	}
	for h := range want.All() {
		a, ai, _ := got.Host(h.Site, h.Host)
		b, bi, _ := want.Host(h.Site, h.Host)
		if !reflect.DeepEqual(a, b) || !reflect.DeepEqual(ai, bi) {
			t.Errorf("the host is\n%+v %+v\nwant\n%+v %+v", a, ai, b, bi)
		}
	}
}

// shown is all that a fleet shows of its groups, and sends.
func shown(t *testing.T, f *Fleet) string {
	t.Helper()
	list := []any{f.Groups(), f.Silences()}
	if !f.unsettled {
		list = append(list, f.Due())
	}
	b, err := json.MarshalIndent(list, "", " ")
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// firstDifference is the first line in which two texts differ.
func firstDifference(a, b string) string {
	x, y := strings.Split(a, "\n"), strings.Split(b, "\n")
	for i := range min(len(x), len(y)) {
		if x[i] != y[i] {
			return fmt.Sprintf("line %d is\n%s\nwant\n%s", i+1, x[i], y[i])
		}
	}
	return fmt.Sprintf("%d lines, want %d", len(x), len(y))
}

func TestLoadOfEncodeIsTheSame(t *testing.T) {
	for seed := range lives(60) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			r := rand.New(rand.NewPCG(seed, 3))
			w := newWorld(r)
			f := w.fleet()
			for _, ev := range w.script {
				f.Take(ev, ev.Time)
				if r.IntN(3) == 0 {
					f.Seen(HostSeen{Site: ev.Site, Host: ev.Host, At: ev.Time, Fill: r.Float64(), Count: r.Uint64(), Max: r.Uint64(), Mode: "observe"}, ev.Time)
				}
				switch r.IntN(6) {
				case 0:
					f.Tick(ev.Time)
				case 1:
					w.someDoing(f, ev.Time)
				}
			}
			f.Tick(w.end)
			check(t, f)
			got := loadAll(t, encodeAll(t, f), w.cfg, r)
			f.unsettled = true
			same(t, got, f)
			check(t, got)
			t.Run("and goes on alike", func(t *testing.T) {
				got.Connected(true, w.end)
				f.Connected(true, w.end)
				for _, after := range []time.Duration{0, time.Minute, 10 * time.Minute, time.Hour, 30 * time.Hour} {
					at := w.end.Add(after)
					got.Tick(at)
					f.Tick(at)
				}
				same(t, got, f)
			})
			t.Run("and again over what is there", func(t *testing.T) {
				for key, value := range encodeAll(t, f) {
					if err := got.Load(key, value); err != nil {
						t.Fatal(err)
					}
				}
				f.unsettled = true
				same(t, got, f)
				check(t, got)
			})
		})
	}
}

func TestDirty(t *testing.T) {
	s := newSim(t, basic())
	s.silence(Silence{Site: "zrh"})
	for i := range 20 {
		s.open(fmt.Sprintf("gva/a%d", i))
	}
	s.down = true
	s.pass(10 * time.Second)
	keys := s.f.Dirty()
	order := ""
	for _, key := range keys {
		if kind, _, _ := strings.Cut(key, "."); !strings.HasSuffix(order, kind) {
			order += " " + kind
		}
	}
	if order != " shard silence group" {
		t.Errorf("the keys come as%s: %v", order, keys)
	}
	save := func(keys []string) {
		t.Helper()
		for _, key := range keys {
			if _, err := s.f.Encode(key); err != nil {
				t.Fatal(err)
			}
		}
	}
	s.f.Saved(keys)
	if got := s.f.Dirty(); !slices.Equal(got, keys) {
		t.Errorf("said to be saved without having been encoded, %v are dirty", got)
	}
	save(keys)
	s.update("gva/a3", drops(9))
	s.f.Saved(keys)
	if got := s.f.Dirty(); len(got) != 2 || got[0] != shardKeys[shardOf("gva", "a3")] || got[1] != groupKey(s.only().ID) {
		t.Errorf("what changed between the encoding and the save is %v", got)
	}
	save(s.f.Dirty())
	s.f.Saved(s.f.Dirty())
	if got := s.f.Dirty(); len(got) != 0 {
		t.Errorf("all was saved, and %v are dirty", got)
	}
	s.update("gva/a3", drops(9)) // later, and the same
	ev := s.incidentEvent(remediate.EventIncidentUpdated, "gva/a3", drops(9))
	s.f.Take(ev, s.now)
	save(s.f.Dirty())
	s.f.Saved(s.f.Dirty())
	s.f.Take(ev, s.now)
	if got := s.f.Dirty(); len(got) != 0 {
		t.Errorf("an event that came again makes %v dirty", got)
	}
}

func TestKeys(t *testing.T) {
	f := New(basic())
	for _, key := range []string{"lease", "control", "shard.zz", "shard.100", "view.1", ""} {
		if err := f.Load(key, []byte("nonsense")); err != nil {
			t.Errorf("%q is not passed over: %v", key, err)
		}
		if _, err := f.Encode(key); err == nil {
			t.Errorf("%q has a value", key)
		}
	}
	for _, key := range []string{"group.c1", "silence.1"} {
		if value, err := f.Encode(key); value != nil || err != nil {
			t.Errorf("%s, which is not there, is %q, %v", key, value, err)
		}
	}
	for _, key := range []string{"shard.00", "group.c1", "silence.1"} {
		for _, value := range []string{"{", "nonsense", "\xff", "\xff\xff\xff\xff\xff\x7f", "[]"} {
			if err := f.Load(key, []byte(value)); err == nil || !strings.Contains(err.Error(), key) {
				t.Errorf("%s takes %q: %v", key, value, err)
			}
		}
	}
	if len(f.Groups())+len(f.Hosts())+len(f.Silences()) != 0 {
		t.Error("damaged values left something behind")
	}
}

func FuzzLoad(f *testing.F) {
	s := newWorld(rand.New(rand.NewPCG(1, 1)))
	fl := s.fleet()
	for _, ev := range s.script {
		fl.Take(ev, ev.Time)
	}
	for _, key := range allKeys(fl)[:20] {
		value, err := fl.Encode(key)
		if err != nil {
			f.Fatal(err)
		}
		raw, err := unpack(value)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(key, value, raw)
	}
	f.Fuzz(func(t *testing.T, key string, value, other []byte) {
		fl := New(basic())
		for _, v := range [][]byte{value, other} {
			if err := fl.Load(key, v); err != nil {
				continue
			}
			fl.Take(Event{Site: "gva", Host: "a1", Event: remediate.Event{
				ID: "e", Type: remediate.EventIncidentOpened, Time: start, Data: remediate.Incident{ID: "i", OpenedAt: start},
			}}, start)
			fl.Tick(start.Add(time.Minute))
			fl.Groups()
			fl.Due()
		}
		check(t, fl)
	})
}

func TestDeleted(t *testing.T) {
	s := newSim(t, basic())
	s.silence(Silence{Site: "zrh"})
	s.open("gva/a1")
	s.pass(time.Minute)
	for key := range encodeAll(t, s.f) {
		if err := s.f.Load(key, nil); err != nil {
			t.Error(err)
		}
	}
	if len(s.f.Groups())+len(s.f.Silences()) != 0 {
		t.Errorf("%v, %v are left", s.f.Groups(), s.f.Silences())
	}
}

func TestPacking(t *testing.T) {
	short, long := []byte(`{"h":[]}`), bytes.Repeat([]byte("ctwarden "), 5000)
	f := New(basic())
	if got := f.pack(short); !bytes.Equal(got, short) {
		t.Errorf("a short value is packed: %q", got)
	}
	if got := f.pack(long); len(got) > len(long)/10 {
		t.Errorf("%d bytes are packed to %d", len(long), len(got))
	}
	for _, b := range [][]byte{short, long} {
		if got, err := unpack(f.pack(b)); err != nil || !bytes.Equal(got, b) {
			t.Errorf("unpacked are %d bytes, %v", len(got), err)
		}
	}
}

func TestSplitRows(t *testing.T) {
	tests := []struct {
		name, shard string
		want        []string
		ok          bool
	}{
		{"one", `{"h":[{"s":"gva"}]}`, []string{`{"s":"gva"}`}, true},
		{"two", `{"h":[{"s":"gva"},{"n":[{"a":1},{}]}]}`, []string{`{"s":"gva"}`, `{"n":[{"a":1},{}]}`}, true},
		{"brackets and quotes in texts", `{"h":[{"s":"}],{\"["},{"n":"\\"}]}`, []string{`{"s":"}],{\"["}`, `{"n":"\\"}`}, true},
		{"none", `{"h":[]}`, nil, true},
		{"another field", `{"x":1,"h":[{}]}`, nil, false},
		{"a space", `{"h":[{}, {}]}`, nil, false},
		{"an open text", `{"h":[{"a]}`, nil, false},
		{"an open object", `{"h":[{]}`, nil, false},
		{"too much closed", `{"h":[}]}`, nil, false},
		{"no object", `{"h":[1]}`, nil, false},
		{"ends in an escape", `{"h":[{"a\]}`, nil, false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			rows, ok := splitRows([]byte(tt.shard))
			var got []string
			for _, r := range rows {
				got = append(got, string(r))
			}
			if ok != tt.ok || !slices.Equal(got, tt.want) {
				t.Errorf("got %q, %v", got, ok)
			}
		})
	}
}

func TestShardsOfOthers(t *testing.T) {
	n := shardOf("gva", "a1")
	for _, shard := range []string{
		`{"h":[{"s":"gva","n":"a1","new":{"x":[1]}}],"v":2}`, ` { "h" : [ {"s":"gva", "n":"a1"} ] } `, `{"h":[{"s":"gva","n":"a1"},{"s":"gva","n":"elsewhere9"}]}`,
	} {
		f := New(basic())
		if err := f.Load(shardKeys[n], []byte(shard)); err != nil {
			t.Error(err)
		}
		if hosts := f.Hosts(); len(hosts) != 1 || hosts[0].Host != "a1" {
			t.Errorf("%s has %+v", shard, hosts)
		}
	}
}
