package doctor

import (
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/ctwarden/ctwarden/remediate"
)

func TestFindingsOfTheModule(t *testing.T) {
	const reason = "nothing loads nf_conntrack before"
	file := and(noFile, files{"etc/sysctl.d/50.conf": newName + "=524288\n" + oldName + "=524288\n"})
	onlyOld := and(noFile, files{"etc/sysctl.d/50.conf": oldName + "=524288\n"})
	rule := files{"etc/udev/rules.d/50-ct.rules": "# x\nACTION==\"add\", SUBSYSTEM==\"module\", KERNEL==\"nf_conntrack\", \\\n  RUN+=\"/usr/lib/systemd/systemd-sysctl --prefix=/net/netfilter\"\n"}
	tests := []struct {
		name    string
		files   files
		change  func(*Config)
		verdict string
		want    []want
	}{
		{"late, and the file is lost", and(file, lateModule), observe, "will be 262144 after the next reboot: the kernel's default for 48.0 GiB of memory, since " + reason, []want{
			{IDModuleLate, Problem, "/etc/sysctl.d/50.conf:2", reason, "echo nf_conntrack > /etc/modules-load.d/nf_conntrack.conf"}}},
		{"late, unless nftables is faster", and(file, lateModule, files{"etc/systemd/system/sysinit.target.wants/nftables.service": "-> /usr/lib/systemd/system/nftables.service"}), observe,
			"may be 262144 after the next reboot: the kernel's default for 48.0 GiB of memory, where nftables.service loads", []want{
				{IDModuleLate, Problem, "/etc/sysctl.d/50.conf:2", "nftables.service may load nf_conntrack before", "echo nf_conntrack > /etc/modules-load.d/nf_conntrack.conf"}}},
		{"late, and the agent applies it", lateModule, nil, "survives a reboot: ctwarden at its start, from " + ours + " sets it", nil},
		{"late, and the agent only observes", lateModule, observe, "will be 262144", []want{{IDModuleLate, Problem, ours + ":5", reason, "echo"}}},
		{"late, and the agent is not enabled", and(lateModule, files{"etc/systemd/system/multi-user.target.wants/ctwarden.service": "gone/"}), nil, "will be 262144", []want{
			{IDModuleLate, Problem, ours + ":5", reason, "echo"}, {IDNotEnabled, Advice, unitFile, "not started at boot", "systemctl enable --now ctwarden"}}},
		{"late, and the agent is held", lateModule, func(c *Config) {
			c.Hold = &remediate.Hold{Since: noon.Add(-time.Hour), By: "ada", File: "/var/lib/ctwarden/hold"}
		}, "will be 262144", []want{
			{IDModuleLate, Problem, ours + ":5", reason, "echo"}, {IDHeld, Advice, "/var/lib/ctwarden/hold", "held by ada", "ctwarden unhold"}}},
		{"late, and the agent awaits the fleet", lateModule, func(c *Config) { c.AwaitFleet, c.Running = true, remediate.ModeObserve }, "will be 262144", []want{
			{IDModuleLate, Problem, ours + ":5", reason, "echo"}, {IDAwaitsFleet, Advice, "/etc/ctwarden/ctwarden.yaml", "", "rollout"}}},
		{"late, and a udev rule applies it", and(file, lateModule, rule), observe, "survives", nil},
		{"late, and the udev rule covers another name", and(onlyOld, lateModule, rule), observe, "will be 262144", []want{
			{IDModuleLate, Problem, "/etc/sysctl.d/50.conf:1", "/etc/udev/rules.d/50-ct.rules:2 does not cover", "echo"}}},
		{"late on a kernel with a higher default", and(lateModule, noFile, limit(65536), files{"etc/sysctl.d/50.conf": newName + "=65536\n"}), observe, "will be 262144", []want{
			{IDBootHigher, Advice, "the kernel's default for 48.0 GiB of memory", "", "sysctl -w"}}},
		{"built in", and(file, lateModule, files{"proc/modules": "dummy 1 0 - Live 0\n"}), observe, "survives", nil},
		{"loaded by a module that needs it", and(file, lateModule, files{"usr/lib/modules-load.d/nat.conf": "; x\nnf-nat\n"}), observe, "survives", nil},
		{"another module is loaded", and(file, lateModule, files{"usr/lib/modules-load.d/d.conf": "dummy\n"}), observe, "will be 262144", []want{{IDModuleLate, Problem, "/etc/sysctl.d/50.conf:2", reason, "echo"}}},
		{"the entry is masked", and(file, files{"usr/lib/modules-load.d/ctwarden.conf": "nf_conntrack\n", "etc/modules-load.d/ctwarden.conf": "-> /dev/null"}), observe, "will be 262144", []want{{IDModuleLate, Problem, "/etc/sysctl.d/50.conf:2", reason, "echo"}}},
		{"by a link, as Debian has /etc/modules", and(file, files{"etc/modules-load.d/ctwarden.conf": "-> ../modules", "etc/modules": "nf_conntrack\n"}), observe, "survives", nil},
		{"by the kernel's command line", and(file, lateModule, files{"proc/cmdline": "ro modules_load=dummy,nf_conntrack\n"}), observe, "survives", nil},
		{"in the initial RAM disk", and(file, lateModule, files{"etc/initramfs-tools/modules": "nf_conntrack\n"}), observe, "survives", nil},
		{"in dracut's", and(file, lateModule, files{"etc/dracut.conf.d/ct.conf": "add_drivers+=\" dummy \"\nforce_drivers+=\" nf_conntrack \"\n"}), observe, "survives", nil},
		{"only added to dracut's", and(file, lateModule, files{"etc/dracut.conf.d/ct.conf": "add_drivers+=\" nf_conntrack \"\n"}), observe, "will be 262144", []want{{IDModuleLate, Problem, "/etc/sysctl.d/50.conf:2", reason, "echo"}}},
		{"built in, with the limit on the kernel's command line", and(noFile, limit(300000), files{"proc/modules": "dummy 1 0 - Live 0\n", "proc/cmdline": "sysctl.net.netfilter.nf_conntrack_max=300000\n"}), observe,
			"the limit of 300000 survives a reboot: the kernel's command line (sysctl.net.netfilter.nf_conntrack_max=300000), and nothing sets another", nil},
		{"a module, with the limit on the kernel's command line", and(noFile, limit(300000), files{"proc/cmdline": "sysctl.net.netfilter.nf_conntrack_max=300000\n"}), observe,
			"will be 262144", []want{{IDNotPersistent, Problem, "", "no file sets it", "99-zzz-conntrack"}}},
		{"block-listed", and(file, files{"etc/modprobe.d/b.conf": "blacklist nf_conntrack\n"}), observe, "will be 262144", []want{
			{IDModuleLate, Problem, "/etc/sysctl.d/50.conf:2", "/etc/modprobe.d/b.conf:1 keeps it", "remove /etc/modprobe.d/b.conf:1\necho"}}},
		{"an install line", and(file, files{"etc/modprobe.d/b.conf": "install nf_conntrack /bin/true\n"}), observe, "will be 262144", []want{
			{IDModuleLate, Problem, "/etc/sysctl.d/50.conf:2", "b.conf:1 keeps it", "remove"}}},
		{"block-listed on the kernel's command line", and(file, files{"proc/cmdline": "modprobe.blacklist=nf-conntrack\n"}), observe, "will be 262144", []want{
			{IDModuleLate, Problem, "/etc/sysctl.d/50.conf:2", "command line", "remove"}}},
		{"not there yet", and(file, lateModule, files{"proc/modules": "dummy 1 0 - Live 0\n", "proc/sys/net/netfilter/nf_conntrack_max": "gone/"}), observe,
			"there is no table yet; once nf_conntrack is loaded, the limit will be 262144", []want{{IDModuleLate, Problem, "/etc/sysctl.d/50.conf:2", reason, "echo"}}},
		{"not there yet, and nothing asks for a limit", and(noFile, lateModule, files{"proc/modules": "dummy 1 0 - Live 0\n", "proc/sys/net/netfilter/nf_conntrack_max": "gone/"}), observe,
			"there is no table yet; once nf_conntrack is loaded, the limit will be 262144: the kernel's default", nil},
		{"hashsize makes the default", and(noFile, limit(800000), files{"etc/modprobe.d/ct.conf": "# x\noptions nf_conntrack \\\n  hashsize=100000\n"}), observe, "will be 802816 after the next reboot: 8 times the hashsize in /etc/modprobe.d/ct.conf:2", []want{
			{IDBootHigher, Advice, "8 times the hashsize in /etc/modprobe.d/ct.conf:2", "", "sysctl -w"}}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) { check(t, examine(t, tt.files, tt.change), tt.verdict, tt.want) })
	}
}

