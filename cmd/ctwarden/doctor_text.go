package main

import (
	"fmt"
	"io"
	"strings"
	"text/tabwriter"
	"unicode/utf8"

	"github.com/ctwarden/ctwarden/internal/doctor"
)

// writeDoctor prints the report for somebody who was just woken up: the answer first, then what to do, what is worst first.
// Fixes are not wrapped, so that they can be pasted.
func writeDoctor(w io.Writer, width int, r doctor.Report) error {
	var b strings.Builder
	b.WriteString(r.Verdict + "\n\n")
	tw := tabwriter.NewWriter(&b, 0, 0, 2, ' ', 0)
	doctorRows(tw, r)
	if err := tw.Flush(); err != nil {
		return err
	}
	for _, f := range r.Findings {
		writeFinding(&b, width, f)
	}
	if len(r.Findings) == 0 {
		b.WriteString("\nno findings\n")
	}
	if len(r.Notes)+len(r.Unknown) > 0 {
		b.WriteString("\n")
	}
	for _, note := range r.Notes {
		wrap(&b, width, "note: ", note)
	}
	for _, u := range r.Unknown {
		wrap(&b, width, "unknown: ", u.What+": "+u.Why)
	}
	_, err := io.WriteString(w, b.String())
	return err
}

func doctorRows(w io.Writer, r doctor.Report) {
	row := func(name string, n uint64, by string) {
		switch {
		case n == 0 && by == "":
			fmt.Fprintf(w, "%s\tnot set\n", name)
		case n == 0:
			fmt.Fprintf(w, "%s\tunknown\t%s\n", name, by)
		default:
			fmt.Fprintf(w, "%s\t%d\t%s\n", name, n, by)
		}
	}
	if r.Limit > 0 || r.Buckets > 0 {
		row("limit now", r.Limit, fmt.Sprintf("in %d buckets", r.Buckets))
	}
	if r.AtBoot.Max > 0 || r.AtBoot.By != "" {
		row("at the next boot", r.AtBoot.Max, r.AtBoot.By)
		row("  systemd-sysctl", r.AtBoot.Systemd.Max, r.AtBoot.Systemd.By)
		row("  sysctl --system", r.AtBoot.Procps.Max, r.AtBoot.Procps.By)
		row("  buckets", r.AtBoot.Buckets, r.AtBoot.BucketsBy)
	}
	fmt.Fprintf(w, "nf_conntrack\t%s\n", moduleText(r.Module))
}

func moduleText(m doctor.ModuleReport) string {
	text := strings.ReplaceAll(string(m.State), "_", " ")
	switch {
	case m.State == doctor.ModuleBuiltIn:
		return text
	case m.By != "":
		return text + "; at boot before the files are applied: " + m.By
	case m.Early != nil && !*m.Early:
		return text + "; nothing loads it at boot before the files are applied"
	}
	return text
}

func writeFinding(b *strings.Builder, width int, f doctor.Finding) {
	head := strings.ToUpper(string(f.Severity)) + " " + string(f.ID)
	if f.Where != "" {
		head += "  " + f.Where
	}
	fmt.Fprintf(b, "\n%s\n", head)
	wrap(b, width, "  ", f.What)
	if f.Why != "" {
		wrap(b, width, "  why: ", f.Why)
	}
	prefix := "  fix: "
	for line := range strings.Lines(f.Fix) {
		b.WriteString(prefix + strings.TrimSuffix(line, "\n") + "\n")
		prefix = strings.Repeat(" ", len(prefix))
	}
}

// wrap breaks a text into lines of at most width columns, where a blank allows it, each after the first indented as far as
// the first begins.
func wrap(b *strings.Builder, width int, prefix, text string) {
	line := prefix
	empty := true
	for _, word := range strings.Fields(text) {
		if !empty && utf8.RuneCountInString(line)+1+utf8.RuneCountInString(word) > width {
			b.WriteString(line + "\n")
			line, empty = strings.Repeat(" ", len(prefix)), true
		}
		if !empty {
			line += " "
		}
		line, empty = line+word, false
	}
	b.WriteString(line + "\n")
}
