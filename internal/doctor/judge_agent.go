package doctor

import (
	"fmt"
	"strings"
	"time"

	"github.com/ctwarden/ctwarden/remediate"
)

// agent looks at the service and its configuration.
func (j *judge) agent() {
	f := j.f
	if len(f.Mistakes) > 0 {
		j.add(Finding{
			ID: IDConfig, Severity: Problem, Where: f.File, What: strings.Join(f.Mistakes, "; "),
			Why: "the agent does not start with it, and goes on with the former one where it runs", Fix: "ctwarden check-config " + f.File,
		})
	}
	if f.Unread != "" {
		j.Unknown = append(j.Unknown, Unknown{What: f.File, Why: f.Unread})
	}
	if f.HoldUnread != "" {
		j.Unknown = append(j.Unknown, Unknown{What: "whether automatic writes are held", Why: f.HoldUnread})
	}
	j.service()
	j.confined()
	if f.known() && f.Policy.Mode == remediate.ModeRemediate {
		j.mayWrite()
		j.held()
		j.awaited()
	}
}

// service tells whether the agent runs, now and after a boot.
func (j *judge) service() {
	u := j.f.Unit
	switch {
	case u.File == "" && u.Masked == "":
		j.note("the service ctwarden is not installed here")
	case u.Masked != "":
		j.add(Finding{
			ID: IDNotEnabled, Severity: Advice, Where: u.Masked, What: "the service ctwarden is masked",
			Why: "nobody watches the table", Fix: "systemctl unmask ctwarden && systemctl enable --now ctwarden",
		})
	case !u.Enabled:
		j.add(Finding{
			ID: IDNotEnabled, Severity: Advice, Where: u.File, What: "the service ctwarden is installed and not started at boot",
			Why: "nobody watches the table after a reboot", Fix: "systemctl enable --now ctwarden",
		})
	case u.SystemdRuns && !u.Active:
		j.add(Finding{
			ID: IDNotRunning, Severity: Problem, Where: u.File, What: "the service ctwarden is enabled and does not run",
			Why: "nobody watches the table", Fix: "systemctl start ctwarden; journalctl -u ctwarden -n 20",
		})
	}
}

// linkDropIn gives the service what mode remediate takes.
const linkDropIn = "mkdir -p /etc/systemd/system/ctwarden.service.d && " +
	"ln -sf /usr/share/ctwarden/ctwarden.service.d/remediate.conf /etc/systemd/system/ctwarden.service.d/ && " +
	"systemctl daemon-reload && systemctl restart ctwarden"

// mayWrite tells whether an agent in mode remediate has the means.
func (j *judge) mayWrite() {
	f, u := j.f, j.f.Unit
	switch {
	case f.Table && f.User == 0 && !f.Limits.Writable:
		j.add(Finding{
			ID: IDReadOnly, Severity: Problem, What: "the limit cannot be written, even by root: /proc/sys is mounted read-only, or a capability is missing",
			Why: "mode: remediate is of no use here", Fix: "run ctwarden on the host, or set mode: observe in " + f.File,
		})
	case u.File != "" && u.Lacks != "":
		j.add(Finding{
			ID: IDNoCapability, Severity: Problem, Where: u.File, What: "the service is not given " + u.Lacks,
			Why: "mode: remediate needs it to write the limit",
			Fix: linkDropIn,
		})
	case u.File != "" && f.Policy.Persist && !u.Persists:
		j.add(Finding{
			ID: IDNoHelper, Severity: Problem, Where: u.File, What: "the service runs without " + helperName + ", which writes the sysctl.d file for it",
			Why: "a step that helped is lost at the next reboot", Fix: linkDropIn,
		})
	case u.PID != 0 && !u.PIDWriter:
		j.add(Finding{
			ID: IDNoCapability, Severity: Problem, Where: fmt.Sprintf("process %d", u.PID), What: "the agent that runs has no CAP_NET_ADMIN",
			Why: "mode: remediate needs it to write the limit", Fix: "systemctl daemon-reload && systemctl restart ctwarden",
		})
	}
}

// held tells of a hold. One with an end was meant; one without is forgotten easily.
func (j *judge) held() {
	h := j.f.Hold
	if !h.Active(j.f.Now) {
		return
	}
	whose, fix := "", "ctwarden unhold"
	if h.Fleet {
		whose, fix = "the fleet, ", "ctwarden-hub unhold, with the --site or --host that it was ordered for"
	}
	if !h.Until.IsZero() {
		j.note("automatic writes are held by %s%s until %s", whose, h.By, h.Until.Format(time.RFC3339))
		return
	}
	j.add(Finding{
		ID: IDHeld, Severity: Advice, Where: h.File,
		What: fmt.Sprintf("automatic writes are held by %s%s since %s, without an end", whose, h.By, h.Since.Format(time.RFC3339)),
		Why:  "no step is taken, and a persisted limit is not applied at the agent's start", Fix: fix,
	})
}

// awaited tells of an agent that observes although its file says remediate.
func (j *judge) awaited() {
	if !j.f.awaits() {
		return
	}
	where, what := j.f.File, "remediate.await_fleet is true, and the hub has not told this host to act: it observes"
	if j.f.Running == "" {
		what = "remediate.await_fleet is true: this host observes until the hub tells it to act, and the agent, which knows, does not answer here"
	}
	j.add(Finding{
		ID: IDAwaitsFleet, Severity: Advice, Where: where, What: what,
		Why: "no step is taken, and a persisted limit is not applied at the agent's start",
		Fix: "name the host's site or labels in rollout.remediate of the hub's hub.yaml, or set remediate.await_fleet: false in " + where,
	})
}
