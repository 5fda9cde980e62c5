package doctor

import (
	"strings"
	"testing"

	"github.com/ctwarden/ctwarden/internal/confdir"
)

func FuzzEntries(f *testing.F) {
	for _, seed := range []string{
		"", "# x\nnf_conntrack\n", "options nf_conntrack \\\n hashsize=1\\\n\n", ";\n \\\n#\\\nx", "blacklist a\\", "\\", "ACTION==\"add\", KERNEL==\"nf_conntrack\", RUN+=\"x --prefix=/net\"",
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		n := strings.Count(string(data), "\n") + 1
		all := entries(confdir.File{Path: "/x", Data: data}, "#;")
		if len(all) > n {
			t.Fatalf("%d entries in %d lines", len(all), n)
		}
		for _, e := range all {
			if e.name == "" || strings.ContainsAny(e.name[:1], "#;") || !strings.HasPrefix(e.at, "/x:") {
				t.Fatalf("%+v", e)
			}
		}
		slashed(string(data))
		plain(string(data))
	})
}

func FuzzUnit(f *testing.F) {
	for _, seed := range []string{
		"", "User=x\n", "User=x\nAmbientCapabilities=CAP_NET_ADMIN\n", "CapabilityBoundingSet=\nUser=root", "CapabilityBoundingSet=~CAP_NET_ADMIN\n",
		"AmbientCapabilities=~CAP_NET_ADMIN CAP_SYSLOG", "=\n==\nUser", "CapabilityBoundingSet=~CAP_SYSLOG",
	} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		if parseUnit([]string{text, "[Service]\nCapabilityBoundingSet=\n"}).lacks() == "" {
			t.Fatal("a service without any capability may write")
		}
		if parseUnit([]string{text, "[Service]\nUser=root\nCapabilityBoundingSet=CAP_NET_ADMIN\nReadWritePaths=/proc/sys/net\n"}).lacks() != "" {
			t.Fatal("root with the capability may not write")
		}
	})
}

func TestRightsOfTheUnit(t *testing.T) {
	for text, want := range map[string]bool{
		"":              true,
		"User=ctwarden": false,
		"User=0":        true,
		"User=c\nAmbientCapabilities=CAP_SYSLOG CAP_NET_ADMIN":                          true,
		"User=c\nAmbientCapabilities=CAP_NET_ADMIN\nAmbientCapabilities=":               false,
		"User=c\nAmbientCapabilities=CAP_NET_ADMIN\nCapabilityBoundingSet=":             false,
		"CapabilityBoundingSet=~CAP_NET_ADMIN":                                          false,
		"CapabilityBoundingSet=~CAP_SYSLOG":                                             true,
		"CapabilityBoundingSet=CAP_SYSLOG":                                              false,
		"CapabilityBoundingSet=CAP_SYSLOG\nCapabilityBoundingSet=CAP_NET_ADMIN":         true,
		"User=c\nAmbientCapabilities=CAP_NET_ADMIN\nAmbientCapabilities=~CAP_NET_ADMIN": false,
		"User=c\nAmbientCapabilities=CAP_SYSLOG\nCapabilityBoundingSet=CAP_SYSLOG\nProtectKernelTunables=yes\n" +
			"AmbientCapabilities=CAP_NET_ADMIN\nCapabilityBoundingSet=CAP_NET_ADMIN\nReadWritePaths=-/proc/sys/net\n": true,
		"ProtectKernelTunables=yes":                                                false,
		"ProtectKernelTunables=yes\nReadWritePaths=/var /proc/sys":                 true,
		"ProtectKernelTunables=yes\nReadWritePaths=/proc/sys/net\nReadWritePaths=": false,
		"ProtectKernelTunables=yes\nReadWritePaths=/proc/sys\nStateDirectory=":     true,
		"ProtectKernelTunables=yes\nProtectKernelTunables=no":                      true,
	} {
		if got := parseUnit([]string{text}).lacks() == ""; got != want {
			t.Errorf("%q: %v, want %v", text, got, want)
		}
	}
}
