package replay

import (
	"bytes"
	"encoding/xml"
	"errors"
	"io"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/ctwarden/ctwarden/remediate"
)

// sampleReport has two hosts, a namespace, a step, a refusal, a time since boot and a file that could not be read.
func sampleReport() Report {
	opened := time.Date(2026, time.March, 1, 10, 0, 0, 0, time.UTC)
	return Report{
		Sources: []Source{
			{Path: "/var/log/kern.log", Records: 1234567, Bytes: 99, Matches: 12, Suppressed: 40, Rejected: Rejected{3, 2}, Unparsed: 1},
			{Path: "/var/log/<script>.log", Error: "it is not there"},
		},
		Matches: 12, Suppressed: 40, Host: "hv042", Limit: 65536, Ceiling: 524288,
		Incidents: []Incident{
			{
				Host: "hv042", NetNS: "init", Opened: opened, Closed: opened.Add(2 * time.Minute), Matches: 11, Suppressed: 40,
				PerSource: map[string]int{"syslog:/a": 11, "syslog:/b": 4},
				Steps:     []Step{{At: opened, From: 65536, To: 131072, Reason: "full", Assumed: true}},
				Refused:   []Refusal{{At: opened.Add(time.Second), Limit: 131072, Reason: "at_ceiling"}},
				Moments:   times(opened, opened.Add(time.Second)),
			},
			{Host: "<b>evil</b>", NetNS: "4026532177", OpenedUptime: 10.5, ClosedUptime: 130.5, Matches: 1,
				Steps: []Step{{AtUptime: 10.5, From: 65536, To: 131072, Reason: "full", Assumed: true}}},
		},
	}
}

func times(list ...time.Time) (out remediate.Times) {
	for _, at := range list {
		out.Add(at)
	}
	return out
}

func TestWriteText(t *testing.T) {
	var out bytes.Buffer
	if err := sampleReport().WriteText(&out); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{
		"1,234,567", "/var/log/kern.log", "not read to its end: it is not there",
		"2026-03-01 10:00:00 UTC  for 2m0s  hv042\n  11 messages, at most 40 more suppressed (syslog:/a 11, syslog:/b 4)\n",
		"10:00:00.000  65,536 -> 131,072  full: the kernel is refusing connections",
		"10:00:01.000  no step at 131,072  at_ceiling: ",
		"10.5s after boot  for 2m0s  <b>evil</b>, namespace 4026532177\n  1 message\n",
		"12 matches, 2 incidents, 2 steps. Nothing was changed.", "a limit of 65,536 at the first",
	} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("no %q in\n%s", want, out.String())
		}
	}
}

func TestWriteTextHint(t *testing.T) {
	var out bytes.Buffer
	r := Report{Host: "hv042", Sources: []Source{{Path: "-", Rejected: Rejected{OtherHost: 3}}}}
	if err := r.WriteText(&out); err != nil || !strings.Contains(out.String(), "--host '*'") {
		t.Errorf("%v, %s", err, out.String())
	}
}

// TestWriteHTML: the page stands alone, quotes what it shows, and its drawing is well-formed.
func TestWriteHTML(t *testing.T) {
	var out bytes.Buffer
	if err := sampleReport().WriteHTML(&out); err != nil {
		t.Fatal(err)
	}
	got := out.String()
	for _, bad := range []string{"<script", "http:", "https:", "@import", "<b>evil", "<link", "src=", "ZgotmplZ"} {
		if strings.Contains(got, bad) {
			t.Errorf("the page has %q", bad)
		}
	}
	for _, want := range []string{"prefers-color-scheme: dark", `href="#incident-1"`, `id="incident-1"`, `id="incident-2"`, "65,536 → 131,072"} {
		if !strings.Contains(got, want) {
			t.Errorf("the page lacks %q", want)
		}
	}
	svg := regexp.MustCompile(`(?s)<svg.*</svg>`).FindString(got)
	bars := 0
	for dec := xml.NewDecoder(strings.NewReader(svg)); ; {
		token, err := dec.Token()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatalf("the timeline: %v", err)
		}
		if e, ok := token.(xml.StartElement); ok && e.Name.Local == "rect" {
			bars++
		}
	}
	if bars != 1 {
		t.Errorf("%d bars in the timeline, want 1: the incident without a time of day has none", bars)
	}
}

