package watcher

import (
	"fmt"
	"strings"
	"testing"
	"time"
)

// TestParseYear: what year a line without one is of.
func TestParseYear(t *testing.T) {
	day := func(year int, month time.Month, day int) time.Time {
		return time.Date(year, month, day, 12, 0, 0, 0, time.UTC)
	}
	for _, c := range []struct {
		name  string
		now   time.Time
		year  int
		lines []string
		want  []string
	}{
		{"this year", day(2026, 3, 20), 0, []string{"Mar 19 10:00:00"}, []string{"2026-03-19"}},
		{"a clock ahead", day(2026, 3, 20), 0, []string{"Mar 21 10:00:00"}, []string{"2026-03-21"}},
		{"never more than a day ahead", day(2026, 3, 20), 0, []string{"Mar 22 10:00:00"}, []string{"2025-03-22"}},
		{"December in January", day(2026, 1, 2), 0, []string{"Dec 31 23:59:59", "Jan  1 00:00:00"}, []string{"2025-12-31", "2026-01-01"}},
		{"January on the last of December", day(2025, 12, 31), 0, []string{"Jan  1 00:00:01"}, []string{"2026-01-01"}},
		{"29 February", day(2026, 3, 20), 0, []string{"Feb 29 10:00:00"}, []string{"2024-02-29"}},
		{"given", day(2026, 3, 20), 2019, []string{"Mar 22 10:00:00"}, []string{"2019-03-22"}},
		{"given, over the turn of the year", day(2026, 3, 20), 2018,
			[]string{"Nov 30 10:00:00", "Dec 31 23:59:59", "Jan  1 00:00:00", "Dec 31 23:59:59", "Jan  2 00:00:00"},
			[]string{"2018-11-30", "2018-12-31", "2019-01-01", "2018-12-31", "2019-01-02"}},
		{"given, several years", day(2026, 3, 20), 2017,
			[]string{"Aug  1 10:00:00", "Feb  1 10:00:00", "Oct  1 10:00:00", "May  1 10:00:00"},
			[]string{"2017-08-01", "2018-02-01", "2018-10-01", "2019-05-01"}},
		{"given, a clock set back", day(2026, 3, 20), 2018, []string{"Aug 10 10:00:00", "Aug  9 10:00:00"}, []string{"2018-08-10", "2018-08-09"}},
		{"given, not into the future", day(2026, 3, 20), 2026, []string{"Mar 10 10:00:00", "Jan  9 10:00:00"}, []string{"2026-03-10", "2026-01-09"}},
		{"the line says it", day(2026, 3, 20), 2019, []string{"Mar 22 2016 10:00:00"}, []string{"2016-03-22"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			cfg := lineConfig()
			cfg.Now, cfg.Year, cfg.Location = c.now, c.year, time.UTC
			p := NewLineParser(cfg)
			for i, line := range c.lines {
				m, verdict := p.Parse([]byte(line + " hv042 kernel: " + plainMessage))
				if got := m.Time.Format(time.DateOnly); verdict != VerdictMatch || got != c.want[i] {
					t.Errorf("line %d, %q: %s (verdict %d), want %s", i, line, got, verdict, c.want[i])
				}
			}
		})
	}
}

// TestParseYearLive: a parser without a Now goes with the clock.
func TestParseYearLive(t *testing.T) {
	cfg := lineConfig()
	cfg.Now = time.Time{}
	now := time.Now().In(testZone).Truncate(time.Second)
	m, _ := NewLineParser(cfg).Parse([]byte(now.Format(time.Stamp) + " hv042 kernel: " + plainMessage))
	if !m.Time.Equal(now) {
		t.Errorf("time %v, want %v", m.Time, now)
	}
}

