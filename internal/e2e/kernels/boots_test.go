package kernels

import (
	"strings"
	"testing"

	"github.com/ctwarden/ctwarden/remediate"
)

const (
	// notLoaded is what the agent says where there is no table, problem how its log does, once, and problemGone what that says
	// when there is one.
	notLoaded   = "connection tracking is not loaded"
	problem     = `WARN	problem	{"about": "table", "error": "` + notLoaded
	problemGone = `INFO	problem gone	{"about": "table"}`
	persisted   = "/etc/sysctl.d/99-zz-ctwarden.conf"
	// firewall is a rule that needs connection tracking, so that the kernel loads the module for it.
	firewall = `nft 'add table inet fw; add chain inet fw in { type filter hook input priority 0; }; ` +
		`add rule inet fw in ct state new accept'`
)

// firstBoot has the agent started before the module is there, and then connections refused in a namespace other than the
// first, with the limit that the kernel begins with.
func (s *scene) firstBoot(t *testing.T) {
	g := boot(t, s.image)
	g.startBeforeModule(t)
	s.defaults = g.load(t, "modprobe nf_conntrack")
	g.wantTable(t, s.defaults.max)
	if st := g.status(t); len(st.Steps) != 0 {
		t.Errorf("steps before anything was refused: %+v", st.Steps)
	}

	inode := g.refuse(t, "", s.defaults.max)
	s.other = g.message(t, inode)
	s.step = g.wantStep(t, remediate.ReasonFull, s.defaults.max)
	g.wantIncident(t, s.step)
	g.wantPersisted(t, s.step.To)
	g.Run(t, "kill $flood; wait $flood")
	s.off(t, g)
}

// secondBoot has the persisted file read before the module is there, as at a host whose firewall loads it, and the agent
// make up for it; then connections refused in the first namespace.
func (s *scene) secondBoot(t *testing.T) {
	g := boot(t, s.image)
	said, _ := g.Try(t, "SYSTEMD_LOG_TARGET=console systemd-sysctl 2>&1")
	if !strings.Contains(said, "nf_conntrack_max") || !strings.Contains(said, "No such file") {
		t.Errorf("systemd-sysctl, before there is a table, said %q", said)
	}
	g.startBeforeModule(t)
	if now := g.load(t, firewall); now != s.defaults {
		t.Errorf("with a persisted limit of %d the module began with %+v, want the default %+v", s.step.To, now, s.defaults)
	}
	g.wantTable(t, s.step.To)
	s.boot = g.wantStep(t, remediate.ReasonBoot, s.defaults.max)
	if s.boot.To != s.step.To {
		t.Errorf("applied at boot: %d, want the persisted %d", s.boot.To, s.step.To)
	}

	g.refuse(t, "-first", s.boot.To)
	s.first = g.message(t, 0)
	s.again = g.wantStep(t, remediate.ReasonFull, s.boot.To)
	g.wantIncident(t, s.again)
	g.wantPersisted(t, s.again.To)
	g.Run(t, "kill -9 $flood; wait $flood; true") // it would put the limit back

	g.wantAppliedOnce(t, s.defaults.max)
	g.Run(t, "mkdir -p /etc/modules-load.d && echo nf_conntrack >/etc/modules-load.d/ctwarden.conf")
	s.off(t, g)
}

// thirdBoot has the module loaded before the settings are made. The agent is not started.
func (s *scene) thirdBoot(t *testing.T) {
	g := boot(t, s.image)
	g.Run(t, "SYSTEMD_LOG_TARGET=console systemd-modules-load 2>&1")
	if now := g.settings(t); now != s.defaults {
		t.Errorf("the module began with %+v, want the default %+v", now, s.defaults)
	}
	g.Run(t, "SYSTEMD_LOG_TARGET=console systemd-sysctl 2>&1")
	if now := g.settings(t); now.max != s.again.To || now.oldMax != s.again.To {
		t.Errorf("after systemd-sysctl the kernel has %+v, want a limit of %d", now, s.again.To)
	}
	if out, code := g.Try(t, "pidof ctwarden"); code == 0 {
		t.Errorf("an agent runs: %s", out)
	}
	g.Off(t)
}

// off stops the agent and switches the machine off. What a disk would keep is there at the next boot.
func (s *scene) off(t *testing.T, g guest) {
	t.Helper()
	g.stopAgent(t)
	s.image = s.image.With(t, g.Archive(t, "etc", "var"))
	g.Off(t)
}
