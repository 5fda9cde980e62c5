package main

import (
	"bytes"
	"io"
	"os/exec"
	"reflect"
	"strings"
	"testing"
)

const (
	expatText = "MIT License\n\n# © Copyright 2015 Some Company LP\nCopyright (c) 2014 Jane Doe\n\nPermission is hereby granted, free of charge, to any\n" +
		"The above copyright notice shall be included\nCOPYRIGHT HOLDERS BE LIABLE\n"
	bsdText     = "Copyright (c) 2012 The Go Authors. All rights reserved.\n\nRedistribution and use in source and binary forms\nto endorse or promote products\n"
	apacheShort = "                                 Apache License\n                           Version 2.0, January 2004\n\n" +
		"      copyright license to reproduce\n   Copyright [yyyy] [name of copyright owner]\n   limitations under the License.\n"
)

func TestIdentify(t *testing.T) {
	for _, c := range []struct {
		name, text string
		want       []string
	}{
		{"Expat", expatText, []string{"Expat"}},
		{"three clauses", bsdText, []string{"BSD-3-clause"}},
		{"two clauses", "Redistribution and use in source and binary forms", []string{"BSD-2-clause"}},
		{"ISC", "Permission to use, copy, modify, and distribute this software for any purpose", []string{"ISC"}},
		{"several in one file", bsdText + apacheShort, []string{"Apache-2.0", "BSD-3-clause"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			got, err := identify(c.text)
			if err != nil || !reflect.DeepEqual(got, c.want) {
				t.Errorf("%v, %v, want %v", got, err, c.want)
			}
		})
	}
	if got, err := identify("All rights reserved."); err == nil {
		t.Errorf("an unknown license is %v", got)
	}
}

func TestHolders(t *testing.T) {
	got := holders(expatText, bsdText, apacheShort)
	want := []string{"2015 Some Company LP", "2014 Jane Doe", "2012 The Go Authors."}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("%q, want %q", got, want)
	}
}

func TestWithoutApache(t *testing.T) {
	got := withoutApache("before\n" + apacheShort + "after\n")
	if strings.Contains(got, "yyyy") || !strings.HasPrefix(got, "before\n") || !strings.HasSuffix(got, "after\n") {
		t.Errorf("%q", got)
	}
}

// TestEveryModule holds the file to what is linked: every module of the program is in it.
func TestEveryModule(t *testing.T) {
	for _, program := range []string{"../../cmd/ctwarden", "../../cmd/ctwarden-hub"} {
		var out bytes.Buffer
		if err := run([]string{"-tags", "nethttpomithttp2", program}, &out, io.Discard); err != nil {
			t.Fatal(err)
		}
		format := "{{with .Module}}{{if not .Main}}{{.Path}}{{end}}{{end}}"
		modules, err := exec.Command("go", "list", "-deps", "-tags", "nethttpomithttp2", "-f", format, program).Output()
		if err != nil {
			t.Fatal(err)
		}
		n := 0
		for _, module := range strings.Fields(string(modules)) {
			if n++; !strings.Contains(out.String(), "\nFiles: "+module+"/*\n") {
				t.Errorf("%s: %s is not in the file", program, module)
			}
		}
		if n < 10 {
			t.Errorf("%s: only %d packages of other modules", program, n)
		}
		if strings.Contains(out.String(), "TERMS AND CONDITIONS FOR USE") {
			t.Errorf("%s: the whole Apache license is in the file", program)
		}
	}
}

// TestVendored: what a package of ours embeds from others is in the file too.
func TestVendored(t *testing.T) {
	all := map[string]work{}
	if err := vendored(all, "../../notify/hub/web"); err != nil {
		t.Fatal(err)
	}
	var out strings.Builder
	if err := writeWork(&out, all["static/vendor/uplot"]); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"Files: static/vendor/uplot/*\n", "License: Expat\n", "Leon Sorokin"} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("lacks %q: %s", want, out.String())
		}
	}
}
