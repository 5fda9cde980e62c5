package watcher

import (
	"bufio"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/ctwarden/ctwarden/remediate"
)

const (
	plainMessage = "nf_conntrack: nf_conntrack: table full, dropping packet"
	boot         = "0123456789abcdef0123456789abcdef"
)

var (
	testNow  = time.Date(2026, time.March, 20, 12, 0, 0, 0, time.UTC)
	testBoot = time.Date(2026, time.March, 1, 0, 0, 0, 0, time.UTC)
	testZone = time.FixedZone("CET", 3600)
)

// lineConfig is for lines of the host hv042, read on 20 March 2026 in a zone one hour ahead.
func lineConfig() LineConfig {
	return LineConfig{
		Source: remediate.SourceSyslog, Path: "/var/log/kern.log", Host: "hv042", Now: testNow, Location: testZone,
	}
}

// kernelEnvelope is a way to write a kernel message into a line of text; "%" stands for the message.
type kernelEnvelope struct {
	name, form string
	host       string
	time       string // RFC 3339; empty: none
	mono       time.Duration
}

var kernelEnvelopes = []kernelEnvelope{
	{"RFC 3164", "Jan  4 23:14:44 hv042 kernel: %", "hv042", "2026-01-04T22:14:44Z", 0},
	{"RFC 3164, zero padded", "Jan 04 23:14:44 hv042 kernel: %", "hv042", "2026-01-04T22:14:44Z", 0},
	{"RFC 3164, one blank", "Jan 4 23:14:44 hv042 kernel: %", "hv042", "2026-01-04T22:14:44Z", 0},
	{"RFC 3164, since boot", "Jan 14 23:14:44 HV042.example.org kernel: [20763743.334180] %", "HV042.example.org", "2026-01-14T22:14:44Z", 20763743334180 * time.Microsecond},
	{"RFC 3164, padded since boot", "Jan 14 23:14:44 hv042 kernel: [   12.334180] %", "hv042", "2026-01-14T22:14:44Z", 12334180 * time.Microsecond},
	{"RFC 3164, no host", "Jan 14 23:14:44 kernel: %", "", "2026-01-14T22:14:44Z", 0},
	{"RFC 3164, no host, since boot", "Jan 14 23:14:44 kernel: [1.5] %", "", "2026-01-14T22:14:44Z", 1500 * time.Millisecond},
	{"RFC 3164, priority", "<4>Jan 14 23:14:44 hv042 kernel: %", "hv042", "2026-01-14T22:14:44Z", 0},
	{"RFC 3164, octets counted", "93 <4>Jan 14 23:14:44 hv042 kernel: %", "hv042", "2026-01-14T22:14:44Z", 0},
	{"RFC 3164, level left in", "Jan 14 23:14:44 hv042 kernel: <4>%", "hv042", "2026-01-14T22:14:44Z", 0},
	{"RFC 3164, caller", "Jan 14 23:14:44 hv042 kernel: [   12.334180][T92772] %", "hv042", "2026-01-14T22:14:44Z", 12334180 * time.Microsecond},
	{"RFC 3164, NUL bytes before", "\x00\x00\x00Jan 14 23:14:44 hv042 kernel: %", "hv042", "2026-01-14T22:14:44Z", 0},
	{"network device, year", "Jan 14 2024 23:14:44 hv042 kernel: %", "hv042", "2024-01-14T22:14:44Z", 0},
	{"BusyBox", "Jan 14 23:14:44 hv042 kern.warn kernel: %", "hv042", "2026-01-14T22:14:44Z", 0},
	{"BusyBox, since boot", "Jan 14 23:14:44 hv042 kern.warn kernel: [  1.500000] %", "hv042", "2026-01-14T22:14:44Z", 1500 * time.Millisecond},
	{"BusyBox, no host", "Jan 14 23:14:44 kern.warning kernel: %", "", "2026-01-14T22:14:44Z", 0},
	{"OpenWrt", "Sat Sep  9 16:28:18 2017 kern.warn kernel: [65503.710000] %", "", "2017-09-09T15:28:18Z", 65503710 * time.Millisecond},
	{"rsyslog, offset", "2019-02-25T03:45:03.778502+00:00 hv042 kernel: [20763743.334180] %", "hv042", "2019-02-25T03:45:03.778502Z", 20763743334180 * time.Microsecond},
	{"rsyslog, other offset", "2019-02-25T03:45:03.778502-05:30 hv042 kernel: %", "hv042", "2019-02-25T09:15:03.778502Z", 0},
	{"rsyslog, Z", "2019-02-25T03:45:03Z hv042 kernel: %", "hv042", "2019-02-25T03:45:03Z", 0},
	{"ISO, zone apart", "2019-02-25 03:45:03 +0100 hv042 kernel: %", "hv042", "2019-02-25T02:45:03Z", 0},
	{"a tab behind the tag", "Jan 14 23:14:44 hv042 kernel:\t%", "hv042", "2026-01-14T22:14:44Z", 0},
	{"two blanks", "Jan 14 23:14:44  hv042  kernel:  [1.5]  %", "hv042", "2026-01-14T22:14:44Z", 1500 * time.Millisecond},
	{"byte order mark", "\xef\xbb\xbfJan 14 23:14:44 hv042 kernel: %", "hv042", "2026-01-14T22:14:44Z", 0},
	{"journalctl short-delta", "[   12.300000 <    0.018323 >] hv042 kernel: %", "hv042", "", 12300 * time.Millisecond},
	{"ISO without zone", "2019-02-25 03:45:03 hv042 kernel: %", "hv042", "2019-02-25T02:45:03Z", 0},
	{"RFC 5424", "<4>1 2026-03-01T10:00:00.123456+01:00 hv042 kernel - - - [25523.801864] %", "hv042", "2026-03-01T09:00:00.123456Z", 25523801864 * time.Microsecond},
	{"RFC 5424, mark", "<4>1 2026-03-01T10:00:00Z hv042 kernel - - - \xef\xbb\xbf%", "hv042", "2026-03-01T10:00:00Z", 0},
	{"RFC 5424, data", `<4>1 2026-03-01T10:00:00Z hv042 kernel - - [a@1 b="c ] \" d"][e f="g"] %`, "hv042", "2026-03-01T10:00:00Z", 0},
	{"RFC 5424, data and mark", "<4>1 2026-03-01T10:00:00Z hv042 kernel - ID1 [timeQuality tzKnown=\"1\"] \xef\xbb\xbf[1.5] %", "hv042", "2026-03-01T10:00:00Z", 1500 * time.Millisecond},
	{"RFC 5424, octets counted", "143 <4>1 2026-03-01T10:00:00Z hv042 kernel - - - %", "hv042", "2026-03-01T10:00:00Z", 0},
	{"RFC 5424, nothing known", "<4>1 - - kernel - - - %", "", "", 0},
	{"RFC 5424, no priority", "1 2026-03-01T10:00:00Z hv042 kernel - - - %", "hv042", "2026-03-01T10:00:00Z", 0},
	{"dmesg", "[1737157.057528] %", "", "", 1737157057528 * time.Microsecond},
	{"dmesg, padded", "[    0.000001] %", "", "", time.Microsecond},
	{"dmesg, task", "[   12.300000][T92772] %", "", "", 12300 * time.Millisecond},
	{"dmesg, task apart", "[   12.300000] [ T92772] %", "", "", 12300 * time.Millisecond},
	{"dmesg, CPU", "[   12.300000][    C0] %", "", "", 12300 * time.Millisecond},
	{"dmesg -r", "<4>[   12.300000] %", "", "", 12300 * time.Millisecond},
	{"dmesg -r without times", "<4>%", "", "", 0},
	{"dmesg -T", "[Tue Nov 20 22:30:22 2018] %", "", "2018-11-20T21:30:22Z", 0},
	{"dmesg -T, caller", "[Tue Nov 20 22:30:22 2018] [  T345] %", "", "2018-11-20T21:30:22Z", 0},
	{"dmesg -d", "[   12.300000 <    0.000012>] %", "", "", 12300 * time.Millisecond},
	{"dmesg -T -d", "[Tue Nov 20 22:30:22 2018 <    0.000012>] %", "", "2018-11-20T21:30:22Z", 0},
	{"dmesg -H", "[Nov20 22:30] %", "", "2025-11-20T21:30:00Z", 0},
	{"dmesg -H, one digit", "[Nov 2 22:30] %", "", "2025-11-02T21:30:00Z", 0},
	{"dmesg -H, difference, back", "[  -0.000001] %", "", "", 0},
	{"dmesg --time-format delta", "[<    0.000012>] %", "", "", 0},
	{"dmesg --time-format delta, back", "[<   -0.000001>] %", "", "", 0},
	{"dmesg -x --time-format delta", "kern  :warn  : [<    0.000012>] %", "", "", 0},
	{"dmesg -x --time-format iso", "kern  :warn  : 2018-11-20T22:30:22,123456+01:00 %", "", "2018-11-20T21:30:22.123456Z", 0},
	{"dmesg -x -T", "kern  :warn  : [Tue Nov 20 22:30:22 2018] %", "", "2018-11-20T21:30:22Z", 0},
	{"dmesg -H, difference", "[  +0.000012] %", "", "", 0},
	{"dmesg -x", "kern  :warn  : [   12.300000] %", "", "", 12300 * time.Millisecond},
	{"dmesg --time-format iso", "2018-11-20T22:30:22,123456+01:00 %", "", "2018-11-20T21:30:22.123456Z", 0},
	{"kmsg", "4,364,477193481,-;%", "", "", 477193481 * time.Microsecond},
	{"kmsg, caller", "4,364,477193481,-,caller=T12;%", "", "", 477193481 * time.Microsecond},
	{"journalctl short-precise", "Nov 20 22:30:22.123456 hv042 kernel: %", "hv042", "2025-11-20T21:30:22.123456Z", 0},
	{"journalctl short-iso", "2018-11-20T22:30:22+0100 hv042 kernel: %", "hv042", "2018-11-20T21:30:22Z", 0},
	{"journalctl short-iso-precise", "2018-11-20T22:30:22.123456+01:00 hv042 kernel: %", "hv042", "2018-11-20T21:30:22.123456Z", 0},
	{"journalctl short-full", "Tue 2018-11-20 22:30:22 UTC hv042 kernel: %", "hv042", "2018-11-20T22:30:22Z", 0},
	{"journalctl short-full, own zone", "Tue 2018-11-20 22:30:22 CET hv042 kernel: %", "hv042", "2018-11-20T21:30:22Z", 0},
	{"journalctl short-full, zone in digits", "Tue 2018-11-20 22:30:22 +03 hv042 kernel: %", "hv042", "2018-11-20T19:30:22Z", 0},
	{"journalctl short-unix", "1542749422.123456 hv042 kernel: %", "hv042", "2018-11-20T21:30:22.123456Z", 0},
	{"journalctl short-monotonic", "[   12.300000] hv042 kernel: %", "hv042", "", 12300 * time.Millisecond},
	{"no time", "kernel: [   12.300000] %", "", "", 12300 * time.Millisecond},
}