func TestFindingsOfWriters(t *testing.T) {
	kube := func(args string) files {
		return files{"proc/31/comm": "kube-proxy\n", "proc/31/cmdline": "kube-proxy\x00" + strings.ReplaceAll(args, " ", "\x00") + "\x00"}
	}
	tuned := files{
		"etc/tuned/active_profile": "db\n", "etc/tuned/db/tuned.conf": "[sysctl]\nnet.netfilter.nf_conntrack_max=100000\n",
		"etc/systemd/system/multi-user.target.wants/tuned.service": "-> /usr/lib/systemd/system/tuned.service",
	}
	tests := []struct {
		name    string
		files   files
		change  func(*Config)
		verdict string
		want    []want
	}{
		{"kube-proxy lowers it", kube("--v=2"), nil, "will be 131072 after the next reboot: kube-proxy (process 31) sets it", []want{
			{IDKubeProxy, Problem, "kube-proxy (process 31)", "to 131072 at its start, from 524288 (" + ours + ":5)", "--conntrack-max-per-core=0"}}},
		{"kube-proxy has lowered it", and(kube("--v=2"), limit(131072)), nil, "the limit of 131072 survives a reboot: kube-proxy", []want{
			{IDKubeProxy, Problem, "kube-proxy (process 31)", "", ""}}},
		{"kube-proxy lowers it, and the module is late besides", and(kube("--v=2"), lateModule), observe, "will be 131072 after the next reboot: kube-proxy", []want{
			{IDModuleLate, Problem, ours + ":5", "nothing loads nf_conntrack", "echo"}, {IDKubeProxy, Problem, "kube-proxy (process 31)", "from 262144", ""}}},
		{"kube-proxy leaves it alone", kube("--conntrack-max-per-core=0"), nil, "survives a reboot: " + ours, nil},
		{"kube-proxy raises it", and(kube("--conntrack-max-per-core 262144"), limit(1048576)), func(c *Config) { c.Policy.Ceiling = 1 << 20 }, "the limit of 1048576 survives a reboot: kube-proxy", nil},
		{"kube-proxy's configuration", and(kube("--config=/etc/kp.yaml"), files{"proc/31/root": "dir/", "proc/31/root/etc/kp.yaml": "conntrack:\n  maxPerCore: 1000\n  min: 5000\n"}), nil, "will be 5000", []want{
			{IDKubeProxy, Problem, "/etc/kp.yaml", "to 5000", "conntrack: {maxPerCore: 0, min: 0}"}}},
		{"k3s", files{"proc/31/comm": "k3s-server\n", "proc/31/cmdline": "/usr/local/bin/k3s\x00server\x00"}, nil, "will be 131072", []want{
			{IDKubeProxy, Problem, "k3s-server (process 31)", "", "--kube-proxy-arg=conntrack-max-per-core=0"}}},
		{"tuned lowers it, with the file in /usr", and(tuned, noFile, files{"usr/lib/sysctl.d/50.conf": newName + "=524288\n"}), nil, "will be 100000 after the next reboot: tuned sets it (/etc/tuned/db/tuned.conf:2)", []want{
			{IDTuned, Problem, "/etc/tuned/db/tuned.conf:2", "to 100000 at its start, from 524288", "in /etc/tuned/db/tuned.conf:2 write net.netfilter.nf_conntrack_max=524288"}}},
		{"tuned applies /etc/sysctl.d after its own", tuned, nil, "survives a reboot: " + ours + ":5", nil},
		{"tuned that was told not to", and(tuned, files{"etc/tuned/tuned-main.conf": "reapply_sysctl = 0\n"}), nil, "survives a reboot: ctwarden at its start", []want{
			{IDTuned, Problem, "/etc/tuned/db/tuned.conf:2", "to 100000", "524288"}}},
		{"tuned that does not start", and(tuned, files{"etc/tuned/tuned-main.conf": "reapply_sysctl = 0\n", "etc/systemd/system/multi-user.target.wants/tuned.service": "gone/"}), nil, "survives a reboot: " + ours, nil},
		{"a script", files{"etc/rc.local": "#!/bin/sh\n# nf_conntrack_max\nsysctl -w net.nf_conntrack_max=65536\n"}, nil, "survives", []want{
			{IDScript, Advice, "/etc/rc.local:3", "net.nf_conntrack_max=65536", "remove the line"}}},
		{"a script with the same value", files{"etc/rc.local": "sysctl -w net.nf_conntrack_max=524288\n"}, nil, "survives", nil},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) { check(t, examine(t, tt.files, tt.change), tt.verdict, tt.want) })
	}
}