// TestParseLastRepeated: whose line before "last message repeated" it was decides.
func TestParseLastRepeated(t *testing.T) {
	const (
		ours   = "Mar  1 10:00:00 hv042 kernel: " + plainMessage
		again  = "Mar  1 10:00:30 hv042 last message repeated 3 times"
		notice = "Mar  1 10:00:00 hv042 kernel: net_ratelimit: 5 callbacks suppressed"
		named  = "Mar  1 10:00:00 hv042 kernel: nf_conntrack: nf_conntrack: table full in netns 4026532177, dropping packet"
	)
	for _, c := range []struct {
		name, host string
		lines      []string
		want       Form // of the last line; zero: no match
	}{
		{"right behind", "hv042", []string{ours, again}, Form{Count: 3}},
		{"once", "hv042", []string{ours, strings.Replace(again, "3 times", "1 time", 1)}, Form{Count: 1}},
		{"of a namespace", "hv042", []string{named, again}, Form{NetNS: 4026532177, Count: 3}},
		{"of a notice", "hv042", []string{notice, again}, Form{Suppressed: 15}},
		{"BusyBox", "hv042", []string{ours, "Mar  1 10:00:30 hv042 syslog.info last message repeated 3 times"}, Form{Count: 3}},
		{"no host", "hv042", []string{"Mar  1 10:00:00 kernel: " + plainMessage, "Mar  1 10:00:30 last message repeated 3 times"}, Form{Count: 3}},
		{"twice", "hv042", []string{ours, again, again}, Form{Count: 3}},
		{"another host between", "hv042", []string{ours, "Mar  1 10:00:10 db1 sshd[1]: hello", again}, Form{Count: 3}},
		{"another line between", "hv042", []string{ours, "Mar  1 10:00:10 hv042 sshd[1]: hello", again}, Form{}},
		{"a near miss between", "hv042", []string{ours, ours + "s", again}, Form{}},
		{"a line of unknown form between", "hv042", []string{ours, "  continued", again}, Form{}},
		{"another host's", "hv042", []string{ours, strings.Replace(again, "hv042", "db1", 1)}, Form{}},
		{"another host's line before", "hv042", []string{strings.Replace(ours, "hv042", "db1", 1), strings.Replace(again, "hv042", "db1", 1)}, Form{}},
		{"of any host", "*", []string{ours, strings.Replace(ours, "hv042", "db1", 1), again}, Form{Count: 3}},
		{"zero times", "hv042", []string{ours, strings.Replace(again, "3 times", "0 times", 1)}, Form{}},
		{"as somebody's text", "hv042", []string{ours, "Mar  1 10:00:30 hv042 sshd[1]: last message repeated 3 times"}, Form{}},
	} {
		t.Run(c.name, func(t *testing.T) {
			cfg := lineConfig()
			cfg.Host = c.host
			p := NewLineParser(cfg)
			var got Form
			var verdict Verdict
			for _, line := range c.lines {
				m, v := p.Parse([]byte(line))
				got, verdict = Form{m.NetNS, m.Count, m.Suppressed}, v
			}
			if got != c.want || (verdict == VerdictMatch) != (c.want != Form{}) {
				t.Errorf("%+v, verdict %d; want %+v", got, verdict, c.want)
			}
		})
	}
}

// TestParseLastRepeatedIsGivenUp: a match does not wait for ever for a host that has fallen silent.
func TestParseLastRepeatedIsGivenUp(t *testing.T) {
	p := NewLineParser(lineConfig())
	p.Parse([]byte("Mar  1 10:00:00 hv042 kernel: " + plainMessage))
	for i := range maxOpen {
		if !p.Open() {
			t.Fatalf("given up after %d lines", i)
		}
		p.Parse(fmt.Appendf(nil, "Mar  1 10:00:01 db1 sshd[%d]: hello", i))
	}
	p.Parse([]byte("Mar  1 10:00:01 db1 sshd[1]: hello"))
	if p.Open() {
		t.Errorf("still open after %d lines of other hosts", maxOpen)
	}
}

// TestParseBoot: which boot a record is of, and what time a record has that names none.
func TestParseBoot(t *testing.T) {
	for _, c := range []struct {
		name, line string
		boot       string
		time       string
	}{
		{"since boot alone", "[  100.500000] " + plainMessage, boot, "2026-03-01T00:01:40.5Z"},
		{"this boot", "2026-03-02T00:00:00Z hv042 kernel: [86400.0] " + plainMessage, boot, "2026-03-02T00:00:00Z"},
		{"this boot, after a suspend", "2026-03-05T00:00:00Z hv042 kernel: [86400.0] " + plainMessage, boot, "2026-03-05T00:00:00Z"},
		{"this boot, the clock was set", "2026-03-01T00:00:00Z hv042 kernel: [30.0] " + plainMessage, boot, "2026-03-01T00:00:00Z"},
		{"the boot before", "2026-02-27T23:00:00Z hv042 kernel: [86400.0] " + plainMessage, "", "2026-02-27T23:00:00Z"},
		{"the boot before, nearly", "2026-03-01T00:00:30Z hv042 kernel: [86400.0] " + plainMessage, "", "2026-03-01T00:00:30Z"},
		{"the boot before, no time since", "2026-02-27T23:00:00Z hv042 kernel: " + plainMessage, "", "2026-02-27T23:00:00Z"},
	} {
		t.Run(c.name, func(t *testing.T) {
			cfg := lineConfig()
			cfg.BootID, cfg.BootTime = boot, testBoot
			m, _ := NewLineParser(cfg).Parse([]byte(c.line))
			if got := m.Time.UTC().Format(time.RFC3339Nano); m.BootID != c.boot || got != c.time {
				t.Errorf("boot %q, time %s; want %q, %s", m.BootID, got, c.boot, c.time)
			}
		})
	}
}

// TestParseManyHosts: matches of more hosts than a parser keeps names of, each of which may be repeated.
func TestParseManyHosts(t *testing.T) {
	cfg := lineConfig()
	cfg.Host = "*"
	p := NewLineParser(cfg)
	const hosts = 2*maxHosts + 10
	for round, want := range []Form{{Count: 1}, {Count: 3}, {}} {
		text := []string{"kernel: " + plainMessage, "last message repeated 3 times", "sshd[1]: hello"}[round]
		for i := range hosts {
			name := fmt.Sprintf("HV%d.example.org", i)
			m, _ := p.Parse(fmt.Appendf(nil, "Mar  1 10:00:00 %s %s", name, text))
			if got := (Form{m.NetNS, m.Count, m.Suppressed}); got != want || m.Host != name && want != (Form{}) {
				t.Fatalf("round %d, host %d: %+v, host %q; want %+v", round, i, got, m.Host, want)
			}
		}
	}
	if p.Open() || len(p.hosts) > maxHosts {
		t.Errorf("open: %t; %d hosts kept", p.Open(), len(p.hosts))
	}
}
