package agent

import (
	"testing"

	"github.com/ctwarden/ctwarden/remediate"
	"github.com/ctwarden/ctwarden/remediate/apply"
)

// reached is a step that the kernel took.
func reached(from, to uint64) remediate.Step {
	return remediate.Step{From: from, To: to, Keys: map[string]uint64{apply.KeyMax: to, apply.KeyOldMax: to}}
}

func TestStanding(t *testing.T) {
	called := remediate.Step{From: 131072, To: 262144, Keys: map[string]uint64{apply.KeyMax: 100000}}
	unread := remediate.Step{From: 65536, To: 131072}
	for _, c := range []struct {
		name  string
		steps []remediate.Step
		limit uint64
		want  []uint64 // the chain's limits, the newest first
	}{
		{"no step", nil, 65536, nil},
		{"one step", []remediate.Step{reached(65536, 131072)}, 131072, []uint64{131072}},
		{"two steps", []remediate.Step{reached(65536, 131072), reached(131072, 262144)}, 262144, []uint64{262144, 131072}},
		{"somebody else's limit", []remediate.Step{reached(65536, 131072)}, 100000, nil},
		{"somebody went back to an earlier one",
			[]remediate.Step{reached(65536, 131072), reached(131072, 262144)}, 131072, nil},
		{"the last one undone",
			[]remediate.Step{reached(65536, 131072), reached(131072, 262144), reached(262144, 131072)}, 131072, []uint64{131072}},
		{"all undone, then somebody sets the same",
			[]remediate.Step{reached(65536, 131072), reached(131072, 262144), reached(262144, 65536)}, 131072, nil},
		{"all undone and begun again",
			[]remediate.Step{reached(65536, 131072), reached(131072, 65536), reached(65536, 98304)}, 98304, []uint64{98304}},
		{"one called off, the limit being somebody else's", []remediate.Step{reached(65536, 131072), called}, 262144, nil},
		{"one never read back", []remediate.Step{unread}, 131072, nil},
		{"somebody else in between",
			[]remediate.Step{reached(65536, 131072), reached(200000, 400000)}, 400000, []uint64{400000}},
	} {
		t.Run(c.name, func(t *testing.T) {
			var got []uint64
			for _, s := range standing(c.steps, c.limit) {
				got = append(got, s.To)
			}
			if len(got) != len(c.want) {
				t.Fatalf("standing %v, want %v", got, c.want)
			}
			for i := range got {
				if got[i] != c.want[i] {
					t.Fatalf("standing %v, want %v", got, c.want)
				}
			}
		})
	}
}