// TestWriteHTMLHostile: whatever the texts of a log say, the page has the same elements, and shows the texts as they are.
func TestWriteHTMLHostile(t *testing.T) {
	plain, _ := elements(t, hostileReport("plain"))
	for name, text := range map[string]string{
		"elements":    "<script>alert(1)</script><img src=x onerror=alert(1)>",
		"quotes":      `x" onload="alert(1)' onclick='alert(2)`,
		"end tags":    "</title></text></a></svg></code></style></article></html>",
		"entities":    "&lt;b&gt; &amp; &#39; &unknown;",
		"verbs":       "%s %d %[3]v %!x %% {{.Summary}}",
		"sections":    "<!-- x --> <![CDATA[x]]> <?x?>",
		"NUL":         "a\x00<b>\x00</b>",
		"other signs": "\u2028\u202e`+\\",
	} {
		t.Run(name, func(t *testing.T) {
			got, shown := elements(t, hostileReport(text))
			if !slices.Equal(got, plain) {
				t.Errorf("other elements:\n%q\nwant\n%q", got, plain)
			}
			want := strings.ReplaceAll(text, "\x00", "\uFFFD")
			// Host and namespace: heading, lane, bar; a log: heading, bar; two reasons and a path. A label may be cut off.
			if n := strings.Count(shown, want); n < 12 {
				t.Errorf("%q stands %d times in\n%s", want, n, shown)
			}
		})
	}
}

// hostileReport has the text wherever a log or a path brings it in.
func hostileReport(text string) Report {
	r := sampleReport()
	in := &r.Incidents[0]
	in.Host, in.NetNS, in.PerSource = text, text, map[string]int{text: 11, "syslog:/b": 4}
	in.Steps[0].Reason, in.Refused[0].Reason = remediate.Reason(text), remediate.Reason(text)
	r.Sources[1] = Source{Path: text, Error: text}
	return r
}

// elements are the page's tags with the names of their attributes, and apart from them its texts.
func elements(t *testing.T, r Report) (tags []string, texts string) {
	t.Helper()
	var out bytes.Buffer
	if err := r.WriteHTML(&out); err != nil {
		t.Fatal(err)
	}
	dec := xml.NewDecoder(&out)
	dec.Strict, dec.AutoClose = false, xml.HTMLAutoClose
	var b strings.Builder
	for {
		token, err := dec.Token()
		if errors.Is(err, io.EOF) {
			return tags, b.String()
		}
		if err != nil {
			t.Fatal(err)
		}
		switch token := token.(type) {
		case xml.StartElement:
			tag := token.Name.Local
			for _, a := range token.Attr {
				tag += " " + a.Name.Local
			}
			tags = append(tags, tag)
		case xml.EndElement:
			tags = append(tags, "/"+token.Name.Local)
		case xml.CharData:
			b.Write(token)
			b.WriteByte('\n')
		case xml.Comment:
			t.Errorf("a comment: %q", token)
		}
	}
}

func TestWriteHTMLManyHosts(t *testing.T) {
	r := sampleReport()
	one := r.Incidents[0]
	r.Incidents = nil
	for i := range 3 * maxLanes {
		one.Host = strings.Repeat("h", i+1)
		r.Incidents = append(r.Incidents, one)
	}
	var out bytes.Buffer
	if err := r.WriteHTML(&out); err != nil || !strings.Contains(out.String(), "80 more hosts") {
		t.Errorf("%v; %d bytes", err, out.Len())
	}
	out.Reset()
	if err := (Report{}).WriteHTML(&out); err != nil || !strings.Contains(out.String(), "None.") {
		t.Errorf("an empty report: %v", err)
	}
}

// brokenWriter fails.
type brokenWriter struct{}

func (brokenWriter) Write([]byte) (int, error) { return 0, io.ErrClosedPipe }

func TestWriteErrors(t *testing.T) {
	for name, write := range map[string]func(io.Writer) error{
		"json": sampleReport().WriteJSON, "text": sampleReport().WriteText, "html": sampleReport().WriteHTML,
	} {
		if err := write(brokenWriter{}); !errors.Is(err, io.ErrClosedPipe) {
			t.Errorf("%s: %v", name, err)
		}
	}
}
