package watcher

import (
	"fmt"
	"regexp"
	"strings"
	"testing"
)

// messageForm is one way the kernel has said it, and what that means.
type messageForm struct {
	name, text string
	want       Form
}

var messageForms = []messageForm{
	{"2.4 limit", "ip_conntrack: maximum limit of 16384 entries exceeded", Form{Count: 1}},
	{"2.6", "ip_conntrack: table full, dropping packet.", Form{Count: 1}},
	{"2.6, no period", "ip_conntrack: table full, dropping packet", Form{Count: 1}},
	{"RHEL 6", "nf_conntrack: table full, dropping packet.", Form{Count: 1}},
	{"3.5", "nf_conntrack: table full, dropping packet", Form{Count: 1}},
	{"4.7", "nf_conntrack: nf_conntrack: table full, dropping packet", Form{Count: 1}},
	{"6.17, a namespace", "nf_conntrack: nf_conntrack: table full in netns 4026532177, dropping packet", Form{NetNS: 4026532177, Count: 1}},
	{"namespace, one prefix", "nf_conntrack: table full in netns 4294967295, dropping packet", Form{NetNS: 4294967295, Count: 1}},
	{"net_ratelimit", "net_ratelimit: 83 callbacks suppressed", Form{Suppressed: 83}},
	{"__ratelimit", "__ratelimit: 7 callbacks suppressed", Form{Suppressed: 7}},
	{"printk", "printk: 135 messages suppressed.", Form{Suppressed: 135}},
	{"NET", "NET: 2 messages suppressed.", Form{Suppressed: 2}},
}

// repeated is how rsyslog writes n occurrences of a message.
func repeated(n int, text string) string {
	return fmt.Sprintf("message repeated %d times: [ %s]", n, text)
}

func TestMatchMessage(t *testing.T) {
	for _, form := range messageForms {
		t.Run(form.name, func(t *testing.T) {
			for _, tail := range []string{"", " ", "  ", "\t", "\r\n", "\x00"} {
				if got, ok := MatchMessage([]byte(form.text + tail)); !ok || got != form.want {
					t.Errorf("MatchMessage(%q) = %+v, %t; want %+v", form.text+tail, got, ok, form.want)
				}
			}
			if !HoldsPhrase([]byte("x " + form.text + " y")) {
				t.Errorf("HoldsPhrase of a line with %q is false", form.text)
			}
		})
	}
}

func TestMatchMessageRepeated(t *testing.T) {
	for _, form := range messageForms {
		for _, n := range []int{1, 2, 9, 4711} {
			want := form.want
			want.Count *= n
			want.Suppressed *= n
			for _, text := range []string{form.text, form.text + " ", "[ 12.345678] " + form.text} {
				if got, ok := MatchMessage([]byte(repeated(n, text))); !ok || got != want {
					t.Errorf("MatchMessage(%q) = %+v, %t; want %+v", repeated(n, text), got, ok, want)
				}
			}
		}
	}
}

