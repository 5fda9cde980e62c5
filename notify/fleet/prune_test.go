package fleet

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/ctwarden/ctwarden/remediate"
)

func TestTimelineIsBounded(t *testing.T) {
	s := newSim(t, basic())
	s.open("gva/a1")
	s.pass(10 * time.Second)
	for range 300 {
		s.now = s.now.Add(time.Second)
		s.open("gva/a2")
		s.close("gva/a2", func(i *remediate.Incident) { i.ID = "i-a2" })
		s.f.note(s.f.groups[s.only().ID], nanos(s.now), nil, "one of many", false)
	}
	if err := s.f.Acknowledge(s.only().ID, "mia", s.now); err != nil {
		t.Fatal(err)
	}
	g := s.only()
	if len(g.Timeline) != mostEntries {
		t.Errorf("the timeline has %d entries", len(g.Timeline))
	}
	for _, text := range []string{"a1 refuses connections", "trigger to ops", "acknowledged by mia"} {
		if !g.says(text) {
			t.Errorf("the timeline has lost %q", text)
		}
	}
	if !strings.Contains(g.Timeline[0].Text, "a1 refuses connections") || g.Timeline[0].Host != "a1" || g.Timeline[0].Site != "gva" {
		t.Errorf("it begins with %+v", g.Timeline[0])
	}
	t.Run("where all are to be kept", func(t *testing.T) {
		for range 2 * mostEntries {
			s.f.note(s.f.groups[g.ID], nanos(s.now), nil, "key", true)
		}
		if g := s.only(); len(g.Timeline) != mostEntries || !strings.Contains(g.Timeline[0].Text, "a1 refuses connections") {
			t.Errorf("%d entries, the first is %+v", len(g.Timeline), g.Timeline[0])
		}
	})
}

func TestTimelineOfAStorm(t *testing.T) {
	s := newSim(t, basic())
	for i := range 5000 {
		s.open(fmt.Sprintf("gva/a%d", i))
		s.step(fmt.Sprintf("gva/a%d", i), remediate.EventStepApplied, fmt.Sprint("s", i), remediate.ReasonFull, "")
	}
	g := s.only()
	if !g.says("a9 refuses connections") || g.says("a10 refuses") || !g.says("10: limit raised") && !g.says("a9: limit raised") {
		t.Error("the first ten are not told one by one, or more are")
	}
	for _, text := range []string{"20 hosts", "500 hosts", "5000 hosts"} {
		if !g.says(text) {
			t.Errorf("it does not say %q", text)
		}
	}
	if len(g.Timeline) > 60 {
		t.Errorf("it has %d entries", len(g.Timeline))
	}
}

func TestClosedIncidentsLeave(t *testing.T) {
	s := newSim(t, basic())
	s.open("gva/a1")
	s.close("gva/a1")
	s.pass(24*time.Hour - time.Minute)
	if _, list, _ := s.f.Host("gva", "a1"); len(list) != 1 || len(s.f.Groups()) != 1 {
		t.Errorf("before a day has passed there are %d incidents, %d groups", len(list), len(s.f.Groups()))
	}
	for _, key := range s.f.Dirty() {
		if _, err := s.f.Encode(key); err != nil {
			t.Fatal(err)
		}
	}
	s.f.Saved(s.f.Dirty())
	id := s.f.Groups()[0].ID
	s.pass(5 * time.Minute)
	if _, list, _ := s.f.Host("gva", "a1"); len(list) != 0 || len(s.f.Groups()) != 0 {
		t.Errorf("after a day there are %d incidents, %d groups", len(list), len(s.f.Groups()))
	}
	keys := s.f.Dirty()
	if want := []string{shardKeys[shardOf("gva", "a1")], groupKey(id)}; !slices.Equal(keys, want) {
		t.Errorf("to be saved are %v, want %v: the group is deleted after its members have left", keys, want)
	}
	if value, err := s.f.Encode(groupKey(id)); value != nil || err != nil {
		t.Errorf("the group that is gone is %q, %v", value, err)
	}
	check(t, s.f)
}

func TestEventsOfWhatWasThrownOut(t *testing.T) {
	s := newSim(t, basic())
	opening := s.incidentEvent(remediate.EventIncidentOpened, "gva/a1")
	s.f.Take(opening, s.now)
	step := s.event("gva", "a1", remediate.EventStepApplied, remediate.Step{ID: "s", IncidentID: "i-a1", At: s.now, Reason: remediate.ReasonFull})
	s.close("gva/a1")
	s.pass(30 * time.Hour)
	s.f = reload(t, s.f, s.f.cfg)
	s.sent = nil
	s.f.Take(opening, s.now)
	s.f.Take(step, s.now)
	s.pass(time.Minute)
	if _, list, _ := s.f.Host("gva", "a1"); len(list) != 0 || len(s.f.Groups()) != 0 {
		t.Errorf("an old event brings back %+v", list)
	}
	s.want("")
}

