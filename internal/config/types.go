package config

import (
	"fmt"
	"strconv"
	"strings"
	"time"
)

// Auto is auto, true or false.
type Auto string

// The values of Auto. The empty value counts as auto.
const (
	AutoDetect Auto = "auto"  // where it works
	AutoTrue   Auto = "true"  // an error where it does not work
	AutoFalse  Auto = "false" // never
)

// Size is a number of bytes. In the file it is a whole number, or one with KiB, MiB, GiB, kB, MB or GB.
type Size uint64

type unit struct {
	suffix string
	bytes  uint64
}

func sizeUnits() []unit {
	return []unit{
		{"KiB", 1 << 10}, {"MiB", 1 << 20}, {"GiB", 1 << 30}, {"TiB", 1 << 40},
		{"kB", 1e3}, {"MB", 1e6}, {"GB", 1e9}, {"TB", 1e12}, {"B", 1}, {"", 1},
	}
}

// ParseSize reads a size as the file writes it.
func ParseSize(text string) (Size, error) {
	for _, u := range sizeUnits() {
		number, ok := strings.CutSuffix(text, u.suffix)
		if !ok {
			continue
		}
		n, err := strconv.ParseUint(strings.TrimSpace(number), 10, 63)
		if err != nil || n > (1<<63-1)/u.bytes {
			break
		}
		return Size(n * u.bytes), nil
	}
	return 0, fmt.Errorf("not a size: %q", text)
}

// String is the size in the largest binary unit that divides it.
func (s Size) String() string {
	out := strconv.FormatUint(uint64(s), 10)
	for _, u := range sizeUnits()[:4] {
		if s > 0 && uint64(s)%u.bytes == 0 {
			out = strconv.FormatUint(uint64(s)/u.bytes, 10) + u.suffix
		}
	}
	return out
}

func parseDuration(text string) (time.Duration, error) {
	if text == "0" {
		return 0, nil
	}
	return time.ParseDuration(text)
}
