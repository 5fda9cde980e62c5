package packaging

import (
	"encoding/json"
	"os"
	"strings"
	"testing"
)

// dashboard is of Grafana's model what has to fit together.
type dashboard struct {
	UID           string  `json:"uid"`
	SchemaVersion int     `json:"schemaVersion"`
	Panels        []panel `json:"panels"`
	Templating    struct {
		List []struct{ Name, Type string } `json:"list"`
	} `json:"templating"`
}

type panel struct {
	ID         int                        `json:"id"`
	Type       string                     `json:"type"`
	Title      string                     `json:"title"`
	GridPos    struct{ H, W, X, Y int }   `json:"gridPos"`
	Datasource struct{ Type, UID string } `json:"datasource"`
	Targets    []struct {
		RefID string `json:"refId"`
		Expr  string `json:"expr"`
	} `json:"targets"`
}

func readDashboard(t *testing.T, file string) dashboard {
	t.Helper()
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	var d dashboard
	if err := json.Unmarshal(text, &d); err != nil {
		t.Fatal(err)
	}
	return d
}

// TestDashboards looks at what Grafana would stumble over without a word: panels over each other, ids used twice, queries
// of another data source than the one chosen, rows in another order than they are meant.
func TestDashboards(t *testing.T) {
	for _, tt := range []struct {
		name, rows, variables string
		chosen                []string // what each query has to look for
	}{
		{"ctwarden", "Fleet, Refusals, Steps, Sources, Outbox", "datasource, job, site, instance", []string{`instance=~"$instance"`, `site=~"$site"`}},
		{"ctwarden-hub", "Hubs, Fleet, Events, On-call", "datasource, job, instance", []string{`instance=~"$instance"`}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			d := readDashboard(t, "grafana/"+tt.name+".json")
			if d.UID != tt.name || d.SchemaVersion < 36 {
				t.Errorf("uid %q, schema %d", d.UID, d.SchemaVersion)
			}
			if rows := checkPanels(t, d.Panels, tt.chosen); rows != tt.rows {
				t.Errorf("rows: %s", rows)
			}
			var variables []string
			for _, v := range d.Templating.List {
				variables = append(variables, v.Name)
			}
			if got := strings.Join(variables, ", "); got != tt.variables {
				t.Errorf("variables: %s", got)
			}
		})
	}
}

// checkPanels returns the titles of the rows.
func checkPanels(t *testing.T, panels []panel, chosen []string) string {
	t.Helper()
	var rows []string
	ids, cells := map[int]bool{}, map[[2]int]string{}
	for _, p := range panels {
		if ids[p.ID] || p.ID == 0 || p.Title == "" {
			t.Errorf("panel %d %q: its id is used before, or it has no title", p.ID, p.Title)
		}
		ids[p.ID] = true
		checkCells(t, p, cells)
		if p.Type == "row" {
			rows = append(rows, p.Title)
			continue
		}
		checkQueries(t, p, chosen)
	}
	return strings.Join(rows, ", ")
}

// checkCells has each cell of the grid, 24 wide, belong to one panel.
func checkCells(t *testing.T, p panel, cells map[[2]int]string) {
	t.Helper()
	g := p.GridPos
	if g.W < 1 || g.H < 1 || g.X < 0 || g.X+g.W > 24 {
		t.Errorf("%q does not fit: %+v", p.Title, g)
	}
	for x := g.X; x < g.X+g.W; x++ {
		for y := g.Y; y < g.Y+g.H; y++ {
			if other, taken := cells[[2]int{x, y}]; taken {
				t.Fatalf("%q lies over %q", p.Title, other)
			}
			cells[[2]int{x, y}] = p.Title
		}
	}
}

func checkQueries(t *testing.T, p panel, chosen []string) {
	t.Helper()
	if p.Datasource.UID != "${datasource}" || len(p.Targets) == 0 {
		t.Errorf("%q asks %q with %d queries", p.Title, p.Datasource.UID, len(p.Targets))
	}
	refs := map[string]bool{}
	for _, q := range p.Targets {
		if refs[q.RefID] {
			t.Errorf("%q: query %s is there twice", p.Title, q.RefID)
		}
		refs[q.RefID] = true
		for _, want := range chosen {
			if !strings.Contains(q.Expr, want) {
				t.Errorf("%q: query %s is not of what is chosen: %s", p.Title, q.RefID, q.Expr)
			}
		}
	}
}
