package remediate

import (
	"testing"
	"time"
)

func TestTimes(t *testing.T) {
	start := time.Time{}.Add(time.Hour) // a time since boot
	list := func(seconds ...int) (out Times) {
		for _, s := range seconds {
			out.Add(start.Add(time.Duration(s) * time.Second))
		}
		return out
	}
	a, b := list(7, 3, 9), list(20, 10)
	var all Times
	all.addAll(a, 4)
	all.addAll(b, 4)
	a.Add(start) // must not show in what was taken from a
	for _, c := range []struct {
		name string
		got  Times
		want []int
	}{
		{"none", Times{}, nil},
		{"as added", b, []int{20, 10}},
		{"in order", b.sorted(), []int{10, 20}},
		{"two lists, up to four", all, []int{7, 3, 9, 20}},
		{"in order, together", all.sorted(), []int{3, 7, 9, 20}},
	} {
		t.Run(c.name, func(t *testing.T) {
			if c.got.Len() != len(c.want) {
				t.Fatalf("%d times, want %d", c.got.Len(), len(c.want))
			}
			for i, s := range c.want {
				if got := c.got.At(i); !got.Equal(start.Add(time.Duration(s) * time.Second)) {
					t.Errorf("time %d is %v, want %d s after %v", i, got, s, start)
				}
			}
		})
	}
}