func (e kernelEnvelope) line(msg string) string { return strings.Replace(e.form, "%", msg, 1) }

// TestParseEveryEnvelopeWithEveryForm crosses all envelopes with all forms of the message, once and repeated, and with
// near misses of each form, which must not match.
func TestParseEveryEnvelopeWithEveryForm(t *testing.T) {
	for _, env := range kernelEnvelopes {
		t.Run(env.name, func(t *testing.T) {
			for _, form := range messageForms {
				for _, n := range []int{1, 9} {
					text, want := form.text, form.want
					if n > 1 {
						text = repeated(n, text)
						want.Count, want.Suppressed = want.Count*n, want.Suppressed*n
					}
					checkEnvelope(t, env, text, strings.TrimRight(form.text, " "), want)
					for _, miss := range []string{text + "s", text + ", really", "x" + text, text[1:], text + "\x00x"} {
						m, verdict := NewLineParser(lineConfig()).Parse([]byte(env.line(miss)))
						if verdict == VerdictMatch {
							t.Errorf("Parse(%q) matches: %+v", env.line(miss), m)
						}
					}
				}
			}
		})
	}
}

func checkEnvelope(t *testing.T, env kernelEnvelope, text, kernelText string, want Form) {
	t.Helper()
	for _, end := range []string{"", "\n", " \r\n"} {
		line := env.line(text) + end
		m, verdict := NewLineParser(lineConfig()).Parse([]byte(line))
		if verdict != VerdictMatch {
			t.Errorf("Parse(%q): verdict %d, want a match", line, verdict)
			continue
		}
		at := ""
		if !m.Time.IsZero() {
			at = m.Time.UTC().Format(time.RFC3339Nano)
		}
		if got := (Form{m.NetNS, m.Count, m.Suppressed}); got != want || m.Host != env.host || at != env.time ||
			m.Mono != env.mono || m.Text != kernelText {
			t.Errorf("Parse(%q) =\n%+v, want host %q, time %s, mono %v, %+v, text %q", line, m, env.host, env.time,
				env.mono, want, kernelText)
		}
		if m.Source != remediate.SourceSyslog || m.Path != "/var/log/kern.log" {
			t.Errorf("Parse(%q): source %s, path %s", line, m.Source, m.Path)
		}
	}
}

