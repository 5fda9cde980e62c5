package fleet

import (
	"slices"
	"strings"
	"testing"

	"github.com/ctwarden/ctwarden/internal/testhost"
)

// pureImports is all that the core may import: nothing that reads, writes, waits, or tells the time by itself. The two of
// our own are types and texts; s2 turns bytes into bytes.
var pureImports = []string{
	"bytes", "cmp", "crypto/sha256", "encoding/hex", "encoding/json", "errors", "fmt", "iter", "maps", "math", "net/netip", "path", "slices", "strconv",
	"strings", "time", "unicode/utf8",
	"github.com/ctwarden/ctwarden/notify/oncall", "github.com/ctwarden/ctwarden/remediate", "github.com/klauspost/compress/s2",
}

// pureOncall is what the core may use of the senders' package.
var pureOncall = []string{"Notification", "Action", "Situation", "NextFor", "FromIncident", "Title"}

// impureNames are what it may not use of the others.
var impureNames = map[string][]string{
	"time": {
		"Now", "Since", "Until", "Sleep", "After", "AfterFunc", "Tick", "NewTimer", "NewTicker", "Local", "LoadLocation",
	},
	"fmt": {"Print", "Printf", "Println", "Scan", "Scanf", "Scanln"},
	"s2":  {"NewReader", "NewWriter"},
}

func TestCoreIsPure(t *testing.T) {
	testhost.Purity{Imports: pureImports, Impure: impureNames, Allows: func(pkg, name string) bool {
		return pkg != "oncall" || oncallIsPure(name)
	}}.Check(t)
}

func oncallIsPure(name string) bool {
	return slices.Contains(pureOncall, name) || strings.HasPrefix(name, "Cause") || strings.HasPrefix(name, "Action")
}
