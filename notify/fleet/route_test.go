package fleet

import (
	"fmt"
	"testing"
	"time"
)

func TestRoutes(t *testing.T) {
	labels := []LabelRule{{Host: "db*", Labels: map[string]string{"team": "data"}}}
	tests := []struct {
		name   string
		routes []Route
		open   []string
		how    what
		want   string
	}{
		{"the first that matches", []Route{
			{Match: Match{Site: "zrh"}, To: []string{"zrh"}}, {Match: Match{Site: "gva"}, To: []string{"gva"}}, {To: []string{"rest"}},
		}, []string{"gva/a1"}, critical, "trigger gva"},
		{"the next too where it says so", []Route{
			{Match: Match{Site: "gva"}, To: []string{"gva"}, Continue: true}, {To: []string{"rest"}}, {To: []string{"none"}},
		}, []string{"gva/a1"}, critical, "trigger gva, trigger rest"},
		{"a sender of two routes is told once", []Route{
			{To: []string{"ops", "log"}, Continue: true}, {To: []string{"ops"}},
		}, []string{"gva/a1"}, critical, "trigger ops, trigger log"},
		{"exactly the severity", []Route{
			{Match: Match{Severity: "critical"}, To: []string{"phone"}}, {Match: Match{Severity: "warning"}, To: []string{"chat"}},
		}, []string{"gva/a1"}, warning, "trigger chat"},
		{"by label", []Route{
			{Match: Match{Labels: map[string]string{"team": "da*"}}, To: []string{"data"}}, {To: []string{"rest"}},
		}, []string{"gva/db1"}, critical, "trigger data"},
		{"a label that a host does not have", []Route{
			{Match: Match{Labels: map[string]string{"team": "data"}}, To: []string{"data"}}, {To: []string{"rest"}},
		}, []string{"gva/a1"}, critical, "trigger rest"},
		{"by kind", []Route{
			{Match: Match{Kind: KindSilent}, To: []string{"net"}}, {Match: Match{Kind: KindConntrack}, To: []string{"ops"}},
		}, []string{"gva/a1"}, critical, "trigger ops"},
		{"each host of a group by itself", []Route{
			{Match: Match{Labels: map[string]string{"team": "data"}}, To: []string{"data"}}, {To: []string{"rest"}},
		}, []string{"gva/db1", "gva/a1"}, critical, "trigger data, trigger rest"},
		{"nobody", []Route{{Match: Match{Site: "zrh"}, To: []string{"zrh"}}}, []string{"gva/a1"}, critical, ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			for i := range tt.routes {
				tt.routes[i].Name = fmt.Sprint("r", i)
			}
			s := newSim(t, Config{GroupBy: []string{"site"}, Labels: labels, Routes: tt.routes})
			for _, where := range tt.open {
				s.open(where, tt.how)
			}
			s.pass(time.Minute)
			s.want(tt.want)
		})
	}
}

func TestDefaultRoute(t *testing.T) {
	s := newSim(t, Config{GroupBy: []string{"site"}, Senders: []string{"a", "b"}})
	s.open("gva/a1", warning)
	s.pass(time.Minute)
	s.want("")
	s.open("gva/a2", critical)
	s.pass(time.Minute)
	s.want("trigger a, trigger b")
	s.close("gva/a1")
	s.close("gva/a2")
	s.pass(time.Minute)
	s.want("resolve a, resolve b")
	t.Run("none without a sender", func(t *testing.T) {
		s := newSim(t, Config{})
		s.open("gva/a1")
		s.pass(time.Minute)
		s.want("")
	})
}

func TestGroupSpreads(t *testing.T) {
	cfg := Config{Routes: []Route{
		{Name: "gva", Match: Match{Site: "gva"}, To: []string{"gva"}, Resolve: true},
		{Name: "zrh", Match: Match{Site: "zrh"}, To: []string{"zrh"}, Resolve: true},
	}}
	s := newSim(t, cfg)
	s.open("gva/a1")
	s.pass(time.Minute)
	s.want("trigger gva")
	s.open("zrh/a1")
	s.pass(0)
	s.want("trigger zrh")
	s.close("zrh/a1")
	s.close("gva/a1")
	s.pass(time.Minute)
	s.want("resolve gva, resolve zrh")
}

