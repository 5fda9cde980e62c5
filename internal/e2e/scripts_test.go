package e2e

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/ctwarden/ctwarden/internal/testhost"
)

// chroot is a copy of this host's file system, on top of it and in memory, in which no systemd runs: what a maintainer
// script changes there is gone with the test.
type chroot struct {
	dir, shell string
}

func newChroot(t *testing.T, shell string) chroot {
	t.Helper()
	testhost.NeedRoot(t)
	if _, err := exec.LookPath(shell); err != nil {
		testhost.Skip(t, "needs "+shell)
	}
	base := t.TempDir()
	c := chroot{dir: filepath.Join(base, "root"), shell: shell}
	upper := filepath.Join(base, "upper")
	for _, dir := range []string{c.dir, upper} {
		if err := os.Mkdir(dir, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	mount(t, upper, "-t", "tmpfs", "none")
	for _, dir := range []string{"changes", "work"} {
		if err := os.Mkdir(filepath.Join(upper, dir), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	mount(t, c.dir, "-t", "overlay", "-o", fmt.Sprintf("lowerdir=/,upperdir=%s/changes,workdir=%s/work", upper, upper), "none")
	// What an earlier trial, or an installed package, may have left on the host.
	c.run(t, "userdel ctwarden; userdel ctwarden-hub; groupdel ctwarden; groupdel ctwarden-hub; rm -rf /etc/ctwarden /var/lib/ctwarden* /run/systemd; true")
	for _, f := range []struct{ from, to string }{
		{unitDir + "/*.service", "usr/lib/systemd/system"}, {unitDir + "/*.socket", "usr/lib/systemd/system"},
		{dropinDir + "/*.conf", "usr/share/ctwarden/ctwarden.service.d"}, {unitDir + "/sysusers.d/*.conf", "usr/lib/sysusers.d"},
		{"../../packaging/*.yaml", "etc/ctwarden"}, {"../../packaging/scripts/*", "scripts"},
	} {
		copyFiles(t, f.from, filepath.Join(c.dir, f.to))
	}
	return c
}

func mount(t *testing.T, where string, args ...string) {
	t.Helper()
	if out, err := exec.Command("mount", append(args, where)...).CombinedOutput(); err != nil {
		testhost.Skip(t, fmt.Sprintf("needs to mount %v: %v: %s", args, err, out))
	}
	t.Cleanup(func() {
		if out, err := exec.Command("umount", where).CombinedOutput(); err != nil {
			t.Errorf("%v: %s", err, out)
		}
	})
}

// run has the shell carry out a line inside, and returns what it said.
func (c chroot) run(t *testing.T, line string) string {
	t.Helper()
	cmd := exec.Command("chroot", c.dir, "/bin/sh", "-c", line)
	cmd.Env = []string{"PATH=/usr/sbin:/usr/bin:/sbin:/bin", "DPKG_MAINTSCRIPT_PACKAGE=ctwarden", "LC_ALL=C"}
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Errorf("%s: %v: %s", line, err, out)
	}
	return string(out)
}

// script runs a maintainer script as dpkg and rpm do.
func (c chroot) script(t *testing.T, name string, args ...string) string {
	t.Helper()
	for i := range args {
		args[i] = "'" + args[i] + "'"
	}
	return c.run(t, c.shell+" /scripts/"+name+" "+strings.Join(args, " "))
}

func (c chroot) there(name string) bool {
	_, err := os.Lstat(filepath.Join(c.dir, name))
	return err == nil
}

// want fails the test unless the files are there, or not.
func (c chroot) want(t *testing.T, there bool, names ...string) {
	t.Helper()
	for _, name := range names {
		if c.there(name) != there {
			t.Errorf("%s: there %v, want %v", name, !there, there)
		}
	}
}

// used leaves what an agent and an administrator leave behind.
func (c chroot) used(t *testing.T) {
	t.Helper()
	c.run(t, `set -e
		mkdir -p /var/lib/ctwarden /run/ctwarden /etc/systemd/system/ctwarden.service.d /etc/modules-load.d
		echo x >/var/lib/ctwarden/state.db
		printf '# ctwarden-persisted: 1\nnet.netfilter.nf_conntrack_max = 1\n' >/etc/sysctl.d/99-zz-ctwarden.conf
		printf '# ctwarden-module: 1\nnf_conntrack\n' >/etc/modules-load.d/ctwarden.conf
		mkdir -p /usr/local/lib/sysctl.d
		printf '# ctwarden-persisted: 1\nnet.netfilter.nf_conntrack_max = 1\n' >/usr/local/lib/sysctl.d/99-moved.conf
		printf 'net.core.somaxconn = 4096\n# ctwarden-persisted: 1\n' >/etc/sysctl.d/98-admin.conf
		ln -s /usr/share/ctwarden/ctwarden.service.d/remediate.conf /etc/systemd/system/ctwarden.service.d/
		printf '[Service]\nNice=0\n' >/etc/systemd/system/ctwarden.service.d/mine.conf`)
}

const (
	limitFile = "etc/sysctl.d/99-zz-ctwarden.conf"
	movedFile = "usr/local/lib/sysctl.d/99-moved.conf" // where remediate.persist_file may have it
	adminFile = "etc/sysctl.d/98-admin.conf"
	linkFile  = "etc/systemd/system/ctwarden.service.d/remediate.conf"
	mineFile  = "etc/systemd/system/ctwarden.service.d/mine.conf"
)

// TestScriptsOfDpkg goes through a package's life under dpkg, in a chroot without a running systemd.
func TestScriptsOfDpkg(t *testing.T) {
	for _, shell := range []string{"dash", "bash"} {
		t.Run(shell, func(t *testing.T) {
			c := newChroot(t, shell)
			c.script(t, "ctwarden.preinst", "install")
			said := c.script(t, "ctwarden.postinst", "configure", "")
			wantWords(t, said, "mode: remediate", "remediate.conf", "nats.servers")
			wantWords(t, c.run(t, "id ctwarden; stat -c '%U:%G %a' /etc/ctwarden/ctwarden.yaml"), "(adm)", "(systemd-journal)", "root:ctwarden 640")
			c.want(t, true, "etc/systemd/system/multi-user.target.wants/ctwarden.service")
			c.used(t)

			if said := c.script(t, "ctwarden.prerm", "upgrade", "2.0") + c.script(t, "ctwarden.preinst", "upgrade", "1.0") +
				c.script(t, "ctwarden.postrm", "upgrade", "2.0") + c.script(t, "ctwarden.postinst", "configure", "1.0"); said != "" {
				t.Errorf("an upgrade says %q", said)
			}
			c.want(t, true, limitFile, movedFile, moduleFile, linkFile, "var/lib/ctwarden/state.db")

			c.run(t, "systemctl disable ctwarden 2>&1")
			c.script(t, "ctwarden.postinst", "configure", "2.0")
			c.want(t, false, "etc/systemd/system/multi-user.target.wants/ctwarden.service") // an administrator's disabling stands
			c.run(t, "systemctl enable ctwarden 2>&1")

			wantWords(t, c.script(t, "ctwarden.prerm", "remove"), "/"+limitFile+" stays", "to undo it", "purge")
			c.run(t, "rm -rf /usr/lib/systemd/system/ctwarden* /usr/share/ctwarden")
			c.script(t, "ctwarden.postrm", "remove")
			c.want(t, true, limitFile, moduleFile, linkFile, "var/lib/ctwarden/state.db", "etc/ctwarden/ctwarden.yaml")

			c.run(t, "rm /etc/ctwarden/ctwarden.yaml /etc/ctwarden/hub.yaml") // as dpkg does before
			wantWords(t, c.script(t, "ctwarden.postrm", "purge"), limitFile+" removed")
			c.want(t, false, limitFile, movedFile, moduleFile, linkFile, "var/lib/ctwarden", "run/ctwarden", "etc/ctwarden",
				"etc/systemd/system/multi-user.target.wants/ctwarden.service")
			c.want(t, true, adminFile, mineFile)
			if said := c.run(t, "getent passwd ctwarden; getent group ctwarden; true"); said != "" {
				t.Errorf("left behind: %s", said)
			}
			c.script(t, "ctwarden.postrm", "purge") // once more: it may have been cut short
		})
	}
}

// TestScriptsOfRpm goes through a package's life under rpm, in a chroot without a running systemd.
func TestScriptsOfRpm(t *testing.T) {
	for _, shell := range []string{"dash", "bash"} {
		t.Run(shell, func(t *testing.T) {
			c := newChroot(t, shell)
			copyFiles(t, unitDir+"/system-preset/*", filepath.Join(c.dir, "usr/lib/systemd/system-preset"))
			c.script(t, "ctwarden.preinst", "1")
			wantWords(t, c.script(t, "ctwarden.postinst", "1"), "mode: remediate", "nats.servers")
			wantWords(t, c.run(t, "id ctwarden; stat -c '%U:%G %a' /etc/ctwarden/ctwarden.yaml"), "(systemd-journal)", "root:ctwarden 640")
			c.want(t, true, "etc/systemd/system/multi-user.target.wants/ctwarden.service")
			c.used(t)

			said := c.script(t, "ctwarden.preinst", "2") + c.script(t, "ctwarden.postinst", "2") + c.script(t, "ctwarden.prerm", "1") +
				c.script(t, "ctwarden.postrm", "1")
			if said != "" {
				t.Errorf("an upgrade says %q", said)
			}
			c.want(t, true, limitFile, moduleFile, linkFile, "etc/systemd/system/multi-user.target.wants/ctwarden.service")

			wantWords(t, c.script(t, "ctwarden.prerm", "0"), "/"+limitFile+" stays", "to undo it", "rm -rf /var/lib/ctwarden")
			c.script(t, "ctwarden.postrm", "0")
			c.want(t, true, limitFile, moduleFile, linkFile, mineFile, adminFile, "var/lib/ctwarden/state.db")
			c.want(t, false, "etc/systemd/system/multi-user.target.wants/ctwarden.service")
		})
	}
}

// TestScriptsForgetFailed has each removal, and no upgrade, ask a running systemd to forget units that failed.
func TestScriptsForgetFailed(t *testing.T) {
	c := newChroot(t, "dash")
	c.run(t, `mkdir -p /run/systemd/system && printf '#!/bin/sh\necho "$*" >>/asked\n[ "$1" != --quiet ]\n' >/systemctl &&
		chmod 755 /systemctl && mv /systemctl /usr/bin/systemctl`)
	for _, tt := range []struct {
		args string
		want bool
	}{{"remove", true}, {"purge", true}, {"0", true}, {"upgrade", false}, {"1", false}} {
		c.run(t, ": >/asked")
		if said := c.script(t, "ctwarden.postrm", tt.args); said != "" {
			t.Errorf("%s says %q", tt.args, said)
		}
		asked := c.run(t, "cat /asked")
		if strings.Contains(asked, "reset-failed ctwarden.service ctwarden-persist*\n") != tt.want {
			t.Errorf("%s asks for %q", tt.args, asked)
		}
	}
}

// TestScriptsOfTheHub does the same with the hub's, which is not enabled before it is configured.
func TestScriptsOfTheHub(t *testing.T) {
	c := newChroot(t, "dash")
	for _, first := range [][2][]string{{{"install"}, {"configure", ""}}, {{"1"}, {"1"}}} {
		c.script(t, "ctwarden-hub.preinst", first[0]...)
		wantWords(t, c.script(t, "ctwarden-hub.postinst", first[1]...), "nats.servers", "systemctl enable --now ctwarden-hub")
		wantWords(t, c.run(t, "id ctwarden-hub; stat -c '%U:%G %a' /etc/ctwarden/hub.yaml"), "root:ctwarden-hub 640")
		c.want(t, false, "etc/systemd/system/multi-user.target.wants/ctwarden-hub.service")
	}
	c.run(t, "systemctl enable ctwarden-hub 2>&1; mkdir -p /var/lib/ctwarden-hub/nats")
	c.script(t, "ctwarden-hub.prerm", "remove")
	c.run(t, "rm -rf /usr/lib/systemd/system/ctwarden-hub.service")
	c.script(t, "ctwarden-hub.postrm", "remove")
	c.want(t, true, "var/lib/ctwarden-hub/nats")
	c.script(t, "ctwarden-hub.postrm", "purge")
	c.want(t, false, "var/lib/ctwarden-hub", "etc/systemd/system/multi-user.target.wants/ctwarden-hub.service")
	c.want(t, true, "etc/ctwarden/ctwarden.yaml") // the agent's
	if said := c.run(t, "getent passwd ctwarden-hub; getent group ctwarden-hub; true"); said != "" {
		t.Errorf("left behind: %s", said)
	}
}

// TestScriptsWithoutSysusers makes the user with what is in every distribution.
func TestScriptsWithoutSysusers(t *testing.T) {
	c := newChroot(t, "dash")
	c.run(t, "rm -f /usr/bin/systemd-sysusers /bin/systemd-sysusers; groupdel adm; true")
	c.script(t, "ctwarden.preinst", "install")
	c.script(t, "ctwarden.postinst", "configure", "")
	said := c.run(t, "id ctwarden; getent passwd ctwarden")
	wantWords(t, said, "(systemd-journal)", ":/var/lib/ctwarden:/usr/sbin/nologin")
	if strings.Contains(said, "adm") {
		t.Errorf("a group was made: %s", said)
	}
}

// TestScriptsAreClean has shellcheck and both shells read them.
func TestScriptsAreClean(t *testing.T) {
	names, err := filepath.Glob("../../packaging/scripts/*")
	if err != nil || len(names) != 8 {
		t.Fatalf("%v, %v", names, err)
	}
	for _, tool := range [][]string{{"shellcheck"}, {"dash", "-n"}, {"bash", "-n"}} {
		if _, err := exec.LookPath(tool[0]); err != nil {
			testhost.Skip(t, "needs "+tool[0])
		}
		for _, name := range names {
			if out, err := exec.Command(tool[0], append(tool[1:], name)...).CombinedOutput(); err != nil {
				t.Errorf("%v %s: %v: %s", tool, name, err, out)
			}
		}
	}
}
