package state

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"testing"

	"github.com/ctwarden/ctwarden/internal/testhost"
)

// TestEveryBitOfStructure flips the bits of the pages' headers and elements one by one: the file is found damaged, or it
// holds what it held and takes what is saved next.
func TestEveryBitOfStructure(t *testing.T) {
	dir := testhost.MemoryDir(t)
	path := filepath.Join(dir, "s")
	whole := filled(t, path, 60) // a branch among them
	s := open(t, path, Options{})
	want := read(t, s)
	s.Close()
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	step := testhost.Amount(53, 1)
	flips, aside := 0, 0
	for bit := 0; bit < len(whole)*8; bit++ {
		at := bit / 8
		start := at / 4096 * 4096
		if p := parsePage(whole[start:]); at-start >= pageHeader+max(p.count*elementSize, metaSize) {
			bit = (start+4096)*8 - 1
			continue
		}
		if flips++; flips%step != 0 {
			continue
		}
		bad := bytes.Clone(whole)
		bad[at] ^= 1 << (bit % 8)
		if err := os.WriteFile(path, bad, 0o600); err != nil {
			t.Fatal(err)
		}
		what := fmt.Sprintf("page %d, byte %d, bit %d", start/4096, at-start, bit%8)
		found, held := damagedContent(t, path, what)
		if found.SetAside != "" {
			aside++
			os.Remove(found.SetAside)
		} else if found.Problem == "" && !reflect.DeepEqual(held, want) {
			t.Errorf("%s: the content changed and nothing was said", what)
		}
		os.Remove(path)
	}
	t.Logf("%d bits, of each %d tried: %d times set aside", flips, step, aside)
}
