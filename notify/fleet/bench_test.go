package fleet

import (
	"fmt"
	"runtime"
	"slices"
	"testing"
	"time"

	"github.com/ctwarden/ctwarden/remediate"
)

// large is how many hosts the sizing is for, each with one open incident.
const large = 100_000

func largeEvent(n int, typ remediate.EventType, at time.Time, drops uint64) Event {
	site, host := fmt.Sprintf("site%d", n%50), fmt.Sprintf("hv%06d.site%d.example", n, n%50)
	return Event{Site: site, Host: host, Version: "0.4.0", Event: remediate.Event{
		ID: fmt.Sprintf("%032x", n*10+int(drops)), Type: typ, Time: at, Data: remediate.Incident{
			ID: fmt.Sprintf("%032x", n), Severity: remediate.SeverityCritical, Verified: true, BootID: fmt.Sprintf("%032x", n+1),
			NetNS: remediate.NetNS{Inode: 4026531840, Name: "init", Owner: "host"}, OpenedAt: at, Drops: drops, Count: 65530, PeakCount: 65536,
			Max: 65536, Buckets: 16384, Matches: 12, InsertRate: 9000,
			Top: []remediate.Talker{
				{Address: fmt.Sprintf("192.0.%d.%d", n/256%256, n%256), Entries: 20}, {Address: fmt.Sprintf("10.0.%d.%d", n/256%256, n%256), Entries: 19},
				{Address: fmt.Sprintf("10.1.%d.%d", n/256%256, n%256), Entries: 18}, {Address: fmt.Sprintf("10.2.%d.%d", n/256%256, n%256), Entries: 17},
				{Address: fmt.Sprintf("10.3.%d.%d", n/256%256, n%256), Entries: 16},
			},
			Verdict: "many sources hold a few entries each",
		},
	}}
}

func largeFleet(tb testing.TB) *Fleet {
	f := New(basic())
	for n := range large {
		ev := largeEvent(n, remediate.EventIncidentOpened, start, 0)
		f.Take(ev, start)
		f.Seen(HostSeen{Site: ev.Site, Host: ev.Host, Version: "0.4.0", At: start, Fill: 0.9, Count: 60000, Max: 65536, Mode: "remediate"}, start)
	}
	if len(f.hosts) != large {
		tb.Fatalf("%d hosts are known", len(f.hosts))
	}
	return f
}

func heap() uint64 {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}

// TestLarge holds what 100,000 hosts with an open incident each cost: memory, the size of a saved key, the allocations of a
// look at all of them.
func TestLarge(t *testing.T) {
	if raced {
		t.Skip("memory and size are not those of the program under the race detector")
	}
	before := heap()
	f := largeFleet(t)
	f.Tick(start)
	used := (heap() - before) >> 20
	t.Logf("%d MiB", used)
	if used > 200 {
		t.Errorf("the fleet takes %d MiB", used)
	}
	most, all, saved := 0, 0, map[string][]byte{}
	for _, key := range f.Dirty() {
		value, err := f.Encode(key)
		if err != nil {
			t.Fatal(err)
		}
		saved[key] = value
		most, all = max(most, len(value)), all+len(value)
	}
	t.Logf("%d keys, the largest has %d bytes, all have %d", len(saved), most, all)
	if most > 512<<10 {
		t.Errorf("a key has %d bytes", most)
	}
	if n := testing.AllocsPerRun(1, func() { f.Hosts() }); n > 10 {
		t.Errorf("Hosts makes %.0f allocations", n)
	}
	if n := testing.AllocsPerRun(1, func() { f.Groups() }); n > 10_000 {
		t.Errorf("Groups makes %.0f allocations", n)
	}
	f.Tick(start.Add(5 * time.Second))
	if got := len(f.Due()); got != 50 {
		t.Errorf("%d pages are due for 50 sites", got)
	}
	got := New(basic())
	for key, value := range saved {
		if err := got.Load(key, value); err != nil {
			t.Fatal(err)
		}
	}
	if a, b := len(got.Hosts()), got.Groups()[0].Hosts; a != large || b != large/50 {
		t.Errorf("loaded are %d hosts, %d in a group", a, b)
	}
}

func BenchmarkTakeOpened(b *testing.B) {
	f := largeFleet(b)
	events := make([]Event, b.N)
	for i := range events {
		events[i] = largeEvent(large+i, remediate.EventIncidentOpened, start, 0)
	}
	measure(b, events, f)
}

func BenchmarkTakeUpdated(b *testing.B) {
	f := largeFleet(b)
	events := make([]Event, b.N)
	for i := range events {
		events[i] = largeEvent(i*7919%large, remediate.EventIncidentUpdated, start.Add(time.Duration(i+1)), uint64(i))
	}
	measure(b, events, f)
}

