package doctor

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/ctwarden/ctwarden/remediate"
)

// want is one finding as expected: what, why and fix by a part of each.
type want struct {
	id       ID
	severity Severity
	where    string
	what     string
	fix      string
}

func observe(c *Config) { c.Policy.Mode = remediate.ModeObserve }

// noFile is a host where nothing is persisted, loaded in time.
var noFile = files{ours[1:]: "gone/"}

// lateModule has nothing that loads the module in time.
var lateModule = files{"etc/modules-load.d/ctwarden.conf": "gone/"}

// rhel8 has the programs of RHEL 8, systemd 239 and procps 3.3.15.
var rhel8 = files{"usr/lib/libproc2.so.0": "gone/", "usr/lib64/libprocps.so.7.1.0": "", "usr/lib/systemd/libsystemd-shared-239.so": ""}

func TestFindings(t *testing.T) {
	tests := []struct {
		name    string
		files   files
		change  func(*Config)
		verdict string
		want    []want
	}{
		{"a healthy host", nil, nil, "the limit of 524288 survives a reboot: " + ours + ":5 is last under both loaders", nil},
		{"observe, and nothing set", and(noFile, limit(262144)), observe,
			"the limit of 262144 survives a reboot: the kernel's default for 48.0 GiB of memory, and nothing sets another", nil},

		{"raised by hand", and(noFile, limit(400000)), observe, "the limit of 400000 will be 262144 after the next reboot: the kernel's default", []want{
			{IDNotPersistent, Problem, "", "no file sets it", "'net.nf_conntrack_max = 400000' > /etc/sysctl.d/99-zzz-conntrack.conf"}}},
		{"raised by hand, the module late", and(noFile, lateModule, limit(400000)), observe, "will be 262144", []want{
			{IDNotPersistent, Problem, "", "no file sets it", "\necho nf_conntrack > /etc/modules-load.d/nf_conntrack.conf"}}},
		{"only in sysctl.conf, which systemd does not read", and(noFile, limit(400000), files{"etc/sysctl.conf": "# x\n" + newName + "=400000\n"}), observe,
			"will be 262144", []want{{IDNotPersistent, Problem, "/etc/sysctl.conf:2", "does not read without a link", "ln -s ../sysctl.conf /etc/sysctl.d/99-sysctl.conf"}}},
		{"a pattern", and(noFile, limit(400000), files{"etc/sysctl.d/10-a.conf": "net.netfilter.nf_conntrack_ma? = 400000\n"}), observe, "survives a reboot: /etc/sysctl.d/10-a.conf:1", nil},
		{"a pattern where systemd knows none", and(noFile, limit(400000), rhel8, files{"etc/sysctl.d/10-a.conf": "net.netfilter.nf_conntrack_ma? = 400000\n"}), observe, "will be 262144 after the next reboot: the kernel's default", []want{
			{IDNotPersistent, Problem, "", "no file sets it", "99-zzz-conntrack"}}},
		{"a file has less", and(noFile, limit(400000), files{"etc/sysctl.d/10-a.conf": oldName + "=131072\n"}), observe, "will be 131072 after the next reboot: /etc/sysctl.d/10-a.conf:1 is last under both", []want{
			{IDNotPersistent, Problem, "/etc/sysctl.d/10-a.conf:1", "400000", "in /etc/sysctl.d/10-a.conf, line 1, write net.nf_conntrack_max = 400000"}}},
		{"a file that Ansible manages has less", and(noFile, limit(400000), files{"etc/sysctl.d/10-a.conf": "# Ansible managed\n" + newName + "=131072\n"}), observe, "will be 131072", []want{
			{IDNotPersistent, Problem, "/etc/sysctl.d/10-a.conf:2", "400000", "says that Ansible manages it"}}},
		{"stepped since the file was written", limit(600000), func(c *Config) { c.Policy.Ceiling = 1 << 20 }, "will be 524288", []want{
			{IDNotPersistent, Problem, ours + ":5", "the one that ctwarden persisted last", "/etc/sysctl.d/99-zzz-conntrack.conf"}}},
		{"lowered since", limit(262144), nil, "the limit of 262144 will be 524288", []want{
			{IDBootHigher, Advice, ours + ":5", "262144; the next boot brings 524288", "sysctl -w net.netfilter.nf_conntrack_max=524288"}}},
		{"no limit at all", limit(0), nil, "the limit of 0 will be 524288", []want{{IDZero, Problem, "", "no limit at all", "sysctl -w"}}},

		{"another file comes after ours", files{"etc/sysctl.d/99-zzz.conf": newName + " = 65536\n"}, observe, "the limit of 524288 will be 65536 after the next reboot: /etc/sysctl.d/99-zzz.conf:1", []want{
			{IDOverridden, Problem, "/etc/sysctl.d/99-zzz.conf:1", "comes after " + ours, "write net.netfilter.nf_conntrack_max = 524288"},
			{IDKeysDisagree, Problem, ours + ":5", "two names of one variable", "write the same value"}}},
		{"and it is in force already", and(limit(65536), files{"etc/sysctl.d/99-zzz.conf": newName + " = 65536\n" + oldName + " = 65536\n"}), observe, "the limit of 65536 survives", []want{
			{IDOverridden, Problem, "/etc/sysctl.d/99-zzz.conf:2", "sets the limit to 65536 after " + ours + ", which has 524288", "write net.nf_conntrack_max = 524288"}}},
		{"and the agent makes good for it", files{"etc/sysctl.d/99-zzz.conf": newName + " = 65536\n" + oldName + " = 65536\n"}, nil, "the limit of 524288 survives a reboot: ctwarden at its start", []want{
			{IDOverridden, Problem, "/etc/sysctl.d/99-zzz.conf:2", "sets the limit to 65536 after " + ours, "write net.nf_conntrack_max = 524288"}}},
		{"sysctl.conf, for who runs sysctl --system", files{"etc/sysctl.conf": newName + "=65536\n" + oldName + "=65536\n"}, nil, "survives a reboot: " + ours + ":5 is last under systemd-sysctl, but sysctl --system would make it 65536", []want{
			{IDSysctlSystem, Problem, "/etc/sysctl.conf:2", "sysctl --system would set the limit to 65536, from 524288", "in /etc/sysctl.conf, line 2, write net.nf_conntrack_max = 524288"}}},
		{"the two names differ", files{ours[1:]: "gone/", "etc/sysctl.d/50.conf": newName + "=1000000\n" + oldName + "=524288\n"}, nil, "survives", []want{
			{IDKeysDisagree, Problem, "/etc/sysctl.d/50.conf:1", "524288 stays under systemd-sysctl", "write the same value in both: net.netfilter.nf_conntrack_max = 1000000"}}},
		{"a value that is none", and(noFile, limit(262144), files{"etc/sysctl.d/50.conf": newName + " = 512k\n"}), observe, "survives", []want{
			{IDBadValue, Problem, "/etc/sysctl.d/50.conf:1", `refuses "512k"`, "write a plain number"}}},
		{"a value of 0", and(noFile, limit(262144), files{"etc/sysctl.d/50.conf": newName + " = 0\n" + newName + " = 262144\n" + oldName + "=0\n" + oldName + "=262144\n"}), observe, "survives", nil},
		{"a value of 0 that stays", and(noFile, limit(262144), files{"etc/sysctl.d/50.conf": newName + " = 262144\n" + newName + " = 0\n"}), observe, "the next reboot brings a limit of 0, which is no limit at all before Linux 6.19: /etc/sysctl.d/50.conf:2", []want{
			{IDZero, Problem, "/etc/sysctl.d/50.conf:2", "no limit at all", "write a plain number"}}},
		{"a line that is none", and(noFile, limit(262144), files{"etc/sysctl.d/50.conf": newName + " 524288\n"}), observe, "survives", []want{
			{IDBadLine, Problem, "/etc/sysctl.d/50.conf:1", "not an assignment", "net.netfilter.nf_conntrack_max = 262144"}}},
		{"masked", and(noFile, limit(524288), files{"usr/lib/sysctl.d/50.conf": newName + "=524288\n", "etc/sysctl.d/50.conf": "-> /dev/null"}), observe, "will be 262144", []want{
			{IDNotPersistent, Problem, "", "no file sets it", "99-zzz-conntrack"},
			{IDMasked, Problem, "/usr/lib/sysctl.d/50.conf:1", "/etc/sysctl.d/50.conf hides it", "rm /etc/sysctl.d/50.conf"}}},

		{"our file damaged", and(limit(262144), files{ours[1:]: strings.Replace(persisted(262144, "5ee3f0cd2f7a"), oldName+" = 262144", oldName+" = 262143", 1)}), nil, "will be 262143", []want{
			{IDDamaged, Problem, ours, "not set alike", "ctwarden revert"},
			{IDKeysDisagree, Problem, ours + ":4", "", "write the same"},
			{IDNotPersistent, Problem, ours + ":5", "262143", ""}}},
		{"our file of another machine", files{ours[1:]: persisted(524288, "aaaa")}, nil, "survives", []want{
			{IDOtherMachine, Problem, ours, "another machine", "ctwarden revert"}}},
		{"somebody else's file has our name", files{ours[1:]: "# mine\n" + newName + "=524288\n"}, nil, "survives", []want{
			{IDNotOurs, Problem, ours, "not written by ctwarden", "mv " + ours + " /etc/sysctl.d/50-conntrack.conf"}}},
		{"a directory that nobody reads", and(noFile, limit(262144)), func(c *Config) { c.PersistFile = "/opt/x.conf" }, "survives", []want{
			{IDPersistUnread, Problem, "/etc/ctwarden/ctwarden.yaml", "reads /opt at boot", "remediate.persist_file: /etc/sysctl.d/"}}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) { check(t, examine(t, tt.files, tt.change), tt.verdict, tt.want) })
	}
}

