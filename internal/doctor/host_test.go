package doctor

import (
	"fmt"
	"maps"
	"testing"
	"time"

	"github.com/ctwarden/ctwarden/internal/testhost"
	"github.com/ctwarden/ctwarden/remediate"
)

const (
	ours     = "/etc/sysctl.d/99-zz-ctwarden.conf"
	newName  = "net.netfilter.nf_conntrack_max"
	oldName  = "net.nf_conntrack_max"
	unitFile = "/usr/lib/systemd/system/ctwarden.service"
	gib      = 1 << 20 // in KiB, as /proc/meminfo has it
)

var noon = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

// files is a tree: a content that starts with "-> " makes a link, "dir/" a directory; "gone/" leaves out a file of the
// healthy host.
type files map[string]string

// healthy is a host on which nothing is wrong: in remediate mode, with a persisted limit that is in force, and the module
// loaded in time.
func healthy() files {
	return files{
		"proc/self":             "-> 777",
		"proc/net":              "-> self/net",
		"proc/777/ns/net":       "-> net:[4026531840]",
		"proc/777/mountinfo":    "",
		"proc/777/comm":         "bash\n",
		"proc/1/comm":           "systemd\n",
		"proc/meminfo":          fmt.Sprintf("MemTotal: %d kB\nMemAvailable: %d kB\n", 48*gib, 40*gib),
		"proc/stat":             "cpu  1 2\ncpu0 1\ncpu1 1\ncpu2 1\ncpu3 1\nintr 5\n",
		"proc/cmdline":          "root=/dev/vda1 ro\n",
		"proc/modules":          "nf_nat 53248 1 - Live 0x0\nnf_conntrack 172032 2 nf_nat, Live 0x0\n",
		"proc/2000/comm":        "ctwarden\n",
		"proc/2000/cmdline":     "/usr/bin/ctwarden\x00run\x00",
		"proc/2000/status":      "Name:\tctwarden\nCapEff:\t0000000400001000\n",
		"run/systemd/system":    "dir/",
		"etc/machine-id":        "5ee3f0cd2f7a\n",
		ours[1:]:                persisted(524288, "5ee3f0cd2f7a"),
		"etc/sysctl.d/README":   "",
		unitFile[1:]:            "[Service]\nUser=ctwarden\nAmbientCapabilities=CAP_SYSLOG\n",
		"etc/os-release":        "",
		"lib":                   "-> usr/lib",
		"usr/lib/libproc2.so.0": "",

		"proc/sys/kernel/osrelease":                                   "6.12.0-1-amd64\n",
		"proc/sys/net/netfilter/nf_conntrack_max":                     "524288\n",
		"proc/sys/net/nf_conntrack_max":                               "524288\n",
		"proc/sys/net/netfilter/nf_conntrack_buckets":                 "131072\n",
		"proc/sys/net/netfilter/nf_conntrack_count":                   "1000\n",
		"etc/modules-load.d/ctwarden.conf":                            "# at boot\nnf_conntrack\n",
		"etc/systemd/system/multi-user.target.wants/ctwarden.service": "-> " + unitFile,
		"etc/systemd/system/ctwarden.service.d/remediate.conf":        "[Unit]\nWants=ctwarden-persist.socket\n[Service]\nAmbientCapabilities=CAP_NET_ADMIN\n",
		"usr/lib/modules/6.12.0-1-amd64/modules.builtin":              "kernel/fs/ext4/ext4.ko\n",
		"usr/lib/modules/6.12.0-1-amd64/modules.dep": "kernel/net/netfilter/nf_conntrack.ko.xz: kernel/lib/libcrc32c.ko.xz\n" +
			"kernel/net/netfilter/nf_nat.ko.xz: kernel/net/netfilter/nf_conntrack.ko.xz kernel/lib/libcrc32c.ko.xz\n" +
			"kernel/net/dummy.ko.xz:\n",
	}
}

// persisted is our file as the agent writes it.
func persisted(limit int, machine string) string {
	return fmt.Sprintf("# ctwarden-persisted: 1\n# host: hv1\n# machine id: %s\n%s = %d\n%s = %[3]d\nnet.netfilter.nf_conntrack_buckets = 131072\n",
		machine, newName, limit, oldName)
}

// limit is the kernel's limit under both names.
func limit(n int) files {
	text := fmt.Sprintf("%d\n", n)
	return files{"proc/sys/net/netfilter/nf_conntrack_max": text, "proc/sys/net/nf_conntrack_max": text}
}

// and puts trees together; what comes later replaces what was before.
func and(all ...files) files {
	out := files{}
	for _, f := range all {
		maps.Copy(out, f)
	}
	return out
}

// plant makes the files of a tree, but for those that are "gone/".
func plant(t testing.TB, root string, all files) {
	t.Helper()
	there := maps.Clone(all)
	maps.DeleteFunc(there, func(_, content string) bool { return content == "gone/" })
	testhost.Plant(t, root, there)
}

// config is the agent's on a healthy host.
func config(root string) Config {
	p := remediate.DefaultPolicy()
	p.Mode = remediate.ModeRemediate
	return Config{Root: root, User: 0, Now: noon, File: "/etc/ctwarden/ctwarden.yaml", Policy: p, PersistFile: ours}
}

// examine judges a healthy host with some files changed and some of the configuration.
func examine(t testing.TB, changed files, change func(*Config)) Report {
	t.Helper()
	root := t.TempDir()
	plant(t, root, and(healthy(), changed))
	c := config(root)
	if change != nil {
		change(&c)
	}
	facts, err := Read(c)
	if err != nil {
		t.Fatal(err)
	}
	return Judge(facts)
}
