package replay

import (
	"slices"
	"testing"
	"time"
)

// TestInOrder: incidents that overlap, one of which has its first message long after it opened (in another source), and
// one without any.
func TestInOrder(t *testing.T) {
	start := time.Date(2026, time.March, 1, 10, 0, 0, 0, time.UTC)
	after := func(s int) time.Time { return start.Add(time.Duration(s) * time.Second) }
	var list []*playing
	for i, seconds := range [][]int{{0, 9, 10}, {5, 6, 20}, {3, 4, 10}, {15}, {30, 31}} {
		opened := []int{0, 1, 2, 11, 30}[i]
		p := &playing{Incident: &Incident{Host: string(rune('a' + i))}, opened: after(opened)}
		for _, s := range seconds {
			p.Moments.Add(after(s))
		}
		list = append(list, p)
	}
	list = slices.Insert(list, 2, &playing{Incident: &Incident{}, opened: after(1)})
	play := func(most int) (hosts string, at []int) {
		for when, p := range inOrder(list) {
			hosts += p.Host
			at = append(at, int(when.Sub(start)/time.Second))
			if len(at) == most {
				break
			}
		}
		return hosts, at
	}
	hosts, at := play(100)
	if hosts != "accbbaacdbee" || !slices.Equal(at, []int{0, 3, 4, 5, 6, 9, 10, 10, 15, 20, 30, 31}) {
		t.Errorf("%s at %v", hosts, at)
	}
	for _, p := range list {
		p.done = 0
	}
	if hosts, _ := play(5); hosts != "accbb" {
		t.Errorf("the first five: %s", hosts)
	}
}