func TestParseRefuses(t *testing.T) {
	const msg = plainMessage
	for _, c := range []struct {
		name, line string
		want       Verdict
	}{
		{"sshd", "Mar  1 10:00:02 hv042 sshd[99]: Invalid user " + msg + " from 192.0.2.7 port 4711", VerdictNotKernel},
		{"sshd, at the end", "Mar  1 10:00:02 hv042 sshd[99]: Invalid user " + msg, VerdictNotKernel},
		{"quoted tag", "Mar  1 10:00:03 hv042 dockerd[1]: kernel: " + msg, VerdictNotKernel},
		{"quoted tag, no host", "Mar  1 10:00:03 dockerd: kernel: " + msg, VerdictNotKernel},
		{"tag with process", "Mar  1 10:00:03 hv042 kernel[1]: " + msg, VerdictNotKernel},
		{"tag in capitals", "Mar  1 10:00:03 hv042 Kernel: " + msg, VerdictNotKernel},
		{"longer tag", "Mar  1 10:00:03 hv042 mykernel: " + msg, VerdictNotKernel},
		{"tag of two words", "Mar  1 10:00:03 hv042 my kernel: " + msg, VerdictNotKernel},
		{"facility user", "<12>Mar  1 10:00:03 hv042 kernel: " + msg, VerdictNotKernel},
		{"facility local7", "<188>Mar  1 10:00:03 hv042 kernel: " + msg, VerdictNotKernel},
		{"facility daemon, RFC 5424", "<28>1 2026-03-01T10:00:00Z hv042 kernel - - - " + msg, VerdictNotKernel},
		{"process, RFC 5424", "<4>1 2026-03-01T10:00:00Z hv042 kernel 99 - - " + msg, VerdictNotKernel},
		{"application, RFC 5424", "<4>1 2026-03-01T10:00:00Z hv042 sshd - - - kernel: " + msg, VerdictNotKernel},
		{"data quotes it, RFC 5424", `<4>1 2026-03-01T10:00:00Z hv042 sshd - - [x y="] ` + msg + `"] hello`, VerdictNotKernel},
		{"data quotes it all, RFC 5424", `<4>1 2026-03-01T10:00:00Z hv042 kernel - - [x y="] ` + msg, VerdictUnparsed},
		{"facility in words", "Mar  1 10:00:03 hv042 user.notice kernel: " + msg, VerdictNotKernel},
		{"facility in words, no host", "Sat Sep  9 16:28:18 2017 user.warn kernel: " + msg, VerdictNotKernel},
		{"facility in words, local", "Mar  1 10:00:03 hv042 local3.warn kernel: " + msg, VerdictNotKernel},
		{"facility left in", "Mar  1 10:00:03 hv042 kernel: <12>" + msg, VerdictNotKernel},
		{"facility, dmesg -r", "<12>[   12.300000] " + msg, VerdictNotKernel},
		{"facility, dmesg -x", "user  :warn  : [   12.300000] " + msg, VerdictNotKernel},
		{"facility, dmesg -x, ISO", "user  :warn  : 2018-11-20T22:30:22,123456+01:00 " + msg, VerdictNotKernel},
		{"difference without its end", "[<    0.000012] " + msg, VerdictUnparsed},
		{"difference of something else", "[+x] " + msg, VerdictUnparsed},
		{"facility, kmsg", "12,364,477193481,-;" + msg, VerdictNotKernel},
		{"quoted, dmesg", "[   12.300000] systemd[1]: " + msg, VerdictNotKernel},
		{"quoted tag, dmesg", "[   12.300000] systemd[1]: kernel: " + msg, VerdictNotKernel},
		{"audit", `Mar  1 10:00:03 hv042 kernel: audit: type=1400 comm="` + msg + `"`, VerdictNotKernel},
		{"iptables LOG", "Mar  1 10:00:03 hv042 kernel: [12.3] " + msg + " IN=eth0 OUT= MAC=00 SRC=192.0.2.1", VerdictNotKernel},
		{"iptables LOG, no blank", "Mar  1 10:00:03 hv042 kernel: [12.3] " + msg + "IN= OUT=eth0 SRC=192.0.2.1", VerdictNotKernel},
		{"repeated, of another program", "Mar  1 10:00:01 hv042 sshd[1]: " + repeated(9, msg), VerdictNotKernel},
		{"other host", "Mar  1 10:00:03 hv043 kernel: " + msg, VerdictOtherHost},
		{"other host, longer", "Mar  1 10:00:03 hv042b kernel: " + msg, VerdictOtherHost},
		{"other host, RFC 5424", "<4>1 2026-03-01T10:00:00Z db1 kernel - - - " + msg, VerdictOtherHost},
		{"other host, monotonic", "[   12.300000] db1 kernel: " + msg, VerdictOtherHost},
		{"paraphrase", "Mar  1 10:00:03 hv042 kernel: " + msg + "s", VerdictUnparsed},
		{"more behind", "Mar  1 10:00:03 hv042 kernel: " + msg + " (1 of 2)", VerdictUnparsed},
		{"cut off", "Mar  1 10:00:03 hv042 kernel: " + msg[:len(msg)-4], VerdictUnparsed},
		{"two in one line", "Mar  1 10:00:03 hv042 kernel: " + msg + " Mar  1 10:00:03 hv042 kernel: " + msg, VerdictUnparsed},
		{"no envelope", msg, VerdictUnparsed},
		{"unknown envelope", "I1120 15:18:19.757786 26448 x.go:52] " + msg, VerdictUnparsed},
		{"impossible time", "Mar 41 10:00:03 hv042 kernel: " + msg, VerdictUnparsed},
		{"expectations", "Jul  3 10:07:53 kernel: nf_conntrack: expectation table full", VerdictNone},
		{"suppressed, of another program", "Mar  1 10:00:03 hv042 x: net_ratelimit: 3 callbacks suppressed", VerdictNone},
		{"suppressed, other host", "Mar  1 10:00:03 db1 kernel: net_ratelimit: 3 callbacks suppressed", VerdictNone},
		{"repeated, of nothing", "Mar  1 10:00:03 hv042 last message repeated 3 times", VerdictNone},
		{"empty", "", VerdictNone},
		{"a NUL byte", "\x00", VerdictNone},
		{"invalid UTF-8", "\xff\xfe kernel: " + msg, VerdictUnparsed},
	} {
		t.Run(c.name, func(t *testing.T) {
			if m, got := NewLineParser(lineConfig()).Parse([]byte(c.line)); got != c.want {
				t.Errorf("Parse(%q): verdict %d (%+v), want %d", c.line, got, m, c.want)
			}
		})
	}
}