// check holds a report against what is expected of it.
func check(t *testing.T, r Report, verdict string, wanted []want) {
	t.Helper()
	if !strings.Contains(r.Verdict, verdict) {
		t.Errorf("verdict\n\t%q, want\n\t%q", r.Verdict, verdict)
	}
	var ids, wantIDs []string
	for _, w := range wanted {
		wantIDs = append(wantIDs, string(w.id))
	}
	for _, f := range r.Findings {
		ids = append(ids, string(f.ID))
		i := slices.IndexFunc(wanted, func(w want) bool { return w.id == f.ID })
		if i < 0 {
			continue
		}
		w := wanted[i]
		if f.Severity != w.severity || f.Where != w.where || !strings.Contains(f.What, w.what) || !strings.Contains(f.Fix, w.fix) || f.Fix == "" {
			t.Errorf("got %+v, want %+v", f, w)
		}
	}
	slices.Sort(ids)
	slices.Sort(wantIDs)
	if !slices.Equal(ids, wantIDs) {
		t.Errorf("findings %v, want %v\n%s", ids, wantIDs, all(r))
	}
}

func all(r Report) string {
	var b strings.Builder
	for _, f := range r.Findings {
		fmt.Fprintf(&b, "%+v\n", f)
	}
	return b.String() + strings.Join(r.Notes, "\n")
}