func TestEscalation(t *testing.T) {
	cfg := basic()
	cfg.Routes[0].Escalate = []Escalation{{After: 10 * time.Minute, To: []string{"boss"}}, {After: time.Hour, To: []string{"cto"}}}
	tests := []struct {
		name      string
		do        func(*sim)
		want      string
		escalated int
	}{
		{"not before its time", func(s *sim) { s.pass(10*time.Minute - time.Second) }, "", 0},
		{"the first stage", func(s *sim) { s.pass(10 * time.Minute) }, "trigger boss", 1},
		{"both", func(s *sim) { s.pass(time.Hour) }, "trigger boss, trigger cto", 2},
		{"once", func(s *sim) { s.pass(5 * time.Hour) }, "trigger boss, trigger cto", 2},
		{"not after an acknowledgement", func(s *sim) {
			s.pass(5 * time.Minute)
			if err := s.f.Acknowledge(s.only().ID, "mia", s.now); err != nil {
				t.Fatal(err)
			}
			s.pass(time.Hour)
		}, "acknowledge ops", 0},
		{"who was told of the stage is told of the end", func(s *sim) {
			s.pass(10 * time.Minute)
			s.close("gva/a1")
			s.pass(time.Minute)
		}, "trigger boss, resolve ops, resolve boss", 1},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			s := newSim(t, cfg)
			s.open("gva/a1")
			s.pass(5 * time.Second)
			s.want("trigger ops")
			tt.do(s)
			s.want(tt.want)
			if g := s.f.Groups()[0]; g.Escalated != tt.escalated {
				t.Errorf("%d stages were reached, want %d", g.Escalated, tt.escalated)
			}
		})
	}
	t.Run("counted from the first page of its route", func(t *testing.T) {
		cfg := Config{Routes: []Route{
			{Name: "gva", Match: Match{Site: "gva"}, To: []string{"gva"}},
			{Name: "zrh", Match: Match{Site: "zrh"}, To: []string{"zrh"}, Escalate: []Escalation{{10 * time.Minute, []string{"boss"}}}},
		}}
		s := newSim(t, cfg)
		s.open("gva/a1")
		s.pass(time.Minute)
		s.open("zrh/a1")
		s.pass(0)
		s.want("trigger gva, trigger zrh")
		s.pass(10*time.Minute - time.Second)
		s.pages()
		s.pass(time.Second)
		s.want("trigger boss")
	})
}

func zone(t *testing.T, name string) *time.Location {
	t.Helper()
	loc, err := time.LoadLocation(name)
	if err != nil {
		t.Fatal(err)
	}
	return loc
}

func TestWindows(t *testing.T) {
	zurich := zone(t, "Europe/Zurich")
	week := []time.Weekday{time.Monday, time.Tuesday, time.Wednesday, time.Thursday, time.Friday}
	day := Window{Days: week, From: 8 * time.Hour, To: 18 * time.Hour, Location: zurich}
	night := Window{From: 22 * time.Hour, To: 6 * time.Hour, Location: zurich}
	friday := Window{Days: []time.Weekday{time.Friday}, From: 22 * time.Hour, To: 6 * time.Hour}
	at := func(text string, loc *time.Location) time.Time {
		v, err := time.ParseInLocation("2006-01-02 15:04", text, loc)
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
	tests := []struct {
		name   string
		w      Window
		now    time.Time
		on     bool
		change time.Time
	}{
		{"before it begins", day, at("2026-03-04 07:59", zurich), false, at("2026-03-04 08:00", zurich)},
		{"as it begins", day, at("2026-03-04 08:00", zurich), true, at("2026-03-04 18:00", zurich)},
		{"as it ends", day, at("2026-03-04 18:00", zurich), false, at("2026-03-05 08:00", zurich)},
		{"over the weekend", day, at("2026-03-06 19:00", zurich), false, at("2026-03-09 08:00", zurich)},
		{"in another zone", day, at("2026-03-04 07:30", time.UTC), true, at("2026-03-04 18:00", zurich)},
		{"over midnight, before", night, at("2026-03-04 23:00", zurich), true, at("2026-03-05 06:00", zurich)},
		{"over midnight, after", night, at("2026-03-05 05:59", zurich), true, at("2026-03-05 06:00", zurich)},
		{"the night of clocks set forward", night, at("2026-03-29 01:30", zurich), true, at("2026-03-29 06:00", zurich)},
		{"the day of clocks set forward", day, at("2026-03-29 12:00", zurich), false, at("2026-03-30 08:00", zurich)},
		{"a day counts where it begins", friday, at("2026-03-07 05:00", time.UTC), true, at("2026-03-07 06:00", time.UTC)},
		{"not the night before", friday, at("2026-03-06 05:00", time.UTC), false, at("2026-03-06 22:00", time.UTC)},
		{"the whole day", Window{Days: []time.Weekday{time.Friday}}, at("2026-03-06 12:00", time.UTC), true, at("2026-03-07 00:00", time.UTC)},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			on, change := activeAt([]Window{tt.w}, nanos(tt.now))
			if on != tt.on || change != nanos(tt.change) {
				t.Errorf("on is %v until %v, want %v until %v", on, moment(change), tt.on, tt.change)
			}
		})
	}
	if on, change := activeAt(nil, 1); !on || change != never {
		t.Error("no window is not always")
	}
}

