package hub

import (
	"math"
	"testing"
	"time"
)

func TestWantedHold(t *testing.T) {
	now := time.Unix(1000, 0)
	for _, c := range []struct {
		name       string
		holds      []hold
		site, host string
		want       string // by whom; empty: none
	}{
		{"none", nil, "gva", "a", ""},
		{"all", []hold{{By: "all"}}, "gva", "a", "all"},
		{"its site", []hold{{By: "site", Site: "gva"}}, "gva", "a", "site"},
		{"another site", []hold{{By: "site", Site: "zrh"}}, "gva", "a", ""},
		{"itself", []hold{{By: "host", Site: "gva", Host: "a"}}, "gva", "a", "host"},
		{"its namesake at another site", []hold{{By: "host", Site: "zrh", Host: "a"}}, "gva", "a", ""},
		{"over", []hold{{By: "all", Until: now}}, "gva", "a", ""},
		{"the one that ends last", []hold{{By: "all", Until: now.Add(time.Hour)}, {By: "site", Site: "gva", Until: now.Add(2 * time.Hour)}}, "gva", "a", "site"},
		{"the one without an end", []hold{{By: "all"}, {By: "site", Site: "gva", Until: now.Add(time.Hour)}}, "gva", "a", "all"},
	} {
		t.Run(c.name, func(t *testing.T) {
			got := ""
			if w := (&control{Holds: c.holds}).wanted(c.site, c.host, now); w != nil {
				got = w.By
			}
			if got != c.want {
				t.Errorf("got %q, want %q", got, c.want)
			}
		})
	}
}

func TestControlCounts(t *testing.T) {
	now := time.Unix(1000, 0)
	var c control
	c.add(hold{By: "ada", Site: "gva", Until: now.Add(time.Minute)}, now)
	c.add(hold{By: "bob", Site: "gva"}, now)
	c.add(hold{By: "hub", Budget: "b1"}, now)
	c.add(hold{By: "eve"}, now)
	if len(c.Holds) != 3 || c.Rev != 1003 || c.wanted("gva", "x", now).By == "ada" {
		t.Errorf("got %+v", c)
	}
	if c.release("zrh", "", now) || c.Rev != 1003 {
		t.Errorf("released what is not there: %+v", c)
	}
	if !c.release("", "", now) || len(c.Holds) != 2 || c.Rev != 1004 || c.wanted("zrh", "x", now).Budget != "b1" {
		t.Errorf("released all: %+v", c)
	}
	if c.release("", "", now) || c.Rev != 1004 {
		t.Errorf("released the hub's own, which was not asked for: %+v", c)
	}
	c.dirty = false
	for _, rev := range []uint64{1000 + revSlack + 1, 1 << 63, math.MaxUint64} {
		if c.catchUp(rev, now) || c.dirty || c.Rev != 1004 {
			t.Errorf("believed revision %d: %+v", rev, c)
		}
	}
	if !c.catchUp(3, now) || c.dirty || c.Rev != 1004 {
		t.Errorf("went back: %+v", c)
	}
	if !c.catchUp(1009, now) || !c.dirty || c.Rev != 1009 {
		t.Errorf("did not catch up: %+v", c)
	}
	if c.release("gva", "", now.Add(time.Hour)); c.Rev != 4600 {
		t.Errorf("an hour later: %+v", c)
	}
	c.add(hold{By: "bob", Site: "gva"}, now)
	c.add(hold{Site: "bsl", Until: now.Add(time.Second)}, now)
	c.expire(now.Add(time.Second))
	if len(c.Holds) != 2 || c.Holds[1].By != "bob" {
		t.Errorf("expired: %+v", c)
	}
}

// TestControlReleasesItsOwn: the release of the hub's own hold is remembered until that would have ended, and is no other's.
func TestControlReleasesItsOwn(t *testing.T) {
	now := time.Unix(1000, 0)
	var c control
	if c.releaseBudget(now) != nil || c.dirty {
		t.Errorf("released what is not there: %+v", c)
	}
	c.add(hold{By: "hub", Budget: "b1", Until: now.Add(time.Minute)}, now)
	c.add(hold{By: "eve"}, now)
	c.dirty = false
	r := c.releaseBudget(now)
	if r == nil || r.Budget != "b1" || !r.Until.Equal(now.Add(time.Minute)) || !c.dirty || len(c.Holds) != 1 || c.Holds[0].By != "eve" || c.Rev != 1002 {
		t.Errorf("released %+v: %+v", r, c)
	}
	if c.expire(now.Add(time.Minute - 1)); c.Released == nil {
		t.Error("forgotten before its time")
	}
	c.dirty = false
	if c.expire(now.Add(time.Minute)); c.Released != nil || !c.dirty {
		t.Error("remembered for longer")
	}
}

func TestLeaseIsFree(t *testing.T) {
	now := time.Unix(1000, 0)
	for _, c := range []struct {
		name string
		s    sighting
		want bool
	}{
		{"nobody had it", sighting{moved: now}, true},
		{"another's, moving", sighting{lease: lease{ID: "b"}, moved: now.Add(-takeAfter + 1)}, false},
		{"another's, standing", sighting{lease: lease{ID: "b"}, moved: now.Add(-takeAfter)}, true},
		{"our own", sighting{lease: lease{ID: "a"}, moved: now}, true},
	} {
		if got := c.s.free("a", now); got != c.want {
			t.Errorf("%s: got %v", c.name, got)
		}
	}
	if leaseSafe+2*time.Second > takeAfter || 2*renewEvery > leaseSafe {
		t.Error("a leader that is cut off may still page when another leads, or has no second chance to renew")
	}
}
