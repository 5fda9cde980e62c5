package release

import "testing"

func TestVersion(t *testing.T) {
	if got := Version("1.2.3"); got != "1.2.3" {
		t.Errorf("set by the linker: %q", got)
	}
	if got := Version(""); got == "" {
		t.Error("not set by the linker: nothing")
	}
}
