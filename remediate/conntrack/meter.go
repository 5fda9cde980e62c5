package conntrack

import "github.com/ctwarden/ctwarden/remediate"

// meter carries the kernel's 32-bit counters of one namespace on into 64 bits. Its zero value starts with what the
// kernel has counted so far.
type meter struct {
	last  []row
	total [columns]uint64
}

// A counter that went back has wrapped only where it stood in the last quarter before and stands in the first now. No
// kernel counts 2³⁰ between two readings, so any other way back means that the module was loaded anew.
const (
	wrapsFrom = 3 << 30
	wrapsTo   = 1 << 30
)

// add takes the rows of one reading. Each row goes on from its own last value, over a wrap, or after a reset from
// zero; a row that was not there before adds all it has; one that is missing is remembered, in case it comes back.
func (m *meter) add(rows []row) {
	for i, now := range rows {
		if i == len(m.last) {
			m.last = append(m.last, row{})
		}
		for c := range columns {
			m.total[c] += counted(m.last[i][c], now[c])
		}
		m.last[i] = now
	}
}

// counted is how far a counter came from one reading to the next.
func counted(was, now uint32) uint64 {
	if now >= was || was >= wrapsFrom && now < wrapsTo {
		return uint64(now - was) // modulo 2³²
	}
	return uint64(now)
}

// restart says that the kernel counts from zero again, as after its module was removed. The totals stay.
func (m *meter) restart() { m.last = nil }

// counters is the sum over all CPUs.
func (m *meter) counters() remediate.Counters {
	return remediate.Counters{
		Drop:          m.total[drop],
		EarlyDrop:     m.total[earlyDrop],
		InsertFailed:  m.total[insertFailed],
		ChainLength:   m.total[chainLength],
		SearchRestart: m.total[searchRestart],
	}
}
