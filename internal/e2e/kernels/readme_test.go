package kernels

import (
	"os"
	"strconv"
	"strings"
	"testing"
)

// wantDocumented holds the README's table of kernels to what was seen: the series and the forms of the message, which
// last, and neither versions nor times.
func wantDocumented(t *testing.T, r release, s *scene) {
	t.Helper()
	text, err := os.ReadFile("../../../README.md")
	if err != nil {
		t.Fatal(err)
	}
	if problem := documented(string(text), r, s.release, s.first, s.other); problem != "" {
		t.Errorf("README.md: %s; what was seen is\n%s", problem, s.row(r))
	}
}

// documented says what is wrong with the row of a release; empty: nothing. Its first four cells are the release with its
// name, the series, and the message in the first namespace and in another. Where the newest kernel is newer than the row
// says, nothing is wrong: the row tells what it was seen with.
func documented(text string, r release, kernel, first, other string) string {
	row := rowOf(text, r.name)
	if len(row) < 4 {
		return "the table of kernels has no row for " + r.name
	}
	series := strings.Fields(row[1] + " ")
	switch {
	case len(series) == 0:
		return "the row for " + r.name + " names no kernel"
	case r.series != "" && series[0] != r.series:
		return "the row for " + r.name + " is of Linux " + series[0] + ", which has " + kernel
	case newer(series[0], kernel):
		return "the row for " + r.name + " is of Linux " + series[0] + ", newer than its " + kernel
	}
	for i, want := range []string{first, other} {
		if got := strings.Trim(row[2+i], "`"); got != want {
			return "the row for " + r.name + " has the message " + strconv.Quote(got) + ", the kernel " + strconv.Quote(want)
		}
	}
	return ""
}

// rowOf returns the cells of the first row of a table whose first cell is the name.
func rowOf(text, name string) []string {
	for line := range strings.Lines(text) {
		line, ok := strings.CutPrefix(strings.TrimSpace(line), "|")
		if !ok {
			continue
		}
		cells := strings.Split(strings.TrimSuffix(line, "|"), "|")
		for i := range cells {
			cells[i] = strings.TrimSpace(cells[i])
		}
		if cells[0] == name {
			return cells
		}
	}
	return nil
}

// newer tells whether a series, such as 6.18, is newer than a kernel, such as 6.9.1-cloud-amd64.
func newer(series, kernel string) bool {
	a, b := strings.SplitN(series, ".", 3), strings.SplitN(kernel, ".", 3)
	for i := range 2 {
		x, y := number(a, i), number(b, i)
		if x != y {
			return x > y
		}
	}
	return false
}

// number is the number that a part begins with; 0: none.
func number(parts []string, i int) int {
	if i >= len(parts) {
		return 0
	}
	digits := len(parts[i]) - len(strings.TrimLeft(parts[i], "0123456789"))
	n, _ := strconv.Atoi(parts[i][:digits])
	return n
}

func TestDocumented(t *testing.T) {
	const table = `
| Debian | Linux | full | full, in another namespace | seen |
|---|---|---|---|---|
| 12 bookworm | 6.1 | ` + "`full`" + ` | ` + "`full`" + ` | all |
| sid | 6.18 | ` + "`full`" + ` | ` + "`full in N`" + ` | all |
`
	bookworm, sid := release{"12 bookworm", "6.1"}, release{"sid", ""}
	for _, tt := range []struct {
		name, text    string
		r             release
		kernel        string
		first, other  string
		wantToBeNamed string // what the problem has in it; empty: there is none
	}{
		{"as it is", table, bookworm, "6.1.0-30-cloud-amd64", "full", "full", ""},
		{"no table", "# ctwarden\n", bookworm, "6.1.0-30-cloud-amd64", "full", "full", "no row for 12 bookworm"},
		{"no such row", table, release{"13 trixie", "6.12"}, "6.12.1", "full", "full", "no row for 13 trixie"},
		{"another series", table, release{"12 bookworm", "6.10"}, "6.10.1", "full", "full", "is of Linux 6.1,"},
		{"another message", table, bookworm, "6.1.0-30-cloud-amd64", "table full", "full", `"table full"`},
		{"another message elsewhere", table, sid, "6.18.1", "full", "full", `"full in N"`},
		{"the newest is the one", table, sid, "6.18.3+deb14-cloud-amd64", "full", "full in N", ""},
		{"the newest is newer", table, sid, "7.0-cloud-amd64", "full", "full in N", ""},
		{"the newest is older", table, sid, "6.9.1", "full", "full in N", "newer than its 6.9.1"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got := documented(tt.text, tt.r, tt.kernel, tt.first, tt.other)
			if !strings.Contains(got, tt.wantToBeNamed) || got != "" && tt.wantToBeNamed == "" {
				t.Errorf("%q, want %q", got, tt.wantToBeNamed)
			}
		})
	}
}
