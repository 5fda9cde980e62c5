package fleet

import (
	"fmt"
	"testing"
	"time"

	"github.com/ctwarden/ctwarden/remediate"
)

func TestSmallSites(t *testing.T) {
	const wait = 15 * time.Minute // behind the three minutes until a host counts as silent
	tests := []silence{
		{"one host, not before the time", func(s *sim) {
			s.seen("gva", 0, 1)
			s.pass(3*time.Minute + wait - time.Second)
		}, nil, ""},
		{"one host", func(s *sim) {
			s.seen("gva", 0, 1)
			s.pass(3*time.Minute + wait + 10*time.Second)
		}, []string{"silent  1/1 open"}, "trigger ops"},
		{"a reboot of ten minutes", func(s *sim) {
			s.seen("gva", 0, 1)
			s.pass(10 * time.Minute)
			s.live(time.Hour, func() { s.seen("gva", 0, 1) })
		}, nil, ""},
		{"many reboots", func(s *sim) {
			for range 20 {
				s.seen("gva", 0, 1)
				s.pass(17 * time.Minute)
			}
		}, nil, ""},
		{"two hosts, the second one much later", func(s *sim) {
			s.seen("gva", 0, 2)
			s.live(time.Hour, func() { s.seen("gva", 0, 1) })
			s.want("")
			s.pass(20 * time.Minute)
		}, []string{"silent  2/2 open"}, "trigger ops"},
		{"one of two is none", func(s *sim) {
			s.seen("gva", 0, 2)
			s.live(3*time.Hour, func() { s.seen("gva", 0, 1) })
		}, nil, ""},
		{"one that said goodbye is none", func(s *sim) {
			s.seen("gva", 0, 1)
			s.now = s.now.Add(time.Second)
			s.f.Take(s.event("gva", "h0", remediate.EventAgentStopped, remediate.AgentState{}), s.now)
			s.pass(time.Hour)
		}, nil, ""},
		{"the other one of two, after a goodbye", func(s *sim) {
			s.seen("gva", 0, 2)
			s.now = s.now.Add(time.Second)
			s.f.Take(s.event("gva", "h0", remediate.EventAgentStopped, remediate.AgentState{}), s.now)
			s.pass(time.Hour)
		}, []string{"silent  1/1 open"}, "trigger ops"},
		{"ten hosts, one by one to the last", func(s *sim) {
			s.seen("gva", 0, 10)
			for k := range 10 {
				s.live(5*time.Minute, func() { s.seen("gva", k+1, 9-k) })
			}
			s.pass(20 * time.Minute)
		}, []string{"silent  10/10 open"}, "trigger ops"},
		{"a hundred sites of one host at once", func(s *sim) {
			for i := range 100 {
				s.seen(fmt.Sprintf("s%d", i), 0, 1)
			}
			s.pass(time.Hour)
		}, []string{"silent  100/100 open"}, "trigger ops"},
		{"beside a large one, the same group", func(s *sim) {
			s.seen("gva", 0, 10)
			s.seen("zrh", 0, 1)
			s.pass(time.Hour)
		}, []string{"silent  11/11 open"}, "trigger ops"},
		{"not while the hub is cut off", func(s *sim) {
			s.seen("gva", 0, 1)
			s.f.Connected(false, s.now)
			s.pass(3 * time.Hour)
			s.f.Connected(true, s.now)
			s.pass(3*time.Minute + wait - time.Second)
		}, nil, ""},
		{"over when it is back, and again", func(s *sim) {
			s.seen("gva", 0, 1)
			s.pass(time.Hour)
			s.live(time.Hour, func() { s.seen("gva", 0, 1) })
			s.pass(time.Hour)
		}, []string{"silent  0/1 closed", "silent  1/1 open"}, "trigger ops, resolve ops, trigger ops"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			s := tt.play(t)
			if len(tt.want) == 0 {
				return
			}
			s.f = reload(t, s.f, s.f.cfg)
			s.f.Connected(true, s.now)
			s.pass(10 * time.Minute)
			s.sent = withoutUpdates(s.sent)
			s.want("")
		})
	}
}