func TestParseHost(t *testing.T) {
	for _, c := range []struct {
		name, host, line string
		want             Verdict
	}{
		{"same", "hv042", "hv042", VerdictMatch},
		{"case", "HV042", "hv042", VerdictMatch},
		{"domain in the line", "hv042", "hv042.example.org", VerdictMatch},
		{"domain here", "hv042.example.org", "hv042", VerdictMatch},
		{"other domain", "hv042.example.org", "hv042.example.com", VerdictMatch},
		{"other", "hv042", "hv043", VerdictOtherHost},
		{"IPv6 address", "2001:db8::42", "2001:DB8::42", VerdictMatch},
		{"any", "*", "whoever", VerdictMatch},
	} {
		t.Run(c.name, func(t *testing.T) {
			cfg := lineConfig()
			cfg.Host = c.host
			line := "Mar  1 10:00:03 " + c.line + " kernel: " + plainMessage
			if m, got := NewLineParser(cfg).Parse([]byte(line)); got != c.want || got == VerdictMatch && m.Host != c.line {
				t.Errorf("verdict %d, host %q; want %d, %q", got, m.Host, c.want, c.line)
			}
		})
	}
}

// TestParseZoneOrHost: what follows a time behind a blank may be its zone or a host that looks a little like one.
func TestParseZoneOrHost(t *testing.T) {
	cfg := lineConfig()
	cfg.Host = "*"
	for _, c := range []struct{ between, host, time string }{
		{"+0100 db1", "db1", "2019-02-25T02:45:03Z"},
		{"-08:00 db1", "db1", "2019-02-25T11:45:03Z"},
		{"Z1", "Z1", "2019-02-25T02:45:03Z"},
		{"-05x", "-05x", "2019-02-25T02:45:03Z"},
		{"+1", "+1", "2019-02-25T02:45:03Z"},
	} {
		line := "2019-02-25 03:45:03 " + c.between + " kernel: " + plainMessage
		m, verdict := NewLineParser(cfg).Parse([]byte(line))
		if got := m.Time.Format(time.RFC3339); verdict != VerdictMatch || m.Host != c.host || got != c.time {
			t.Errorf("%s: verdict %d, host %q, time %s; want %q, %s", line, verdict, m.Host, got, c.host, c.time)
		}
	}
}

// TestCorpus: every line of the positive files is one match of any host, none of the negative ones is.
func TestCorpus(t *testing.T) {
	files, err := filepath.Glob("../testdata/corpus/*.log")
	if err != nil || len(files) < 4 {
		t.Fatalf("corpus: %v, %v", files, err)
	}
	for _, path := range files {
		t.Run(filepath.Base(path), func(t *testing.T) {
			file, err := os.Open(path)
			if err != nil {
				t.Fatal(err)
			}
			defer file.Close()
			cfg := lineConfig()
			cfg.Host = "*"
			p := NewLineParser(cfg)
			positive := strings.Contains(path, "positive")
			for lines := bufio.NewScanner(file); lines.Scan(); {
				m, verdict := p.Parse(lines.Bytes())
				if got := verdict == VerdictMatch && m.Count > 0; got != positive {
					t.Errorf("%q: verdict %d, count %d", lines.Text(), verdict, m.Count)
				}
			}
		})
	}
}
