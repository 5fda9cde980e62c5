package notify

import (
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/ctwarden/ctwarden/remediate"
)

var (
	orderedAt = time.Date(2026, 3, 4, 5, 6, 7, 8, time.UTC)
	anOrder   = Command{ID: "c-1", Rev: 7, At: orderedAt, By: "anna", Why: "the core switch", Verb: CommandHold, Until: orderedAt.Add(time.Hour)}
)

func TestCommandSubjects(t *testing.T) {
	got := append(CommandSubjects("gva", "hv1.example.org"), AnswerSubject("gva", "hv1.example.org"))
	want := []string{
		"ctwarden.v1.cmd.all", "ctwarden.v1.cmd.site.gva", "ctwarden.v1.cmd.host.gva.hv1_2eexample_2eorg",
		"ctwarden.v1.ans.gva.hv1_2eexample_2eorg",
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("%q", got)
	}
}

func TestCommandWire(t *testing.T) {
	body, err := anOrder.Encode()
	if err != nil {
		t.Fatal(err)
	}
	const want = `{"id":"c-1","rev":7,"at":"2026-03-04T05:06:07.000000008Z","by":"anna","why":"the core switch","verb":"hold","until":"2026-03-04T06:06:07.000000008Z"}`
	if string(body) != want {
		t.Errorf("%s\nwant\n%s", body, want)
	}
	mode := Command{ID: "m", Rev: MaxRev, At: orderedAt, By: "anna", Verb: CommandMode, Mode: remediate.ModeRemediate}
	for _, c := range []Command{anOrder, mode, {ID: "u", Rev: 1, At: orderedAt, By: "b", Verb: CommandUnhold}} {
		body, err := c.Encode()
		if err != nil {
			t.Fatal(err)
		}
		if got, err := DecodeCommand(body); err != nil || got != c {
			t.Errorf("%s became %+v, %v", body, got, err)
		}
	}
}

// TestCommandRefused: whatever is wrong is refused by both ends, with a word for what.
func TestCommandRefused(t *testing.T) {
	for name, c := range map[string]struct {
		change func(*Command)
		word   string
	}{
		"no id":                 {func(c *Command) { c.ID = "" }, "id"},
		"id with a dot":         {func(c *Command) { c.ID = "a.b" }, "id"},
		"long id":               {func(c *Command) { c.ID = strings.Repeat("a", maxID+1) }, "id"},
		"no revision":           {func(c *Command) { c.Rev = 0 }, "rev"},
		"revision too high":     {func(c *Command) { c.Rev = MaxRev + 1 }, "rev"},
		"no time":               {func(c *Command) { c.At = time.Time{} }, "at"},
		"nobody":                {func(c *Command) { c.By = "" }, "by"},
		"by with an escape":     {func(c *Command) { c.By = "a\x1b[2J" }, "by"},
		"why of two lines":      {func(c *Command) { c.Why = "a\nb" }, "why"},
		"long why":              {func(c *Command) { c.Why = strings.Repeat("w", maxWhy+1) }, "why"},
		"unknown verb":          {func(c *Command) { c.Verb = "raise" }, "verb"},
		"hold with a mode":      {func(c *Command) { c.Mode = remediate.ModeObserve }, "mode"},
		"unknown mode":          {func(c *Command) { c.Verb, c.Mode = CommandMode, "persist" }, "mode"},
		"mode without a mode":   {func(c *Command) { c.Verb = CommandMode }, "mode"},
		"unhold with an end":    {func(c *Command) { c.Verb = CommandUnhold }, "until"},
		"ends before it begins": {func(c *Command) { c.Until = c.At }, "until"},
		"ends too late":         {func(c *Command) { c.Until = c.At.Add(MaxHold + time.Second) }, "until"},
	} {
		t.Run(name, func(t *testing.T) {
			bad := anOrder
			c.change(&bad)
			if _, err := bad.Encode(); err == nil || !strings.Contains(err.Error(), c.word) {
				t.Errorf("encoded: %v", err)
			}
			body, err := marshal(bad)
			if err != nil {
				t.Fatal(err)
			}
			if _, err := DecodeCommand(body); err == nil || !strings.Contains(err.Error(), c.word) {
				t.Errorf("decoded: %v", err)
			}
		})
	}
}

