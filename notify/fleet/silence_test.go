package fleet

import (
	"errors"
	"strings"
	"testing"
	"time"
)

func (s *sim) silence(how Silence) string {
	s.t.Helper()
	if how.By == "" {
		how.By = "mia"
	}
	if how.Until.IsZero() {
		how.Until = s.now.Add(time.Hour)
	}
	id, err := s.f.Silence(how, s.now)
	if err != nil {
		s.t.Fatal(err)
	}
	return id
}

// TestSilenceAfterThePage: who was paged hears nothing more of it but its end, and a place that forgets what it is not told
// again goes on to be told.
func TestSilenceAfterThePage(t *testing.T) {
	s := newSim(t, basic())
	s.open("gva/a1")
	s.pass(time.Minute)
	s.want("trigger ops")
	s.silence(Silence{Site: "gva", Until: s.now.Add(24 * time.Hour)})
	s.open("gva/a2")
	s.pass(time.Hour)
	s.want("")
	if told := s.f.Told(); len(told) != 1 || told[0].To != "ops" || !s.only().Silenced {
		t.Errorf("told again are %+v of %+v", told, s.only())
	}
	s.close("gva/a1")
	s.close("gva/a2")
	s.pass(time.Minute)
	s.want("resolve ops")
	if told := s.f.Told(); len(told) != 0 {
		t.Errorf("after the end: %+v", told)
	}
}

func TestSilences(t *testing.T) {
	tests := []struct {
		name    string
		silence Silence
		open    []string
		how     what
		want    string
	}{
		{"of the site", Silence{Site: "gva"}, []string{"gva/a1", "gva/a2"}, critical, ""},
		{"of another site", Silence{Site: "zrh"}, []string{"gva/a1"}, critical, "trigger ops"},
		{"of the host by pattern", Silence{Host: "a*"}, []string{"gva/a1"}, critical, ""},
		{"of some of the hosts", Silence{Host: "a*"}, []string{"gva/a1", "gva/b1"}, critical, "trigger ops"},
		{"of a label", Silence{Labels: map[string]string{"team": "da*"}}, []string{"gva/db1"}, critical, ""},
		{"of a label that it does not have", Silence{Labels: map[string]string{"team": "data"}}, []string{"gva/a1"}, critical, "trigger ops"},
		{"of the cause", Silence{Cause: "filling"}, []string{"gva/a1"}, warning, ""},
		{"of another cause", Silence{Cause: "filling"}, []string{"gva/a1"}, critical, "trigger ops"},
		{"that begins later", Silence{Site: "gva", From: start.Add(time.Minute)}, []string{"gva/a1"}, critical, "trigger ops"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			cfg := basic()
			cfg.Labels = []LabelRule{{Host: "db*", Labels: map[string]string{"team": "data"}}}
			s := newSim(t, cfg)
			s.silence(tt.silence)
			for _, where := range tt.open {
				s.open(where, tt.how)
			}
			s.pass(10 * time.Second)
			s.want(tt.want)
			if g := s.only(); g.Silenced != (tt.want == "") || g.OpenHosts != len(tt.open) {
				t.Errorf("it is shown as %+v", g)
			}
		})
	}
}

func TestSilenceEnds(t *testing.T) {
	tests := []struct {
		name string
		do   func(s *sim, id string)
		want string
	}{
		{"by itself: what is still open pages", func(s *sim, _ string) {
			s.pass(time.Hour - 10*time.Second)
		}, "trigger ops"},
		{"by itself: what is over does not", func(s *sim, _ string) {
			s.close("gva/a1")
			s.pass(2 * time.Hour)
		}, ""},
		{"by hand", func(s *sim, id string) {
			if err := s.f.Unsilence(id, "leo", s.now); err != nil {
				s.t.Error(err)
			}
			s.pass(0)
		}, "trigger ops"},
		{"for a host that it does not match", func(s *sim, _ string) {
			s.open("gva/b1")
			s.pass(0)
		}, "trigger ops"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			s := newSim(t, basic())
			id := s.silence(Silence{Host: "a*"})
			s.open("gva/a1")
			s.pass(10 * time.Second)
			s.want("")
			tt.do(s, id)
			s.want(tt.want)
		})
	}
	t.Run("what was paged before is resolved all the same, and not updated", func(t *testing.T) {
		s := newSim(t, basic())
		s.open("gva/a1")
		s.pass(time.Minute)
		s.want("trigger ops")
		s.silence(Silence{Site: "gva"})
		s.update("gva/a1", drops(9))
		s.pass(10 * time.Minute)
		s.want("")
		s.close("gva/a1")
		s.pass(time.Minute)
		s.want("resolve ops")
	})
}

func TestSilencesRefused(t *testing.T) {
	hour := start.Add(time.Hour)
	tests := []struct {
		name string
		s    Silence
		want string
	}{
		{"of nobody", Silence{Site: "gva", Until: hour}, "by is empty"},
		{"of everything", Silence{By: "mia", Until: hour}, "matches everything"},
		{"without an end", Silence{By: "mia", Site: "gva"}, "until"},
		{"in the past", Silence{By: "mia", Site: "gva", Until: start}, "until"},
		{"the wrong way round", Silence{By: "mia", Site: "gva", From: hour, Until: hour}, "until"},
		{"of a broken pattern", Silence{By: "mia", Host: "[", Until: hour}, `host "["`},
		{"of a broken pattern of a label", Silence{By: "mia", Labels: map[string]string{"rack": "["}, Until: hour}, "label rack"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			f := New(basic())
			if _, err := f.Silence(tt.s, start); err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("the error is %v, want %q", err, tt.want)
			}
			if len(f.Silences()) != 0 || len(f.Dirty()) != 0 {
				t.Error("it was made all the same")
			}
		})
	}
}

func TestUnsilence(t *testing.T) {
	s := newSim(t, basic())
	if err := s.f.Unsilence("00", "mia", s.now); !errors.Is(err, ErrUnknown) {
		t.Errorf("an unknown one: %v", err)
	}
	id := s.silence(Silence{Site: "gva", Comment: "moving racks"})
	if again := s.silence(Silence{Site: "gva", Comment: "moving racks"}); again != id || len(s.f.Silences()) != 1 {
		t.Errorf("made twice at the same time it is %s and %s", id, again)
	}
	if err := s.f.Unsilence(id, "leo", s.now.Add(time.Minute)); err != nil {
		t.Fatal(err)
	}
	if got := s.f.Silences()[0]; got.EndedBy != "leo" || got.By != "mia" || !got.Until.Equal(start.Add(time.Minute)) || got.Comment != "moving racks" {
		t.Errorf("it is %+v", got)
	}
	if err := s.f.Unsilence(id, "leo", s.now.Add(2*time.Minute)); !errors.Is(err, ErrOver) {
		t.Errorf("one that has ended: %v", err)
	}
	s.pass(25 * time.Hour)
	if got := s.f.Silences(); len(got) != 0 {
		t.Errorf("a day later there is %v", got)
	}
}
