package fleet

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

// pureImports is all that the core may import: nothing that reads, writes, waits, or tells the time by itself. The two of
// our own are types and texts; s2 turns bytes into bytes.
var pureImports = []string{
	"bytes", "cmp", "crypto/sha256", "encoding/hex", "encoding/json", "errors", "fmt", "iter", "maps", "math", "path", "slices", "strconv",
	"strings", "time", "unicode/utf8",
	"github.com/ctwarden/ctwarden/notify/oncall", "github.com/ctwarden/ctwarden/remediate", "github.com/klauspost/compress/s2",
}

// pureOncall is what the core may use of the senders' package.
var pureOncall = []string{"Notification", "Action", "Situation", "NextFor", "FromIncident"}

// impureNames are what it may not use of the others.
var impureNames = map[string][]string{
	"time": {
		"Now", "Since", "Until", "Sleep", "After", "AfterFunc", "Tick", "NewTimer", "NewTicker", "Local", "LoadLocation",
	},
	"fmt": {"Print", "Printf", "Println", "Scan", "Scanf", "Scanln"},
	"s2":  {"NewReader", "NewWriter"},
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
			pkg, ok := n.X.(*ast.Ident)
			switch {
			case !ok:
			case slices.Contains(impureNames[pkg.Name], n.Sel.Name), pkg.Name == "oncall" && !oncallIsPure(n.Sel.Name):
				t.Errorf("%s: uses %s.%s", set.Position(n.Pos()), pkg.Name, n.Sel.Name)
			}
		case *ast.GoStmt, *ast.ChanType, *ast.SelectStmt:
			t.Errorf("%s: does not stay in one goroutine", set.Position(n.Pos()))
		}
		return true
	})
}

func oncallIsPure(name string) bool {
	return slices.Contains(pureOncall, name) || strings.HasPrefix(name, "Cause") || strings.HasPrefix(name, "Action")
}
