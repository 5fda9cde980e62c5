package replay

import (
	"bytes"
	"regexp"
	"strings"
	"testing"
	"time"
)

// TestMarks: few, round and inside the drawing, however long the time is.
func TestMarks(t *testing.T) {
	from := time.Date(2026, time.February, 27, 23, 42, 48, 0, time.UTC)
	for _, c := range []struct {
		span  time.Duration
		first string
		least int
	}{
		{time.Second, "23:42:48", 2},
		{2 * time.Minute, "23:43:00", 4},
		{59 * time.Minute, "23:50", 5},
		{10 * time.Hour, "00:00", 4},
		{36 * time.Hour, "Feb 28 00:00", 5},
		{20 * day, "Mar 2, 2026", 2},
		{3000 * day, "", 4},
		{100000 * day, "", 3},
	} {
		t.Run(c.span.String(), func(t *testing.T) {
			s := scale{from, c.span, 200}
			marks := s.marks()
			if len(marks) < c.least || len(marks) > maxMarks || c.first != "" && marks[0].Text != c.first {
				t.Fatalf("%+v", marks)
			}
			for i, m := range marks {
				if m.X < s.left || m.X > drawWidth || i > 0 && m.X-marks[i-1].X < 100 {
					t.Errorf("mark %d at %.0f: %+v", i, m.X, marks)
				}
			}
		})
	}
}

func TestLabel(t *testing.T) {
	for name, want := range map[string]string{
		"hv042":                       "hv042",
		"hv042, namespace 4026532177": "hv042 ns 4026532177",
		strings.Repeat("ä", 36):       strings.Repeat("ä", 36),
		strings.Repeat("h", 60) + ".example.org, namespace 4026532177": strings.Repeat("h", 17) + "…le.org ns 4026532177",
	} {
		got := label(name)
		if !strings.HasSuffix(got, want[len(want)-3:]) || len([]rune(got)) > maxLabel || len(name) < 36 && got != want {
			t.Errorf("label of %q: %q, want %q", name, got, want)
		}
	}
}

// TestWriteHTMLManyIncidents: thousands of incidents make a page of a bounded list, and all of them show in the drawing.
func TestWriteHTMLManyIncidents(t *testing.T) {
	r := sampleReport()
	one := r.Incidents[0]
	one.Refused = nil
	r.Incidents = nil
	for i := range 20 * maxListed {
		one.Opened = one.Opened.Add(time.Hour)
		one.Closed = one.Opened.Add(2 * time.Minute)
		one.Moments = times(one.Opened)
		one.Steps = one.Steps[:min(len(one.Steps), 1-min(i, 1))]
		r.Incidents = append(r.Incidents, one)
	}
	var out bytes.Buffer
	if err := r.WriteHTML(&out); err != nil {
		t.Fatal(err)
	}
	page := out.String()
	if n := strings.Count(page, "<article"); n != maxListed || !strings.Contains(page, "9,500 more incidents") ||
		!strings.Contains(page, "<b>10,000</b> incidents") {
		t.Errorf("%d incidents listed", n)
	}
	rest := regexp.MustCompile(`<path class="bar" d="([^"]*)"`).FindStringSubmatch(page)
	if rest == nil || strings.Count(rest[1], "M") > drawWidth || !strings.Contains(rest[1], "M98") {
		t.Errorf("the bars of the rest: %.200q", rest)
	}
	if len(page) > 1<<20 {
		t.Errorf("a page of %d KiB", len(page)>>10)
	}
}
