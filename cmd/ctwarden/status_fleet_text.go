package main

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/ctwarden/ctwarden/internal/agent"
	"github.com/ctwarden/ctwarden/remediate"
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

// oncallRows say how the senders are that this host uses itself.
func oncallRows(w io.Writer, st agent.Status) {
	for i, s := range st.Oncall {
		name := ""
		if i == 0 {
			name = "on-call"
		}
		fmt.Fprintf(w, "%s\t%s (%s): %d pages delivered, %d wait, %d given up%s\n", name, s.Name, s.Kind, s.Delivered, s.Waiting, s.Dead,
			prefixed("; NOT GETTING THROUGH: ", s.Problem))
	}
}

// printFleet shows the fleet's hosts.
func (f *statusFlags) printFleet(ctx context.Context, std stdio) error {
	dial, err := f.dial(std, "ctwarden status --fleet")
	if err != nil {
		return err
	}
	list, sum, err := fleetHosts(ctx, dial, f.site)
	if err != nil {
		return err
	}
	w := bufio.NewWriter(std.out)
	if f.out.json() {
		err = writeFleetJSON(w, list, sum)
	} else {
		w = bufio.NewWriter(&terminal{w: std.out})
		writeFleet(w, list, sum, time.Now())
	}
	if err != nil {
		return err
	}
	return w.Flush()
}

// writeFleetJSON writes one host a line, so that neither end needs the whole in memory.
func writeFleetJSON(w io.Writer, list []fleetHost, sum fleetSummary) error {
	total, err := json.Marshal(sum)
	if err != nil {
		return err
	}
	fmt.Fprintf(w, "{\"summary\":%s,\n\"hosts\":[", total)
	for i := range list {
		row, err := json.Marshal(&list[i])
		if err != nil {
			return err
		}
		if i > 0 {
			fmt.Fprint(w, ",")
		}
		fmt.Fprintf(w, "\n%s", row)
	}
	_, err = fmt.Fprint(w, "]}\n")
	return err
}

// writeFleet writes one host a line, the fullest first. The columns are as wide as what is in them, which is measured
// beforehand: a table writer would keep every cell of a hundred thousand lines.
func writeFleet(w io.Writer, list []fleetHost, sum fleetSummary, now time.Time) {
	site, host := len("SITE"), len("HOST")
	for _, row := range list {
		site, host = max(site, len(row.Site)), max(host, len(row.Host))
	}
	line := fmt.Sprintf("%%-%ds  %%-%ds  %%6s  %%10s  %%10s  %%-9s  %%-22s  %%10s  %%8s  %%s\n", site, host)
	if len(list) > 0 {
		fmt.Fprintf(w, line, "SITE", "HOST", "FILL", "ENTRIES", "LIMIT", "MODE", "STATE", "REFUSED", "HEARD", "VERSION")
	}
	for _, row := range list {
		fmt.Fprintf(w, line, row.Site, row.Host, fill(row.Count, row.Max), fmt.Sprint(row.Count), fmt.Sprint(row.Max), string(row.Mode),
			row.state(), fmt.Sprint(row.Refused+row.ThrownOut), rough(max(now.Sub(row.At), 0).Round(time.Second)), row.Version)
	}
	fmt.Fprintf(w, "%d hosts: %d refusing connections, %d filling up, %d held, %d in mode remediate", sum.Hosts, sum.Critical, sum.Warning,
		sum.Held, sum.Remediate)
	if sum.Unread > 0 {
		fmt.Fprintf(w, "; %d more states were not understood", sum.Unread)
	}
	fmt.Fprintln(w, "\nA host that has been silent for three minutes is not in this list; compare its length with the inventory, or see the hub's page.")
}

// state is what is the matter with a host, in a few words.
func (h *fleetHost) state() string {
	var words []string
	switch h.Severity {
	case remediate.SeverityCritical:
		words = append(words, "REFUSING")
	case remediate.SeverityWarning:
		words = append(words, "filling")
	}
	switch {
	case h.HeldByFleet:
		words = append(words, "held by fleet")
	case h.Held:
		words = append(words, "held")
	}
	if len(words) == 0 {
		return "ok"
	}
	return strings.Join(words, ", ")
}