func TestCommandNotUnderstood(t *testing.T) {
	good, err := anOrder.Encode()
	if err != nil {
		t.Fatal(err)
	}
	for name, body := range map[string]string{
		"empty":            "",
		"no JSON":          "hold",
		"a list":           "[" + string(good) + "]",
		"more behind":      string(good) + "{}",
		"a newer field":    strings.Replace(string(good), "{", `{"only":"web*",`, 1),
		"a negative rev":   strings.Replace(string(good), `"rev":7`, `"rev":-7`, 1),
		"larger than 4 Ki": strings.Replace(string(good), "{", "{"+strings.Repeat(" ", MaxCommand), 1),
	} {
		t.Run(name, func(t *testing.T) {
			if c, err := DecodeCommand([]byte(body)); err == nil || c != (Command{}) {
				t.Errorf("%+v, %v", c, err)
			}
		})
	}
}

// TestBrokenCommandKeepsItsID: an order that may not be given is answered under its id, where it has one.
func TestBrokenCommandKeepsItsID(t *testing.T) {
	bad := anOrder
	bad.Verb = "raise"
	body, _ := marshal(bad)
	if c, err := DecodeCommand(body); err == nil || c.ID != "c-1" {
		t.Errorf("%+v, %v", c, err)
	}
	bad.ID = "a b"
	body, _ = marshal(bad)
	if c, err := DecodeCommand(body); err == nil || c.ID != "" {
		t.Errorf("%+v, %v", c, err)
	}
}

func TestAnswerWire(t *testing.T) {
	a := Answer{ID: "c-1", Rev: 7, Site: "gva", Host: "hv1.a", Reason: CommandOld, Text: "a\nb" + strings.Repeat("é", maxWhy), At: orderedAt}
	body, err := a.Encode()
	if err != nil {
		t.Fatal(err)
	}
	got, err := DecodeAnswer("ctwarden.v1.ans.gva.hv1_2ea", body)
	if err != nil || got.Reason != CommandOld || got.Rev != 7 || !strings.HasPrefix(got.Text, "a?bé") || len(got.Text) > maxWhy {
		t.Errorf("%+v, %v", got, err)
	}
	if _, err := DecodeAnswer("ctwarden.v1.ans.gva.hv2", body); err == nil {
		t.Error("an answer in another host's name was taken")
	}
	for name, bad := range map[string]Answer{
		"no host":     {Site: "gva", At: orderedAt},
		"site with .": {Site: "a.b", Host: "hv1", At: orderedAt},
		"a bad id":    {ID: "a b", Site: "gva", Host: "hv1", At: orderedAt},
	} {
		if _, err := bad.Encode(); err == nil {
			t.Errorf("%s: encoded", name)
		}
	}
}

// FuzzDecodeCommand: what is taken for an order is one, and says the same on the way back.
func FuzzDecodeCommand(f *testing.F) {
	body, err := anOrder.Encode()
	if err != nil {
		f.Fatal(err)
	}
	f.Add(body)
	f.Add([]byte(`{"id":"m","rev":1,"at":"2026-01-02T03:04:05+01:00","by":"a","verb":"mode","mode":"observe"}`))
	f.Add([]byte(`{"ID":"m","rev":1e3,"at":"9999-12-31T23:59:59-23:00","by":"\u202e","verb":"unhold"}`))
	f.Add([]byte(`{"id":"m","id":"n","rev":1,"at":"0000-01-01T00:00:00Z","by":"a","verb":"unhold"}{}`))
	f.Fuzz(func(t *testing.T, body []byte) {
		c, err := DecodeCommand(body)
		if err != nil {
			return
		}
		out, err := c.Encode()
		if err != nil {
			t.Fatalf("%s was taken and cannot be said: %v", body, err)
		}
		again, err := DecodeCommand(out)
		if err != nil || !again.At.Equal(c.At) || !again.Until.Equal(c.Until) {
			t.Fatalf("%s became %s: %v", body, out, err)
		}
		again.At, again.Until = c.At, c.Until
		if again != c {
			t.Fatalf("%s became %s", body, out)
		}
	})
}

// FuzzDecodeAnswer: an answer that is taken comes from the host whose subject it came on, and can be shown.
func FuzzDecodeAnswer(f *testing.F) {
	body, err := Answer{ID: "c-1", Rev: 7, Site: "gva", Host: "hv1", Done: true, At: orderedAt}.Encode()
	if err != nil {
		f.Fatal(err)
	}
	f.Add(AnswerSubject("gva", "hv1"), body)
	f.Add("ctwarden.v1.ans.a.b", []byte(`{"site":"a","host":"b","text":"\u001b[2J","at":"2026-01-02T03:04:05Z"}`))
	f.Fuzz(func(t *testing.T, subject string, body []byte) {
		a, err := DecodeAnswer(subject, body)
		if err != nil {
			return
		}
		if AnswerSubject(a.Site, a.Host) != subject || printable(a.Text) != a.Text || len(a.Text) > maxWhy {
			t.Fatalf("%q %s became %+v", subject, body, a)
		}
	})
}
