package main

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestCheckConfigLooksAtFiles(t *testing.T) {
	dir := t.TempDir()
	file := func(name, text string) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	good, empty := file("good", "whsec_abc"), file("empty", "")
	for _, c := range []struct {
		name, secret string
		code         int
		want         []string
	}{
		{"there", good, exitDone, []string{"ok"}},
		{"missing", filepath.Join(dir, "none"), exitUsage, []string{"oncall[0].webhook.secret", "is not there", "install -m 0640", "hub.yaml:2"}},
		{"empty", empty, exitUsage, []string{"oncall[0].webhook.secret", "is empty"}},
		{"a credential of the service", "hook.secret", exitDone, []string{"warning: oncall[0].webhook.secret", "LoadCredential=hook.secret", "ok"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			conf := writeConfig(t, fmt.Sprintf("listen: \"\"\noncall: [{name: ops, webhook: {url: \"https://x.example\", secret: %q}}]\n", c.secret))
			var out, errs bytes.Buffer
			if code := run(t.Context(), []string{"check-config", conf}, &out, &errs); code != c.code {
				t.Errorf("exit code %d, want %d", code, c.code)
			}
			for _, want := range c.want {
				if !strings.Contains(out.String()+errs.String(), want) {
					t.Errorf("lacks %q: %s%s", want, &out, &errs)
				}
			}
		})
	}
}
