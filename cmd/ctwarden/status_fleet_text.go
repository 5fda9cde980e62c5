package main

import (
	"fmt"
	"strings"

	"github.com/ctwarden/ctwarden/internal/agent"
)

// fleetLines say what the fleet ordered, where that makes a difference.
func fleetLines(b *strings.Builder, st agent.Status) {
	f := st.Fleet
	if f == nil {
		return
	}
	if h := f.Hold; h != nil {
		until := "until the fleet releases it (ctwarden-hub unhold)"
		if !h.Until.IsZero() {
			until = "until " + clock(h.Until)
		}
		why := ""
		if h.Why != "" {
			why = " (" + h.Why + ")"
		}
		fmt.Fprintf(b, "HELD BY THE FLEET %s by %s%s, since %s: no automatic writes%s\n", until, h.By, why, clock(h.Since), holdPlace(h))
	}
	switch {
	case !f.Awaits:
	case f.Mode == "":
		b.WriteString("mode remediate awaits the fleet (remediate.await_fleet), which has not said so: it observes\n")
	default:
		until := ""
		if !f.ModeUntil.IsZero() {
			until = " until " + clock(f.ModeUntil)
		}
		fmt.Fprintf(b, "mode %s is the fleet's word%s (remediate.await_fleet)\n", f.Mode, until)
	}
	if f.Problem != "" {
		fmt.Fprintf(b, "the fleet's orders do not reach this host: %s\n", f.Problem)
	}
}