func TestMatchMessageRefuses(t *testing.T) {
	const msg = "nf_conntrack: table full, dropping packet"
	for name, text := range map[string]string{
		"empty":                  "",
		"expectations":           "nf_conntrack: expectation table full",
		"vmalloc":                "nf_conntrack: falling back to vmalloc.",
		"neighbours":             "neighbour: arp_cache: neighbor table overflow!",
		"SYN flood":              "TCP: request_sock_TCP: Possible SYN flooding on port 80. Sending cookies.",
		"version":                "nf_conntrack version 0.5.0 (16384 buckets, 65536 max)",
		"plural":                 msg + "s",
		"plural with period":     msg + "s.",
		"two periods":            msg + "..",
		"blank before period":    msg + " .",
		"leading blank":          " " + msg,
		"three prefixes":         "nf_conntrack: nf_conntrack: " + msg,
		"mixed prefixes":         "ip_conntrack: " + msg,
		"mixed prefixes swapped": "nf_conntrack: ip_conntrack: table full, dropping packet",
		"old, doubled":           "ip_conntrack: ip_conntrack: table full, dropping packet",
		"old, namespace":         "ip_conntrack: table full in netns 4026532177, dropping packet",
		"no number":              "nf_conntrack: nf_conntrack: table full in netns , dropping packet",
		"zero namespace":         "nf_conntrack: nf_conntrack: table full in netns 0, dropping packet",
		"signed namespace":       "nf_conntrack: nf_conntrack: table full in netns -1, dropping packet",
		"namespace too large":    "nf_conntrack: nf_conntrack: table full in netns 4294967296, dropping packet",
		"namespace overflows":    "nf_conntrack: nf_conntrack: table full in netns 99999999999999999999, dropping packet",
		"hex namespace":          "nf_conntrack: nf_conntrack: table full in netns 0xf0000000, dropping packet",
		"limit without number":   "ip_conntrack: maximum limit of  entries exceeded",
		"limit of nf":            "nf_conntrack: maximum limit of 16384 entries exceeded",
		"another rate limit":     "neigh_update: 3 callbacks suppressed",
		"rate limit of a driver": "ixgbe_net_ratelimit: 3 callbacks suppressed",
		"none suppressed":        "net_ratelimit: 0 callbacks suppressed",
		"too many suppressed":    "net_ratelimit: 99999999999 callbacks suppressed",
		"suppressed, quoted":     "net_ratelimit: 3 callbacks suppressed by you",
		"repeated zero times":    repeated(0, msg),
		"repeated too often":     "message repeated 9999999999 times: [ " + msg + "]",
		"repeated plural":        repeated(2, msg+"s"),
		"repeated unclosed":      "message repeated 2 times: [ " + msg,
		"repeated unopened":      "message repeated 2 times: " + msg + "]",
		"repeated twice":         repeated(2, repeated(2, msg)),
		"repeated and more":      repeated(2, msg) + " again",
		"repeats overflow":       repeated(2000000000, "net_ratelimit: 2000000000 callbacks suppressed"),
		"netfilter log":          msg + " IN=eth0 OUT= MAC=00:11 SRC=192.0.2.1 DST=192.0.2.2",
		"NUL inside":             "nf_conntrack: table full\x00, dropping packet",
		"newline inside":         "nf_conntrack: table full,\ndropping packet",
	} {
		t.Run(name, func(t *testing.T) {
			if form, ok := MatchMessage([]byte(text)); ok {
				t.Errorf("MatchMessage(%q) = %+v, want none", text, form)
			}
		})
	}
}

// TestMatchMessageRefusesEveryNearMiss changes each form at each byte. None of what comes out may match, unless it is
// another of the forms.
func TestMatchMessageRefusesEveryNearMiss(t *testing.T) {
	number := regexp.MustCompile(`[1-9][0-9]*`)
	normal := func(text string) string { return number.ReplaceAllString(text, "1") }
	known := map[string]bool{}
	for _, form := range messageForms {
		for _, text := range []string{form.text, strings.TrimSuffix(form.text, "."), form.text + "."} {
			known[normal(text)] = true
			known[normal(repeated(2, text))] = true
		}
	}
	for _, form := range messageForms {
		for _, text := range []string{form.text, repeated(2, form.text)} {
			for _, miss := range nearMisses(text) {
				if known[normal(strings.TrimRight(miss, " "))] || toleratedRepeat(miss, known, normal) {
					continue // a changed number, or a period or blank that is tolerated
				}
				if got, ok := MatchMessage([]byte(miss)); ok {
					t.Errorf("MatchMessage(%q) = %+v, want none (from %q)", miss, got, text)
				}
			}
		}
	}
}

// toleratedRepeat tells whether text is a repeated form that differs only in blanks inside the brackets.
func toleratedRepeat(text string, known map[string]bool, normal func(string) string) bool {
	head, inner, ok := strings.Cut(strings.TrimSuffix(text, "]"), "[")
	return ok && strings.HasSuffix(text, "]") && known[normal(head+"[ "+strings.TrimSpace(inner)+"]")]
}

// nearMisses changes text at every byte: left out, doubled, in the other case, replaced, and cut off there at either
// side.
func nearMisses(text string) []string {
	var out []string
	for i := range text {
		before, at, after := text[:i], text[i:i+1], text[i+1:]
		out = append(out, before+after, before+at+at+after, before+"x"+at+after, before+" "+at+after, before+"~"+after)
		if i > 0 {
			out = append(out, before, at+after)
		}
		if flipped := flipCase(at); flipped != at {
			out = append(out, before+flipped+after)
		}
	}
	return append(out, text+"s", text+",", text+" x", "x"+text, "x "+text)
}

func flipCase(s string) string {
	if upper := strings.ToUpper(s); upper != s {
		return upper
	}
	return strings.ToLower(s)
}