// sandboxed is a unit that writes to its own directories alone, but for the sandbox of the kernel's settings.
const sandboxed = "[Service]\nUser=ctwarden\nAmbientCapabilities=CAP_SYSLOG\nProtectSystem=strict\nStateDirectory=ctwarden\nRuntimeDirectory=ctwarden\n"

// covered is the same unit with the homes and both /tmp of its own.
const covered = sandboxed + "ProtectHome=yes\nPrivateTmp=yes\n"

func TestFindingsOfTheHost(t *testing.T) {
	buckets := func(n string) files {
		return files{
			"proc/sys/net/netfilter/nf_conntrack_buckets": n + "\n",
			ours[1:]: strings.Replace(persisted(524288, "5ee3f0cd2f7a"), "nf_conntrack_buckets = 131072", "nf_conntrack_buckets = "+n, 1),
		}
	}
	keep := func(c *Config) { c.Policy.Buckets = remediate.BucketsKeep }
	old := files{"proc/sys/kernel/osrelease": "5.10.0-1-amd64\n"}
	tests := []struct {
		name    string
		files   files
		change  func(*Config)
		verdict string
		want    []want
	}{
		{"too few buckets", buckets("16384"), keep, "survives", []want{
			{IDChain, Problem, ours + ":6", "16384 buckets for a limit of 524288, now and after the next boot: 32 entries", "sysctl -w net.netfilter.nf_conntrack_buckets=131072"}}},
		{"too few buckets now", files{"proc/sys/net/netfilter/nf_conntrack_buckets": "16384\n"}, nil, "survives", []want{
			{IDChain, Problem, "", ", now: 32", "nf_conntrack_buckets=131072"}}},
		{"too few buckets after a boot", and(files{"proc/sys/net/netfilter/nf_conntrack_buckets": "131072\n"}, files{ours[1:]: buckets("16384")[ours[1:]]}), keep, "survives", []want{
			{IDChain, Problem, ours + ":6", "after the next boot", "in " + ours + ":6 write"}}},
		{"too few buckets on an old kernel", and(buckets("16384"), old), keep, "survives", []want{{IDChain, Advice, ours + ":6", "", ""}}},
		{"far too many buckets", buckets("8388608"), nil, "survives", []want{{IDWaste, Advice, ours + ":6", "8388608 buckets for a limit of 524288", "sysctl -w"}}},
		{"a few too many", buckets("1048576"), nil, "survives", nil},
		{"too little memory for the ceiling", files{"proc/meminfo": "MemTotal: 4194304 kB\nMemAvailable: 4000000 kB\n"}, nil, "survives", []want{
			{IDMemory, Advice, "/etc/ctwarden/ctwarden.yaml", "memory_share, 0.05 of 4.0 GiB", "remediate.ceiling: 37"}}},
		{"too little memory, observing", and(files{"proc/meminfo": "MemTotal: 4194304 kB\nMemAvailable: 4000000 kB\n"}), observe, "survives", nil},
		{"a ceiling below the limit", nil, func(c *Config) { c.Policy.Ceiling = 262144 }, "survives", []want{
			{IDCeiling, Advice, "/etc/ctwarden/ctwarden.yaml", "262144, below the limit in force, 524288", "remediate.ceiling: 1048576"}}},
		{"a full table", files{"proc/sys/net/netfilter/nf_conntrack_count": "500000\n"}, nil, "survives", []want{
			{IDTableHigh, Advice, "", "holds 500000 of 524288 entries, 95%", "remediate.ceiling: 1048576"}}},
		{"a full table below the ceiling", files{"proc/sys/net/netfilter/nf_conntrack_count": "500000\n"}, func(c *Config) { c.Policy.Ceiling = 2 << 20 }, "survives", []want{
			{IDTableHigh, Advice, "", "", "ctwarden raise --to 1048576"}}},
		{"a container", files{"proc/sys/net/nf_conntrack_max": "gone/"}, nil, "nothing in this container decides", []want{
			{IDInside, Problem, "", "mode: remediate is of no use", "run ctwarden on the host"}}},
		{"a container, observing", files{"proc/sys/net/nf_conntrack_max": "gone/"}, observe, "nothing in this container decides", []want{
			{IDInside, Advice, "", "as in a container", "on the host"}}},

		{"no capability", files{"etc/systemd/system/ctwarden.service.d/remediate.conf": "gone/"}, nil, "survives", []want{
			{IDNoCapability, Problem, unitFile, "not given CAP_NET_ADMIN", "ln -sf /usr/share/ctwarden/ctwarden.service.d/remediate.conf"}}},
		{"the kernel's settings are read-only to it", files{unitFile[1:]: "[Service]\nUser=ctwarden\nProtectKernelTunables=yes\n"}, nil, "survives", []want{
			{IDNoCapability, Problem, unitFile, "not given ReadWritePaths=/proc/sys/net", "remediate.conf"}}},
		{"nobody writes the file for it", files{"etc/systemd/system/ctwarden.service.d/remediate.conf": "[Service]\nAmbientCapabilities=CAP_NET_ADMIN\n"}, nil, "survives", []want{
			{IDNoHelper, Problem, unitFile, "without ctwarden-persist.socket", "remediate.conf"}}},
		{"its socket is enabled", files{"etc/systemd/system/ctwarden.service.d/remediate.conf": "[Service]\nAmbientCapabilities=CAP_NET_ADMIN\n",
			"etc/systemd/system/sockets.target.wants/ctwarden-persist.socket": "-> /usr/lib/systemd/system/ctwarden-persist.socket"}, nil, "survives", nil},
		{"its state is elsewhere", files{unitFile[1:]: sandboxed}, func(c *Config) { c.StateDir, c.RuntimeDir = "/srv/ctw/state", "/run/ctwarden" }, "survives", []want{
			{IDReadOnlyDir, Problem, "/etc/ctwarden/ctwarden.yaml", "state_dir: /srv/ctw/state is read-only to the service", "ReadWritePaths=/srv/ctw/state"}}},
		{"its runtime directory is elsewhere", files{unitFile[1:]: sandboxed}, func(c *Config) { c.StateDir, c.RuntimeDir = "/var/lib/ctwarden", "/run/ctw" }, "survives", []want{
			{IDReadOnlyDir, Problem, "/etc/ctwarden/ctwarden.yaml", "runtime_dir: /run/ctw is read-only", "ReadWritePaths=/run/ctw"}}},
		{"its state is elsewhere, and that is opened", files{unitFile[1:]: sandboxed, "etc/systemd/system/ctwarden.service.d/own.conf": "[Service]\nReadWritePaths=-/srv/ctw\n"},
			func(c *Config) { c.StateDir, c.RuntimeDir = "/srv/ctw/state", "/run/ctwarden/x" }, "survives", nil},
		{"opened, and shut again", files{unitFile[1:]: sandboxed, "etc/systemd/system/ctwarden.service.d/own.conf": "[Service]\nReadWritePaths=/srv/ctw\nReadWritePaths=\n"},
			func(c *Config) { c.StateDir = "/srv/ctw" }, "survives", []want{{IDReadOnlyDir, Problem, "/etc/ctwarden/ctwarden.yaml", "", ""}}},
		{"its runtime directory by way of a link", files{unitFile[1:]: sandboxed, "var/run": "-> /run", "run/ctwarden": "dir/"},
			func(c *Config) { c.StateDir, c.RuntimeDir = "/var/lib/ctwarden", "/var/run/ctwarden" }, "survives", nil},
		{"opened by way of a link", files{unitFile[1:]: sandboxed + "ReadWritePaths=/var/run/ctw\n", "var/run": "-> ../run"},
			func(c *Config) { c.RuntimeDir = "/run/ctw" }, "survives", nil},
		{"a link out of what is opened", files{unitFile[1:]: sandboxed, "var/lib/ctwarden": "-> /srv/ctw", "srv/ctw": "dir/"},
			func(c *Config) { c.StateDir = "/var/lib/ctwarden" }, "survives", nil}, // which systemd follows too
		{"a link from elsewhere", files{unitFile[1:]: sandboxed, "var/lib/ctwarden/state": "-> /srv/ctw", "srv/ctw": "dir/"},
			func(c *Config) { c.StateDir = "/var/lib/ctwarden/state" }, "survives", []want{{IDReadOnlyDir, Problem, "/etc/ctwarden/ctwarden.yaml", "state_dir: /var/lib/ctwarden/state is read-only", ""}}},
		{"its state in a directory of its own for /tmp", files{unitFile[1:]: covered}, func(c *Config) { c.StateDir = "/tmp/ctw" }, "survives", []want{
			{IDReadOnlyDir, Problem, "/etc/ctwarden/ctwarden.yaml", "PrivateTmp=yes puts another directory over /tmp,", "write state_dir: /var/lib/ctwarden, or another directory outside of /tmp,"}}},
		{"the same, opened", files{unitFile[1:]: covered + "ReadWritePaths=/var/tmp/ctw\n"}, func(c *Config) { c.StateDir = "/var/tmp/ctw" }, "survives", []want{
			{IDReadOnlyDir, Problem, "/etc/ctwarden/ctwarden.yaml", "over /var/tmp,", "write state_dir: "}}},
		{"its state in a home", files{unitFile[1:]: covered, "home": "-> var/home", "var/home": "dir/"}, func(c *Config) { c.StateDir = "/var/home/ctw" }, "survives", []want{
			{IDReadOnlyDir, Problem, "/etc/ctwarden/ctwarden.yaml", "ProtectHome=yes puts another directory over /home,", "write state_dir: "}}},
		{"its state in root's home, opened", files{unitFile[1:]: covered + "ReadWritePaths=/root\n"}, func(c *Config) { c.StateDir = "/root/ctw" }, "survives", []want{
			{IDReadOnlyDir, Problem, "/etc/ctwarden/ctwarden.yaml", "over /root,", "write state_dir: "}}},
		{"its runtime directory in a user's", files{unitFile[1:]: covered + "ReadWritePaths=/run/user/999\n"}, func(c *Config) { c.RuntimeDir = "/run/user/999/ctw" }, "survives", []want{
			{IDReadOnlyDir, Problem, "/etc/ctwarden/ctwarden.yaml", "over /run/user,", "write runtime_dir: /run/ctwarden,"}}},
		{"homes and /tmp as they are, and opened", files{unitFile[1:]: covered + "ProtectHome=read-only\nPrivateTmp=no\nReadWritePaths=/home/ctw /tmp/ctw\n"},
			func(c *Config) { c.StateDir, c.RuntimeDir = "/home/ctw", "/tmp/ctw" }, "survives", nil},
		{"homes hidden from one that may write elsewhere", files{unitFile[1:]: "[Service]\nUser=ctwarden\nProtectHome=tmpfs\n"}, func(c *Config) { c.StateDir = "/home/ctw" }, "survives", []want{
			{IDReadOnlyDir, Problem, "/etc/ctwarden/ctwarden.yaml", "ProtectHome=tmpfs", "write state_dir: "}}},
		{"its state in a path with a blank", files{unitFile[1:]: sandboxed}, func(c *Config) { c.StateDir = "/srv/my dir" }, "survives", []want{
			{IDReadOnlyDir, Problem, "/etc/ctwarden/ctwarden.yaml", "state_dir: /srv/my dir is read-only", `-m 0700 '/srv/my dir' && mkdir -p /etc/systemd/system/ctwarden.service.d && printf '%s\n' '[Service]' 'ReadWritePaths="/srv/my dir"' >`}}},
		{"that is opened", files{unitFile[1:]: sandboxed + "ReadWritePaths=-\"/srv/my dir\" /x\n"}, func(c *Config) { c.StateDir = "/srv/my dir" }, "survives", nil},
		{"its state bound to where it is", files{unitFile[1:]: covered + "ProtectHome=tmpfs\nBindPaths=-/home/ctw /data/ctw:/tmp/ctw:norbind\n"},
			func(c *Config) { c.StateDir, c.RuntimeDir = "/home/ctw/state", "/tmp/ctw" }, "survives", nil},
		{"bound in a home that is shut", files{unitFile[1:]: covered + "BindPaths=/home/ctw\n"}, func(c *Config) { c.StateDir = "/home/ctw" }, "survives", []want{
			{IDReadOnlyDir, Problem, "/etc/ctwarden/ctwarden.yaml", "ProtectHome=yes puts another directory over /home,", "write state_dir: "}}},
		{"bound, and shut again", files{unitFile[1:]: sandboxed + "BindPaths=/srv/ctw\nBindPaths=\n"}, func(c *Config) { c.StateDir = "/srv/ctw" }, "survives", []want{
			{IDReadOnlyDir, Problem, "/etc/ctwarden/ctwarden.yaml", "state_dir: /srv/ctw is read-only", ""}}},
		{"bound from where it is to somewhere else", files{unitFile[1:]: sandboxed + "BindPaths=/srv/ctw:/x\n"}, func(c *Config) { c.StateDir = "/srv/ctw" }, "survives", []want{
			{IDReadOnlyDir, Problem, "/etc/ctwarden/ctwarden.yaml", "state_dir: /srv/ctw is read-only", ""}}},
		{"opened by specifiers", files{unitFile[1:]: sandboxed + "ReadWritePaths=%S/other %t/%p-2\n"},
			func(c *Config) { c.StateDir, c.RuntimeDir = "/var/lib/other", "/run/ctwarden-2" }, "survives", nil},
		{"a percent sign", files{unitFile[1:]: sandboxed + "ReadWritePaths=/srv/50%%S\n"}, func(c *Config) { c.StateDir = "/srv/50%S" }, "survives", nil},
		{"its runtime directory in /dev/shm, which strict leaves as it is", files{unitFile[1:]: sandboxed},
			func(c *Config) { c.RuntimeDir = "/dev/shm/ctw" }, "survives", nil},
		{"its state is elsewhere, and nothing is shut", nil, func(c *Config) { c.StateDir = "/srv/ctw" }, "survives", nil},
		{"an agent of root's", files{unitFile[1:]: "[Service]\n", "etc/systemd/system/ctwarden.service.d/remediate.conf": "gone/"}, nil, "survives", nil},
		{"no capability needed", files{"etc/systemd/system/ctwarden.service.d/remediate.conf": "gone/"}, observe, "survives", nil},
		{"the agent was not restarted", files{"proc/2000/status": "CapEff:\t0000000400000000\n"}, nil, "survives", []want{
			{IDNoCapability, Problem, "process 2000", "no CAP_NET_ADMIN", "systemctl restart ctwarden"}}},
		{"masked service", files{"etc/systemd/system/ctwarden.service": "-> /dev/null", "etc/systemd/system/multi-user.target.wants/ctwarden.service": "gone/"}, observe, "survives", []want{
			{IDNotEnabled, Advice, "/etc/systemd/system/ctwarden.service", "masked", "systemctl unmask ctwarden"}}},
		{"not running", files{"proc/2000/comm": "other\n"}, nil, "survives", []want{
			{IDNotRunning, Problem, unitFile, "does not run", "systemctl start ctwarden"}}},
		{"running, but its process is not to be seen", files{"proc/2000/comm": "other\n", "sys/fs/cgroup/system.slice/ctwarden.service": "dir/"}, nil, "survives", nil},
		{"not installed", files{unitFile[1:]: "gone/", "etc/systemd/system/multi-user.target.wants/ctwarden.service": "gone/"}, observe, "survives", nil},
		{"held for a while", nil, func(c *Config) { c.Hold = &remediate.Hold{Until: noon.Add(time.Hour), By: "ada"} }, "survives", nil},
		{"held without an end", nil, func(c *Config) { c.Hold = &remediate.Hold{Since: noon, By: "ada", File: "/h"} }, "survives", []want{
			{IDHeld, Advice, "/h", "without an end", "ctwarden unhold"}}},
		{"the hub has not let it act", nil, func(c *Config) { c.AwaitFleet, c.Running = true, remediate.ModeObserve }, "survives", []want{
			{IDAwaitsFleet, Advice, "/etc/ctwarden/ctwarden.yaml", "has not told this host to act", "rollout.remediate"}}},
		{"the hub may have let it act", nil, func(c *Config) { c.AwaitFleet = true }, "survives", []want{
			{IDAwaitsFleet, Advice, "/etc/ctwarden/ctwarden.yaml", "does not answer here", "await_fleet: false"}}},
		{"the hub has let it act", nil, func(c *Config) { c.AwaitFleet, c.Running = true, remediate.ModeRemediate }, "survives", nil},
		{"observing by its own file", nil, func(c *Config) { observe(c); c.AwaitFleet = true }, "survives", nil},
		{"a wrong configuration", nil, func(c *Config) { observe(c); c.Mistakes = []string{"c.yaml:3: mode: x - must be"} }, "survives", []want{
			{IDConfig, Problem, "/etc/ctwarden/ctwarden.yaml", "c.yaml:3", "ctwarden check-config /etc/ctwarden/ctwarden.yaml"}}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) { check(t, examine(t, tt.files, tt.change), tt.verdict, tt.want) })
	}
}

