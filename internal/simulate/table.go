package simulate

import (
	"time"

	"github.com/ctwarden/ctwarden/remediate"
)

const (
	// limit is what each host's table takes at first, in entries.
	limit = 65536
	// calm is the part of it that is in use in quiet times, as one in so many.
	calm = 4
	// busy is how long after a step the table holds as much as it did when it was full.
	busy = 5 * time.Second
)

// table is a made-up conntrack table of one host.
type table struct {
	netns    remediate.NetNS
	limits   remediate.Limits
	count    uint64
	peak     uint64
	counters remediate.Counters
	// fills is when the table fills up; zero: not known yet.
	fills time.Time
	// raised is when the limit was raised; zero: it was not.
	raised time.Time
	// refuses is how many connections a full table refuses from one reading to the next.
	refuses uint64
}

func newTable(number int) table {
	buckets := remediate.ChainsLong.PresizedBuckets(policy().Ceiling)
	return table{
		// As on a real host, the numbers are the first namespace's of the kernel and differ between hosts only by chance.
		netns:   remediate.NetNS{Inode: 4026531840, Name: "init", Owner: "host", Init: true},
		limits:  remediate.Limits{Max: limit, OldMax: limit, Buckets: buckets, Writable: true, BucketsWritable: true},
		refuses: 20 + uint64(number%400),
	}
}

// read is a reading of the table as it is now.
func (t *table) read(now time.Time) remediate.Reading {
	switch {
	case t.fills.IsZero() || now.Before(t.fills):
		t.count = limit / calm
	case t.raised.IsZero():
		t.count = t.limits.Max
		t.counters.Drop += t.refuses
	case now.Sub(t.raised) < busy:
		t.count = limit
	default:
		t.count = limit / calm
	}
	t.peak = max(t.peak, t.count)
	return remediate.Reading{
		At: now, NetNS: t.netns, Count: t.count, Max: t.limits.Max, Buckets: t.limits.Buckets, Counters: t.counters,
		CountersOK: true,
	}
}

// raise sets the limit.
func (t *table) raise(to uint64, now time.Time) {
	t.limits.Max, t.limits.OldMax, t.raised = to, to, now
}