func BenchmarkTakeAgain(b *testing.B) {
	f := largeFleet(b)
	events := make([]Event, b.N)
	for i := range events {
		events[i] = largeEvent(i*7919%large, remediate.EventIncidentOpened, start, 0)
	}
	measure(b, events, f)
}

// measure reports the median besides the mean.
func measure(b *testing.B, events []Event, f *Fleet) {
	took := make([]time.Duration, len(events))
	f.Tick(start)
	runtime.GC()
	b.ReportAllocs()
	b.ResetTimer()
	for i, ev := range events {
		from := time.Now()
		f.Take(ev, ev.Time)
		took[i] = time.Since(from)
	}
	b.StopTimer()
	slices.Sort(took)
	b.ReportMetric(float64(took[len(took)/2]), "ns-median")
	b.ReportMetric(float64(took[len(took)*99/100]), "ns-p99")
}

func BenchmarkSeen(b *testing.B) {
	f := largeFleet(b)
	ev := largeEvent(500, remediate.EventIncidentOpened, start, 0)
	b.ReportAllocs()
	b.ResetTimer()
	for i := range b.N {
		at := start.Add(time.Duration(i))
		f.Seen(HostSeen{Site: ev.Site, Host: ev.Host, Version: "0.4.0", At: at, Count: 1, Max: 2, Mode: "remediate"}, at)
	}
}

func BenchmarkTick(b *testing.B) {
	f := largeFleet(b)
	f.Connected(true, start)
	b.ReportAllocs()
	b.ResetTimer()
	for i := range b.N {
		f.Tick(start.Add(time.Duration(i)))
	}
}

func BenchmarkHosts(b *testing.B) {
	f := largeFleet(b)
	b.ReportAllocs()
	b.ResetTimer()
	for range b.N {
		f.Hosts()
	}
}

func BenchmarkGroups(b *testing.B) {
	f := largeFleet(b)
	b.ReportAllocs()
	b.ResetTimer()
	for range b.N {
		f.Groups()
	}
}

func BenchmarkEncodeAllShards(b *testing.B) {
	f := largeFleet(b)
	b.ReportAllocs()
	b.ResetTimer()
	for range b.N {
		for _, key := range shardKeys {
			if _, err := f.Encode(key); err != nil {
				b.Fatal(err)
			}
		}
	}
}

func BenchmarkEncodeChangedShards(b *testing.B) { // each has 16 hosts that changed, of 390
	f := largeFleet(b)
	for _, key := range shardKeys {
		if _, err := f.Encode(key); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportAllocs()
	b.ResetTimer()
	for i := range b.N {
		for k := range 4096 {
			f.Take(largeEvent((i+k*7919)%large, remediate.EventIncidentUpdated, start.Add(time.Duration(i+1)), uint64(i)), start)
		}
		for _, key := range shardKeys {
			if _, err := f.Encode(key); err != nil {
				b.Fatal(err)
			}
		}
	}
}

func largeSaved(b *testing.B) map[string][]byte {
	f := largeFleet(b)
	saved := map[string][]byte{}
	for _, key := range shardKeys {
		value, err := f.Encode(key)
		if err != nil {
			b.Fatal(err)
		}
		saved[key] = value
	}
	return saved
}

func load(b *testing.B, f *Fleet, saved map[string][]byte) {
	for key, value := range saved {
		if err := f.Load(key, value); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkLoadAllShards(b *testing.B) {
	saved := largeSaved(b)
	b.ReportAllocs()
	b.ResetTimer()
	for range b.N {
		load(b, New(basic()), saved)
	}
}

func BenchmarkLoadAgain(b *testing.B) {
	saved := largeSaved(b)
	f := New(basic())
	load(b, f, saved)
	b.ReportAllocs()
	b.ResetTimer()
	for range b.N {
		load(b, f, saved)
	}
}

func BenchmarkSettle(b *testing.B) {
	f := largeFleet(b)
	b.ReportAllocs()
	b.ResetTimer()
	for range b.N {
		f.unsettled = true
		f.Tick(start)
	}
}

// BenchmarkStorm folds 100,000 opened incidents in batches as the hub does, with all that a save encodes, and reports events
// a second.
func BenchmarkStorm(b *testing.B) {
	events := make([]Event, large)
	for n := range events {
		events[n] = largeEvent(n, remediate.EventIncidentOpened, start, 0)
	}
	b.ResetTimer()
	for range b.N {
		f := New(basic())
		for batch := range slices.Chunk(events, 4096) {
			for _, ev := range batch {
				f.Take(ev, start)
			}
			f.Tick(start)
			keys := f.Dirty()
			for _, key := range keys {
				if _, err := f.Encode(key); err != nil {
					b.Fatal(err)
				}
			}
			f.Saved(keys)
		}
	}
	b.ReportMetric(float64(large*b.N)/b.Elapsed().Seconds(), "events/s")
}