// TestFixIsQuoted carries out the writing part of the fix for hard names, and reads it as the unit is read.
func TestFixIsQuoted(t *testing.T) {
	for _, dir := range []string{"/srv/ctw", "/srv/my dir", `/srv/it's`, `/srv/a"b`, `/srv/a\b`, "/srv/100%s", "/srv/$HOME`x`;*", `/srv/\n "%%" '`} {
		t.Run(dir, func(t *testing.T) {
			r := examine(t, files{unitFile[1:]: sandboxed}, func(c *Config) { c.StateDir = dir })
			if len(r.Findings) != 1 || r.Findings[0].ID != IDReadOnlyDir {
				t.Fatalf("%s", all(r))
			}
			_, writing, _ := strings.Cut(r.Findings[0].Fix, "service.d && ")
			writing, _, _ = strings.Cut(writing, " >/etc/systemd")
			out, err := exec.Command("sh", "-c", writing).CombinedOutput()
			if err != nil {
				t.Fatalf("%s: %v: %s", writing, err, out)
			}
			dropIn := "etc/systemd/system/ctwarden.service.d/own.conf"
			check(t, examine(t, files{unitFile[1:]: sandboxed, dropIn: string(out)}, func(c *Config) { c.StateDir = dir }), "survives", nil)
		})
	}
}
