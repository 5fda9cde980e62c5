package fleet

import (
	"testing"
	"time"
)

func TestTalkersOfOneSite(t *testing.T) {
	tests := []struct {
		name, address string
		oneSite       bool
	}{
		{"public", "203.0.113.7", false},
		{"public, version 6", "2001:db8::7", false},
		{"10/8", "10.0.0.5", true},
		{"172.16/12", "172.31.255.1", true},
		{"just outside of 172.16/12", "172.32.0.1", false},
		{"192.168/16", "192.168.1.1", true},
		{"of a carrier's NAT", "100.64.0.1", true},
		{"just outside of it", "100.128.0.1", false},
		{"unique local", "fd00::5", true},
		{"link-local", "169.254.1.1", true},
		{"link-local, version 6, with a zone", "fe80::1%eth0", true},
		{"private, written as version 6", "::ffff:10.0.0.5", true},
		{"the host itself", "127.0.0.1", true},
		{"no address", "guest-17", false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			s := newSim(t, basic())
			attack := top(tt.address, 900, "192.0.2.1", 9)
			for _, where := range []string{"gva/a1", "zrh/a2", "ams/a3"} {
				s.open(where, attack)
			}
			want := []string{"full " + tt.address + " 3/3 open"}
			if tt.oneSite {
				want = []string{"full ams 1/1 open", "full gva 1/1 open", "full zrh 1/1 open"}
			}
			s.wantGroups(want...)
			check(t, s.f)
		})
	}
}

// TestPrivateTalkerAtOneSite has the same private address lead on three hosts of a site, which group_by would keep apart.
func TestPrivateTalkerAtOneSite(t *testing.T) {
	cfg := basic()
	cfg.GroupBy = []string{"rack"}
	cfg.Labels = []LabelRule{{Host: "a1", Labels: map[string]string{"rack": "r1"}}, {Host: "a2", Labels: map[string]string{"rack": "r2"}}}
	s := newSim(t, cfg)
	attack := top("10.0.0.5", 900, "192.0.2.1", 9)
	for _, where := range []string{"gva/a1", "gva/a2", "gva/a3", "zrh/a1"} {
		s.open(where, attack)
	}
	want := []string{"full gva+10.0.0.5 3/3 open", "full r1 1/1 open"}
	s.wantGroups(want...)
	s.pass(10 * time.Second)
	s.f = reload(t, s.f, cfg)
	s.open("gva/a4", attack)
	s.pass(time.Second)
	s.wantGroups("full gva+10.0.0.5 4/4 open", "full r1 1/1 open")
	check(t, s.f)
	t.Run("made anew after a crash", func(t *testing.T) {
		saved := encodeAll(t, s.f)
		f := New(cfg)
		for key, value := range saved {
			if key[:len(keyShard)] == keyShard {
				if err := f.Load(key, value); err != nil {
					t.Fatal(err)
				}
			}
		}
		f.Tick(s.now)
		s.f = f
		s.wantGroups("full gva+10.0.0.5 4/4 open", "full r1 1/1 open")
	})
}
