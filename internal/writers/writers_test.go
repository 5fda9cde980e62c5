package writers

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

type files map[string]string

func tree(t testing.TB, all files) *os.Root {
	t.Helper()
	dir := t.TempDir()
	for name, content := range all {
		p := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(p), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(p, []byte(content), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	root, err := os.OpenRoot(dir)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { root.Close() })
	return root
}

// process is a kube-proxy with arguments and a root of its own.
func process(comm, args string, more files) files {
	out := files{"proc/stat": "cpu 1\n", "proc/9/comm": "sh\n", "proc/31/comm": comm + "\n", "proc/31/cmdline": strings.ReplaceAll(args, " ", "\x00") + "\x00"}
	for name, text := range more {
		out[name] = text
	}
	return out
}

func TestFindKubeProxy(t *testing.T) {
	const cores = 8 // 262144 by default
	inside := func(text string) files { return files{"proc/31/root/var/lib/kp.conf": text} }
	for _, tt := range []struct {
		name  string
		files files
		found bool
		limit uint64
		file  string
	}{
		{"none", files{"proc/9/comm": "sh\n"}, false, 0, ""},
		{"defaults", process("kube-proxy", "kube-proxy -v=2", nil), true, 262144, ""},
		{"no command line to be read", files{"proc/31/comm": "kube-proxy\n"}, true, 262144, ""},
		{"a flag", process("kube-proxy", "kube-proxy --conntrack-max-per-core=1000", nil), true, 131072, ""},
		{"two flags", process("kube-proxy", "kube-proxy --conntrack-max-per-core=20000 --conntrack-min=1", nil), true, 160000, ""},
		{"a flag and its value apart", process("kube-proxy", "kube-proxy --conntrack-max-per-core 40000 --v 2", nil), true, 320000, ""},
		{"left alone", process("kube-proxy", "kube-proxy --conntrack-max-per-core=0 --conntrack-min=500000", nil), true, 0, ""},
		{"a wrong number", process("kube-proxy", "kube-proxy --conntrack-max-per-core=x", nil), true, 262144, ""},
		{"a file", process("kube-proxy", "kube-proxy --config=/var/lib/kp.conf", inside("kind: KubeProxyConfiguration\nconntrack:\n  maxPerCore: 50000 # each\n  min: 1\n  tcpCloseWaitTimeout: 1h\nmin: 7\n")), true, 400000, "/var/lib/kp.conf"},
		{"a file with nulls", process("kube-proxy", "kube-proxy --config=/var/lib/kp.conf", inside("conntrack:\n  maxPerCore: null\n  min: null\n")), true, 262144, "/var/lib/kp.conf"},
		{"a file in braces", process("kube-proxy", "kube-proxy --config /var/lib/kp.conf", inside("conntrack: {maxPerCore: 0, min: 0}\n")), true, 0, "/var/lib/kp.conf"},
		{"a file in JSON", process("kube-proxy", "kube-proxy --config=/var/lib/kp.conf", inside("{\"kind\": \"X\",\n \"conntrack\": {\"maxPerCore\": 1000, \"min\": 2000}}\n")), true, 8000, "/var/lib/kp.conf"},
		{"a file, beside which flags do not count", process("kube-proxy", "kube-proxy --conntrack-max-per-core=0 --config=/var/lib/kp.conf", inside("mode: nftables\n")), true, 262144, "/var/lib/kp.conf"},
		{"a file of the host is not the process'", process("kube-proxy", "kube-proxy --config=/var/lib/kp.conf", files{"var/lib/kp.conf": "conntrack: {maxPerCore: 0}\n"}), true, 262144, ""},
		{"k3s", process("k3s-server", "/usr/local/bin/k3s server", nil), true, 262144, ""},
		{"k3s with an argument", process("k3s-agent", "k3s agent --kube-proxy-arg=conntrack-max-per-core=0", nil), true, 0, ""},
		{"k3s without kube-proxy", process("k3s-server", "k3s server --disable-kube-proxy", nil), false, 0, ""},
		{"a manifest, before anything runs", files{"etc/kubernetes/manifests/kube-proxy.yaml": "spec:\n  containers:\n  - command: [kube-proxy, \"--conntrack-max-per-core=30000\"]\n"}, true, 240000, "/etc/kubernetes/manifests/kube-proxy.yaml"},
		{"a configuration, before anything runs", files{"var/lib/kube-proxy/config.conf": "conntrack:\n  maxPerCore: 0\n"}, true, 0, "/var/lib/kube-proxy/config.conf"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			k, found := FindKubeProxy(tree(t, tt.files))
			if found != tt.found || found && (k.Limit(cores) != tt.limit || k.File != tt.file) {
				t.Errorf("found %v %+v, which sets %d; want %v, %d from %q", found, k, k.Limit(cores), tt.found, tt.limit, tt.file)
			}
		})
	}
}

