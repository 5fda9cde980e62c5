package conntrack

import "github.com/ctwarden/ctwarden/remediate"

// meter carries the kernel's 32-bit counters of one namespace on into 64 bits. Its zero value starts with what the
// kernel has counted so far.
type meter struct {
	last  []row
	total [columns]uint64
}

// add takes the rows of one reading. Each row goes on from its own last value, over a wrap; a row that was not there
// before adds all it has; one that is missing is remembered, in case it comes back.
func (m *meter) add(rows []row) {
	for i, now := range rows {
		if i == len(m.last) {
			m.last = append(m.last, row{})
		}
		for c := range columns {
			m.total[c] += uint64(now[c] - m.last[i][c]) // modulo 2³²
		}
		m.last[i] = now
	}
}

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
