package doctor

import (
	"slices"
	"strings"
	"testing"

	"github.com/ctwarden/ctwarden/remediate"
	"github.com/ctwarden/ctwarden/remediate/sysctld"
)

// facts are those of a healthy host with some files changed.
func facts(t *testing.T, changed files) Facts {
	t.Helper()
	root := t.TempDir()
	plant(t, root, and(healthy(), changed))
	f, err := Read(config(root))
	if err != nil {
		t.Fatal(err)
	}
	return f
}

func TestReadOnlyForRoot(t *testing.T) {
	f := facts(t, nil)
	f.Limits.Writable = false
	check(t, Judge(f), "survives", []want{{IDReadOnly, Problem, "", "even by root", "run ctwarden on the host"}})
	f.User = 1000 // who may not write it anyhow
	check(t, Judge(f), "survives", nil)
}

// The kernel's own rule, as read in its source; see KernelDefault in the table of kernels.
func TestDefaults(t *testing.T) {
	const mib = 1 << 20
	for _, tt := range []struct {
		name           string
		memory         uint64
		chains         remediate.Chains
		hash           uint64
		limit, buckets uint64
	}{
		{"new, large", 48 << 30, remediate.ChainsLong, 0, 262144, 262144},
		{"new, 2 GiB", 2 << 30, remediate.ChainsLong, 0, 65536, 65536},
		{"new, below 1 GiB", 960 * mib, remediate.ChainsLong, 0, 7680, 7680},
		{"new, tiny", 16 * mib, remediate.ChainsLong, 0, 1024, 1024},
		{"old, large", 48 << 30, remediate.ChainsFree, 0, 262144, 65536},
		{"old, 2 GiB", 2 << 30, remediate.ChainsFree, 0, 65536, 16384},
		{"old, below 1 GiB", 512 * mib, remediate.ChainsFree, 0, 16384, 4096},
		{"hashsize, rounded up", 48 << 30, remediate.ChainsLong, 100000, 8 * 100352, 100352},
		{"hashsize on an old kernel", 0, remediate.ChainsFree, 16384, 131072, 16384},
		{"not known", 0, remediate.ChainsLong, 0, 0, 0},
	} {
		t.Run(tt.name, func(t *testing.T) {
			f := Facts{Memory: remediate.Memory{Total: tt.memory}, Chains: tt.chains, Module: Module{Hash: tt.hash, HashBy: "x"}}
			if limit, buckets, by := f.defaults(); limit != tt.limit || buckets != tt.buckets || by == "" {
				t.Errorf("%d in %d by %q, want %d in %d", limit, buckets, by, tt.limit, tt.buckets)
			}
		})
	}
}

// A host that systemd does not set up has its files applied by sysctl --system, and its modules from /etc/modules.
func TestWithoutSystemd(t *testing.T) {
	other := files{
		"run/systemd/system": "gone/", "proc/1/comm": "init\n", "etc/modules-load.d/ctwarden.conf": "gone/", "etc/modules": "nf_conntrack\n",
		"etc/systemd/system/multi-user.target.wants/ctwarden.service": "gone/", unitFile[1:]: "gone/",
		"etc/sysctl.conf": newName + " = 65536\n" + oldName + " = 65536\n",
	}
	r := Judge(facts(t, other))
	check(t, r, "will be 65536 after the next reboot: /etc/sysctl.conf:2 is last under sysctl --system, and systemd does not set up this host", []want{
		{IDOverridden, Problem, "/etc/sysctl.conf:2", "comes after", "in /etc/sysctl.conf, line 2, write"}})
	if r.AtBoot.Systemd.Max != 524288 || r.AtBoot.Procps.Max != 65536 || r.Module.By != "/etc/modules:1" {
		t.Errorf("%+v, %+v", r.AtBoot, r.Module)
	}
}

