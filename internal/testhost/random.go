package testhost

import (
	"math/rand/v2"
	"os"
	"strconv"
	"testing"
)

// SeedEnv names a seed for [Rand].
const SeedEnv = "CTWARDEN_SEED"

// Rand gives the random numbers of a test that tries many things: the same ones in each run of the short form, so that
// a run that passed passes again, and new ones in the long form, which is for finding what nobody has seen. The seed is
// logged, and taken from [SeedEnv] where that is set.
func Rand(t testing.TB) *rand.Rand {
	t.Helper()
	seed := uint64(1)
	if Long() {
		seed = rand.Uint64()
	}
	if text := os.Getenv(SeedEnv); text != "" {
		var err error
		if seed, err = strconv.ParseUint(text, 10, 64); err != nil {
			t.Fatalf("%s: %v", SeedEnv, err)
		}
	}
	t.Logf("%s=%d", SeedEnv, seed)
	return rand.New(rand.NewPCG(seed, 0))
}