func TestRouteBecomesActive(t *testing.T) {
	day := []Window{{From: 8 * time.Hour, To: 18 * time.Hour}}
	routes := []Route{
		{Name: "day", Active: day, To: []string{"day"}, Resolve: true},
		{Name: "night", Match: Match{Severity: "critical"}, To: []string{"night"}},
	}
	t.Run("what nobody was told of pages when it does", func(t *testing.T) {
		s := newSim(t, Config{Routes: routes})
		s.open("gva/a1", warning)
		s.pass(5*time.Hour - time.Second) // from 3 to 8
		s.want("")
		s.pass(time.Second)
		s.want("trigger day")
	})
	t.Run("an inactive route does not stop the search", func(t *testing.T) {
		s := newSim(t, Config{Routes: routes})
		s.open("gva/a1")
		s.pass(time.Minute)
		s.want("trigger night")
		s.pass(5 * time.Hour)
		s.want("trigger day")
	})
	t.Run("what was acknowledged is not handed over", func(t *testing.T) {
		s := newSim(t, Config{Routes: routes})
		s.open("gva/a1")
		s.pass(time.Minute)
		if err := s.f.Acknowledge(s.only().ID, "mia", s.now); err != nil {
			t.Fatal(err)
		}
		s.pass(6 * time.Hour)
		s.want("trigger night, acknowledge night")
	})
}

func TestConfigure(t *testing.T) {
	s := newSim(t, basic())
	s.open("gva/a1")
	s.pass(time.Minute)
	s.want("trigger ops")
	cfg := Config{
		GroupBy: []string{"rack"}, Labels: []LabelRule{{Host: "a*", Labels: map[string]string{"rack": "r1"}}},
		Routes: []Route{{Name: "new", Match: Match{Labels: map[string]string{"rack": "r1"}}, To: []string{"new"}, Resolve: true}},
	}
	s.f.Configure(cfg)
	check(t, s.f)
	s.pass(0)
	s.want("trigger new")
	s.open("gva/a2")
	s.wantGroups("full gva 1/1 open", "full r1 1/1 open")
	s.close("gva/a1")
	s.pass(time.Minute)
	s.want("resolve ops, resolve new, trigger new")
}

func TestRollout(t *testing.T) {
	f := New(Config{
		Labels:  []LabelRule{{Host: "canary*", Labels: map[string]string{"stage": "1"}}, {Host: "late*", Labels: map[string]string{"stage": "3"}}},
		Rollout: []Selector{{Labels: map[string]string{"stage": "[12]"}}, {Site: "lab"}},
	})
	f.Seen(HostSeen{Site: "gva", Host: "canary2", At: start}, start)
	for where, want := range map[string]string{
		"gva/canary1": "remediate", "gva/canary2": "remediate", "gva/late1": "observe", "gva/a1": "observe", "lab/late1": "remediate",
	} {
		site, name, _ := split(where)
		if got := f.Mode(site, name); string(got) != want {
			t.Errorf("%s may %s, want %s", where, got, want)
		}
	}
	if got := f.Labels("gva", "canary1")["stage"]; got != "1" {
		t.Errorf("its stage is %q", got)
	}
	if len(New(Config{}).Labels("gva", "a")) != 0 || New(Config{}).Mode("gva", "a") != "observe" {
		t.Error("without a rollout a host may act")
	}
}
