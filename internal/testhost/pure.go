package testhost

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

// Purity is what a package that does no input or output, and does not tell the time by itself, may use.
type Purity struct {
	// Imports is all that it may import, under no other name.
	Imports []string
	// Impure are names of packages that it may import and must not use.
	Impure map[string][]string
	// Allows tells whether it may use a name of a package that Impure does not list; nil: it may.
	Allows func(pkg, name string) bool
}

// Check looks at every file in the current directory, tests apart, and wants no goroutine, channel or select either.
func (p Purity) Check(t *testing.T) {
	t.Helper()
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
		p.checkFile(t, set, file)
	}
	if files < 10 {
		t.Errorf("only %d files were found", files)
	}
}

func (p Purity) checkFile(t *testing.T, set *token.FileSet, file *ast.File) {
	t.Helper()
	for _, spec := range file.Imports {
		path, err := strconv.Unquote(spec.Path.Value)
		if err != nil || spec.Name != nil || !slices.Contains(p.Imports, path) {
			t.Errorf("%s: imports %s", set.Position(spec.Pos()), spec.Path.Value)
		}
	}
	ast.Inspect(file, func(n ast.Node) bool {
		switch n := n.(type) {
		case *ast.SelectorExpr:
			if pkg, ok := n.X.(*ast.Ident); ok && p.forbids(pkg.Name, n.Sel.Name) {
				t.Errorf("%s: uses %s.%s", set.Position(n.Pos()), pkg.Name, n.Sel.Name)
			}
		case *ast.GoStmt, *ast.ChanType, *ast.SelectStmt:
			t.Errorf("%s: does not stay in one goroutine", set.Position(n.Pos()))
		}
		return true
	})
}

func (p Purity) forbids(pkg, name string) bool {
	return slices.Contains(p.Impure[pkg], name) || p.Allows != nil && !p.Allows(pkg, name)
}
