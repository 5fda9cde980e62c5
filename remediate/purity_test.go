package remediate

import (
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// pureImports is all that the core may import: nothing that reads, writes, waits, or tells the time by itself.
var pureImports = []string{
	"cmp", "crypto/sha256", "encoding/hex", "encoding/json", "fmt", "maps", "math", "slices", "sort", "strings", "time",
}

// impureNames are what it may not use of them.
var impureNames = map[string][]string{
	"time": {
		"Now", "Since", "Until", "Sleep", "After", "AfterFunc", "Tick", "NewTimer", "NewTicker", "Local", "LoadLocation",
	},
	"fmt": {"Print", "Printf", "Println", "Scan", "Scanf", "Scanln"},
}

func TestCoreIsPure(t *testing.T) {
	entries, err := os.ReadDir(".")
	if err != nil {
		t.Fatal(err)
	}
	files := 0
	for _, entry := range entries {
		if !strings.HasSuffix(entry.Name(), ".go") || strings.HasSuffix(entry.Name(), "_test.go") {
			continue
		}
		files++
		set := token.NewFileSet()
		file, err := parser.ParseFile(set, entry.Name(), nil, parser.SkipObjectResolution)
		if err != nil {
			t.Fatal(err)
		}
		checkPure(t, set, file)
	}
	if files < 10 {
		t.Errorf("only %d files were found", files)
	}
}

func checkPure(t *testing.T, set *token.FileSet, file *ast.File) {
	for _, spec := range file.Imports {
		path, err := strconv.Unquote(spec.Path.Value)
		if err != nil || spec.Name != nil || !slices.Contains(pureImports, path) {
			t.Errorf("%s: imports %s", set.Position(spec.Pos()), spec.Path.Value)
		}
	}
	ast.Inspect(file, func(n ast.Node) bool {
		switch n := n.(type) {
		case *ast.SelectorExpr:
			if pkg, ok := n.X.(*ast.Ident); ok && slices.Contains(impureNames[pkg.Name], n.Sel.Name) {
				t.Errorf("%s: uses %s.%s", set.Position(n.Pos()), pkg.Name, n.Sel.Name)
			}
		case *ast.GoStmt, *ast.ChanType, *ast.SelectStmt:
			t.Errorf("%s: does not stay in one goroutine", set.Position(n.Pos()))
		}
		return true
	})
}

func TestReasonsHaveTexts(t *testing.T) {
	for _, reason := range []Reason{
		ReasonPressure, ReasonFull, ReasonForecast, ReasonManual, ReasonBoot, ReasonDecay, ReasonIneffective,
		ReasonNoPressure, ReasonObserveMode, ReasonHeld, ReasonUnverified, ReasonAtCeiling, ReasonMemory,
		ReasonChainLimit, ReasonCooldown, ReasonBudget, ReasonReadOnly, ReasonForeignChange, ReasonFlood,
	} {
		if reason.Text() == "" {
			t.Errorf("%s has no text", reason)
		}
	}
	if len(reasonText) != 19 {
		t.Errorf("%d reasons have a text; the contract has 19", len(reasonText))
	}
}