// What asks for nothing is a note, and what could not be read is said.
func TestNotesAndUnknown(t *testing.T) {
	for _, tt := range []struct {
		name          string
		files         files
		change        func(*Facts)
		note, unknown string
	}{
		{"late, and the agent makes good for it", lateModule, nil, "ctwarden sets the persisted limit at its start", ""},
		{"hashsize", files{"etc/modprobe.d/a.conf": "options nf-conntrack hashsize=65536\n"}, nil, "hashsize in /etc/modprobe.d/a.conf:1: 65536 buckets", ""},
		{"kube-proxy that raises", files{"proc/31/comm": "kube-proxy\n", "proc/31/cmdline": "kube-proxy\x00--conntrack-min=900000\x00"}, nil, "kube-proxy (process 31) sets the limit to 900000", ""},
		{"kube-proxy's file", files{"proc/31/comm": "kube-proxy\n", "proc/31/cmdline": "kube-proxy\x00--config=/kp\x00--conntrack-min=1\x00"}, nil, "", "kube-proxy's /kp"},
		{"kube-proxy, and no processors", files{"proc/31/comm": "kube-proxy\n", "proc/stat": ""}, nil, "", "the limit that kube-proxy sets"},
		{"the configuration", nil, func(f *Facts) { f.Unread = "may not be read" }, "", "/etc/ctwarden/ctwarden.yaml"},
		{"the hold", nil, func(f *Facts) { f.HoldUnread = "permission denied" }, "", "whether automatic writes are held"},
		{"the memory", files{"proc/meminfo": ""}, nil, "", "the host's memory"},
		{"the table", files{"proc/777/ns/net": "gone/"}, nil, "", "the limit in force"},
		{"what loads the module", nil, func(f *Facts) { f.Module.Unsure = "permission denied" }, "", "what loads nf_conntrack at boot"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			f := facts(t, tt.files)
			if tt.change != nil {
				tt.change(&f)
			}
			r := Judge(f)
			if tt.note != "" && !slices.ContainsFunc(r.Notes, func(n string) bool { return strings.Contains(n, tt.note) }) {
				t.Errorf("notes %q, want %q", r.Notes, tt.note)
			}
			if tt.unknown != "" && !slices.ContainsFunc(r.Unknown, func(u Unknown) bool { return u.What == tt.unknown && u.Why != "" }) {
				t.Errorf("unknown %q, want %q", r.Unknown, tt.unknown)
			}
		})
	}
}

// A limit that nobody could look at is not called safe.
func TestNeverTakenForGood(t *testing.T) {
	f := facts(t, nil)
	f.Module.Unsure = "permission denied"
	if r := Judge(f); r.Survives != nil || r.Module.Early != nil || !strings.HasPrefix(r.Verdict, "cannot tell for certain") {
		t.Errorf("%v, %v, %q", r.Survives, r.Module.Early, r.Verdict)
	}
	f = facts(t, and(noFile, limit(65536), files{"proc/meminfo": ""}))
	if r := Judge(f); r.Survives != nil || !strings.HasPrefix(r.Verdict, "cannot tell what the limit will be") {
		t.Errorf("%v, %q", r.Survives, r.Verdict)
	}
}

// The worst is told first.
func TestOrderOfFindings(t *testing.T) {
	r := Judge(facts(t, files{
		"proc/sys/net/netfilter/nf_conntrack_count": "500000\n", "etc/sysctl.conf": newName + "=65536\n" + oldName + "=65536\n",
	}))
	if len(r.Findings) != 2 || r.Findings[0].Severity != Problem || r.Findings[1].Severity != Advice {
		t.Errorf("%s", all(r))
	}
}

func TestOldProcpsReadsRunFirst(t *testing.T) {
	tree := files{
		"etc/sysctl.d/50.conf": newName + "=1000\n", "run/sysctl.d/50.conf": newName + "=2000\n", ours[1:]: "gone/",
	}
	for library, want := range map[string]uint64{"libproc2.so.0.0.1": 1000, "libprocps.so.8.0.3": 1000, "libprocps.so.8.0.2": 2000, "libprocps.so.7.1.0": 2000} {
		f := facts(t, and(tree, files{"usr/lib/libproc2.so.0": "gone/", "usr/lib/x86_64-linux-gnu/" + library: ""}))
		if got := f.outcome(f.Procps).Max; got != want {
			t.Errorf("%s: %d, want %d", library, got, want)
		}
		if got := f.outcome(sysctld.Systemd).Max; got != 1000 {
			t.Errorf("systemd: %d", got)
		}
	}
}