func TestTuned(t *testing.T) {
	const a, b = "net.netfilter.nf_conntrack_max", "net.nf_conntrack_max"
	for _, tt := range []struct {
		name  string
		files files
		want  string
	}{
		{"none", nil, "none"},
		{"an empty file", files{"etc/tuned/active_profile": "\n"}, "none"},
		{"a profile without the key", files{"etc/tuned/active_profile": "db\n", "usr/lib/tuned/db/tuned.conf": "[sysctl]\nvm.swappiness=1\n"}, "db true false"},
		{"a profile", files{"etc/tuned/active_profile": "db\n", "usr/lib/tuned/profiles/db/tuned.conf": "[sysctl]\n" + a + " = \"5\"\nnet/nf_conntrack_max=6\n"},
			"db true false /usr/lib/tuned/profiles/db/tuned.conf:2=5 /usr/lib/tuned/profiles/db/tuned.conf:3=6"},
		{"what includes comes after what is included", files{"etc/tuned/active_profile": "db extra\n",
			"etc/tuned/db/tuned.conf": "[sysctl]\n" + b + "=7\n[main]\ninclude=base,db\n", "usr/lib/tuned/base/tuned.conf": b + "=8\n", "usr/lib/tuned/extra/tuned.conf": b + "=9\n"},
			"db extra true false /usr/lib/tuned/base/tuned.conf:1=8 /etc/tuned/db/tuned.conf:2=7 /usr/lib/tuned/extra/tuned.conf:1=9"},
		{"started, and told not to apply others again", files{"etc/tuned/active_profile": "db\n", "etc/tuned/tuned-main.conf": "# x\nreapply_sysctl = False\n",
			"etc/systemd/system/multi-user.target.wants/tuned.service": ""}, "db false true"},
		{"a profile that is a path", files{"etc/tuned/active_profile": "../../x\n", "x/tuned.conf": a + "=1\n"}, "../../x true false"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got := "none"
			if p, ok := Tuned(tree(t, tt.files), a, b); ok {
				got = fmt.Sprint(p.Name, " ", p.Reapplies, " ", p.Running)
				for _, s := range p.Lines {
					got += fmt.Sprintf(" %s:%d=%s", s.File, s.Line, s.Value)
				}
			}
			if got != tt.want {
				t.Errorf("got %q, want %q", got, tt.want)
			}
		})
	}
}

func TestScripts(t *testing.T) {
	root := tree(t, files{
		"etc/rc.local":                       "#!/bin/sh\n# nf_conntrack_max\nsysctl -w net.nf_conntrack_max=1\n",
		"etc/cron.d/ct":                      "* * * * * root echo 2 > /proc/sys/net/netfilter/nf_conntrack_max\n",
		"etc/systemd/system/x.service":       "[Service]\nExecStartPre=sysctl -w net.netfilter.nf_conntrack_max=3\n",
		"etc/systemd/system/x.service.d/a.c": "ExecStartPre=sysctl net.netfilter.nf_conntrack_max=4\n",
		"etc/cloud/cloud.cfg":                "nothing\n",
		"opt/rc.d/rc.local":                  "sysctl -w net.nf_conntrack_max=6\n",
		"opt/y.sh":                           "\nsysctl -w net.nf_conntrack_max=7\n",
		"opt/x.sh":                           "sysctl -w net.nf_conntrack_max=5\n",
	})
	for link, target := range map[string]string{"etc/rc.d": "/opt/rc.d", "etc/cron.d/again": "/etc/rc.local", "etc/cron.d/other": "/opt/y.sh"} {
		if err := root.Symlink(target, link); err != nil {
			t.Fatal(err)
		}
	}
	if err := syscall.Mkfifo(filepath.Join(root.Name(), "etc/cron.d/pipe"), 0o600); err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, m := range Scripts(root) {
		got = append(got, fmt.Sprintf("%s:%d", m.File, m.Line))
	}
	if want := "/etc/rc.local:3 /etc/rc.d/rc.local:1 /etc/cron.d/ct:1 /etc/cron.d/other:2 /etc/systemd/system/x.service:2"; strings.Join(got, " ") != want {
		t.Errorf("got %q, want %q", got, want)
	}
}

func FuzzKubeProxy(f *testing.F) {
	for _, seed := range []string{
		"", "conntrack:\n  maxPerCore: 1\n  min: 2\n", "conntrack: {maxPerCore: 0, min: 0}", "\"conntrack\":{\"min\":\"3\"}", "conntrack", "conntrack:\n\tmin: -1\n",
		"--conntrack-min=5", "kube-proxy-arg=conntrack-min", " #\n#\n:", "conntrack:\n\n\n maxPerCore: 99999999999999999999",
	} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		k := KubeProxy{PerCore: kubeProxyPerCore, Least: kubeProxyLeast}
		k.configure(text)
		k.arguments(words(text))
		k.arguments(commandLine(text))
		const most = 1<<31 - 1
		if k.PerCore > most || k.Least > most {
			t.Fatalf("%+v is more than a number of kube-proxy's", k)
		}
		if n := k.Limit(1 << 40); k.PerCore == 0 && n != 0 || k.PerCore > 0 && n < k.Least {
			t.Fatalf("%+v sets %d", k, n)
		}
	})
}
