package main

import (
	"strings"
	"testing"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
)

func TestConsoleShowsAnEventAsItsLine(t *testing.T) {
	var out strings.Builder
	log := newLogger(&out, zapcore.InfoLevel)
	log.Info("event", zap.String("line", "step.applied: 1 → 2"), zap.String("CTWARDEN_JSON", "{}"))
	log.Warn("source degraded", zap.String("source", "kmsg"))
	log.Debug("unseen")
	if got := out.String(); !strings.Contains(got, "step.applied: 1 → 2\n") || strings.Contains(got, "JSON") ||
		!strings.Contains(got, `WARN	source degraded	{"source": "kmsg"}`) || strings.Contains(got, "unseen") {
		t.Errorf("got %s", got)
	}
}

func TestJournalFields(t *testing.T) {
	if got := journalName("time_to-full.s"); got != "TIME_TO_FULL_S" {
		t.Errorf("name: %s", got)
	}
	for value, want := range map[any]string{"a b": "a b", 5: "5", 2 * time.Second: "2s", true: "true"} {
		if got := plain(value); got != want {
			t.Errorf("plain(%v) = %q, want %q", value, got, want)
		}
	}
	if got := plain([]string{"a", "b"}); got != `["a","b"]` {
		t.Errorf("plain list: %s", got)
	}
}
