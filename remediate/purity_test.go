package remediate

import (
	"testing"

	"github.com/ctwarden/ctwarden/internal/testhost"
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
	testhost.Purity{Imports: pureImports, Impure: impureNames}.Check(t)
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