func TestManyIncidentsOfAHost(t *testing.T) {
	s := newSim(t, basic())
	s.open("gva/steady")
	for n := range 200 {
		where := fmt.Sprintf("gva/flapping/%d", n)
		s.open(where, drops(10))
		s.step(where, remediate.EventStepApplied, fmt.Sprint(n), remediate.ReasonFull, remediate.OutcomeEffective)
		s.now = s.now.Add(time.Second)
		s.close(where, drops(10))
	}
	s.pass(2 * time.Minute)
	_, list, _ := s.f.Host("gva", "flapping")
	if len(list) > mostClosed+1 {
		t.Errorf("%d incidents are kept", len(list))
	}
	g := s.only()
	if g.Incidents != 201 || g.Drops != 2000 || g.Hosts != 2 || g.Steps.Applied != 200 || g.Steps.Effective != 200 {
		t.Errorf("the group forgets what was thrown out: %+v", g)
	}
	check(t, s.f)
	s.f = reload(t, s.f, s.f.cfg)
	if again := s.only(); again.Incidents != 201 || again.Drops != 2000 || again.Steps.Applied != 200 {
		t.Errorf("after a restart: %+v", again)
	}
}

func TestManySteps(t *testing.T) {
	s := newSim(t, basic())
	s.open("gva/a1")
	for n := range 50 {
		s.now = s.now.Add(time.Second)
		s.step("gva/a1", remediate.EventStepApplied, fmt.Sprint(n), remediate.ReasonFull, "")
		s.step("gva/a1", remediate.EventStepConfirmed, fmt.Sprint(n), remediate.ReasonFull, remediate.OutcomeEffective)
		s.step("gva/a1", remediate.EventStepApplied, fmt.Sprint(n), remediate.ReasonFull, "")
	}
	if g := s.only(); g.Steps.Applied != 50 || g.Steps.Effective != 50 {
		t.Errorf("the steps are %+v", g.Steps)
	}
	if _, list, _ := s.f.Host("gva", "a1"); len(list[0].Steps) != mostSteps {
		t.Errorf("%d steps are listed", len(list[0].Steps))
	}
	check(t, s.f)
}

func TestStepsOfAnIncident(t *testing.T) {
	s := newSim(t, basic())
	s.step("gva/a1", remediate.EventStepApplied, "s1", remediate.ReasonFull, "") // before its incident is heard of
	s.open("gva/a1")
	s.step("gva/a1", remediate.EventStepReverted, "s1", remediate.ReasonFull, remediate.OutcomeIneffective)
	s.step("gva/a1", remediate.EventStepFailed, "s2", remediate.ReasonFull, "")
	s.step("gva/a1", remediate.EventStepRefused, "", remediate.ReasonFlood, "")
	s.step("gva/a1", remediate.EventStepRefused, "", remediate.ReasonFlood, "")
	want := StepSummary{Applied: 1, Ineffective: 1, Failed: 1, Reverted: 1, Refused: map[remediate.Reason]int{remediate.ReasonFlood: 1}}
	if g := s.only(); fmt.Sprint(g.Steps) != fmt.Sprint(want) {
		t.Errorf("the steps are %+v, want %+v", g.Steps, want)
	}
	_, list, _ := s.f.Host("gva", "a1")
	if i := list[0]; len(i.Steps) != 2 || !i.Steps[0].Reverted || !i.Steps[1].Failed || i.Steps[0].From != 65536 || !slices.Equal(i.NoStep, []remediate.Reason{remediate.ReasonFlood}) {
		t.Errorf("the incident is %+v", i)
	}
	check(t, s.f)
}

func TestClosedGroupsAreBounded(t *testing.T) {
	cfg := basic()
	cfg.GroupBy = []string{"rack"}
	for i := range mostGroups + 500 {
		cfg.Labels = append(cfg.Labels, LabelRule{Site: fmt.Sprint("s", i), Labels: map[string]string{"rack": fmt.Sprint(i)}})
	}
	s := newSim(t, cfg)
	for i := range mostGroups + 500 {
		s.open(fmt.Sprintf("s%d/a", i), func(in *remediate.Incident) { in.ID = fmt.Sprint(i) })
		s.close(fmt.Sprintf("s%d/a/%d", i, i))
	}
	s.pass(3 * time.Minute)
	if n := len(s.f.Groups()); n != mostGroups {
		t.Errorf("%d groups are kept", n)
	}
	check(t, s.f)
}
