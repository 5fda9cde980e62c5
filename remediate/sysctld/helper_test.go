package sysctld

import (
	"testing"
)

func load(t testing.TB, root string) *Tree {
	t.Helper()
	tree, err := Load(root)
	if err != nil {
		t.Fatal(err)
	}
	return tree
}
