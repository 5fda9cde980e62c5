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

func readDashboard(t *testing.T) dashboard {
	t.Helper()
	text, err := os.ReadFile("grafana/ctwarden.json")
	if err != nil {
		t.Fatal(err)
	}
	var d dashboard
	if err := json.Unmarshal(text, &d); err != nil {
		t.Fatal(err)
	}
	return d
}

// TestDashboard looks at what Grafana would stumble over without a word: panels over each other, ids used twice, queries of
// another data source than the one chosen, rows in another order than they are meant.
func TestDashboard(t *testing.T) {
	d := readDashboard(t)
	if d.UID == "" || d.SchemaVersion < 36 {
		t.Errorf("uid %q, schema %d", d.UID, d.SchemaVersion)
	}
	var rows []string
	ids, cells := map[int]bool{}, map[[2]int]string{}
	for _, p := range d.Panels {
		if ids[p.ID] || p.ID == 0 || p.Title == "" {
			t.Errorf("panel %d %q: its id is used before, or it has no title", p.ID, p.Title)
		}
		ids[p.ID] = true
		checkCells(t, p, cells)
		if p.Type == "row" {
			rows = append(rows, p.Title)
			continue
		}
		checkQueries(t, p)
	}
	if got := strings.Join(rows, ", "); got != "Fleet, Refusals, Steps, Sources, Outbox" {
		t.Errorf("rows: %s", got)
	}
	var variables []string
	for _, v := range d.Templating.List {
		variables = append(variables, v.Name)
	}
	if got := strings.Join(variables, ", "); got != "datasource, job, site, instance" {
		t.Errorf("variables: %s", got)
	}
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

func checkQueries(t *testing.T, p panel) {
	t.Helper()
	if p.Datasource.UID != "${datasource}" || len(p.Targets) == 0 {
		t.Errorf("%q asks %q with %d queries", p.Title, p.Datasource.UID, len(p.Targets))
	}
	refs := map[string]bool{}
	for _, q := range p.Targets {
		if refs[q.RefID] || !strings.Contains(q.Expr, `instance=~"$instance"`) || !strings.Contains(q.Expr, `site=~"$site"`) {
			t.Errorf("%q: query %s is there twice, or not of the chosen hosts: %s", p.Title, q.RefID, q.Expr)
		}
		refs[q.RefID] = true
	}
}
