package installed

import (
	"encoding/json"
	"os"
	"path"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"github.com/ctwarden/ctwarden/remediate"
)

const (
	ansibleDir      = "/root/ansible"
	credentialsUnit = "/etc/systemd/system/ctwarden.service.d/credentials.conf"
	secretFile      = "/etc/ctwarden/credentials.ansible/nats.creds"
)

// TestAnsible has the role, as it is shipped, install and configure the agent on a host with systemd, by Ansible itself,
// which runs there: each change takes what it needs to take effect and no more, and a second run changes nothing.
func TestAnsible(t *testing.T) {
	deb := built(t).deb(t, "ctwarden")
	need(t, "systemd-nspawn")
	lock, ns := filled(t)
	if err := lock.SetMax(lock.Saved().Max); err != nil { // nothing is to be refused here
		t.Fatal(err)
	}
	m := boot(t, newRoot(t, "bookworm"), ns)
	if err := os.CopyFS(m.path(ansibleDir), os.DirFS("../../../packaging/ansible")); err != nil {
		t.Fatal(err)
	}
	p := play{machine: m, vars: map[string]any{"ctwarden_package_file": m.bring(t, deb)}}
	config := map[string]any{"mode": "observe", "metrics": map[string]any{"listen": ""}}
	p.vars["ctwarden_config"] = config

	inOrder(t, []part{
		{"install", func(t *testing.T) {
			p.run(t)
			m.wantProperties(t, agentUnit, "ActiveState=active", "UnitFileState=enabled", "Result=success")
			m.wantOwners(t, configFile+" 640 root:ctwarden")
			p.settles(t)
		}},
		{"mode remediate restarts with its right", func(t *testing.T) {
			pid := m.mainPID(t, agentUnit)
			config["mode"] = "remediate"
			p.run(t)
			m.wantProcess(t, m.another(t, agentUnit, pid), capSyslog|capNetAdmin)
			if got := m.status(t).Mode; got != remediate.ModeRemediate {
				t.Errorf("mode %s", got)
			}
			p.settles(t)
		}},
		{"a ceiling is reloaded", func(t *testing.T) {
			pid, before := m.mainPID(t, agentUnit), m.cursor(t)
			config["remediate"] = map[string]any{"ceiling": 300000}
			p.run(t)
			m.said(t, before, "configuration reloaded")
			if now := m.mainPID(t, agentUnit); now != pid {
				t.Errorf("process %d, before %d: it was restarted", now, pid)
			}
		}},
		{"servers with a secret restart, and the service has it", func(t *testing.T) {
			p.secret(t, config, "first")
			p.settles(t)
		}},
		{"another secret restarts", func(t *testing.T) { p.secret(t, config, "second") }},
		{"a mistake changes nothing", func(t *testing.T) {
			pid, had := m.mainPID(t, agentUnit), readFile(t, m.path(configFile))
			config["mode"] = "rescue"
			p.hand("third")
			if said := p.fails(t); !strings.Contains(said, "rescue") {
				t.Errorf("Ansible does not say what is wrong:\n%s", said)
			}
			if now := readFile(t, m.path(configFile)); now != had || m.mainPID(t, agentUnit) != pid {
				t.Errorf("the configuration is now\n%s", now)
			}
			if now := readFile(t, m.path(secretFile)); now != "second\n" {
				t.Errorf("the secret is now %q", now)
			}
			config["mode"] = "observe"
		}},
		{"what it held up restarts then", func(t *testing.T) { p.secret(t, config, "third") }},
		{"a restart that a run did not come to", func(t *testing.T) {
			m.write(t, secretFile, "fourth\n")
			p.secret(t, config, "fourth")
		}},
		{"a file with mistakes is replaced", func(t *testing.T) {
			pid := m.mainPID(t, agentUnit)
			m.write(t, configFile, "site: [\n")
			p.run(t)
			m.another(t, agentUnit, pid)
		}},
		{"no secret, no drop-ins", func(t *testing.T) {
			delete(config, "nats")
			delete(p.vars, "ctwarden_credentials")
			p.run(t)
			for _, name := range []string{credentialsUnit, secretFile, path.Join(path.Dir(credentialsUnit), "remediate.conf")} {
				if _, err := os.Lstat(m.path(name)); err == nil {
					t.Errorf("%s is left", name)
				}
			}
			m.wantProcess(t, m.mainPID(t, agentUnit), capSyslog)
			p.settles(t)
		}},
	})
}

// play is the role with its variables.
type play struct {
	*machine
	vars map[string]any
}

// ansible runs the role.
func (p play) ansible(t *testing.T) (string, int) {
	t.Helper()
	vars, err := json.Marshal(p.vars)
	if err != nil {
		t.Fatal(err)
	}
	p.write(t, ansibleDir+"/vars.json", string(vars))
	p.write(t, ansibleDir+"/here.yml", "- hosts: localhost\n  connection: local\n  gather_subset: ['!all']\n  roles: [ctwarden]\n")
	return p.try(t, "sh", "-c", "cd "+ansibleDir+" && ANSIBLE_NOCOLOR=1 ANSIBLE_PIPELINING=1 ansible-playbook -i localhost, -e @vars.json here.yml 2>&1")
}

var recap = regexp.MustCompile(`localhost +: ok=\d+ +changed=(\d+) +unreachable=0 +failed=0`)

// run runs the role, which must succeed and change something.
func (p play) run(t *testing.T) { p.changes(t, true) }

// settles wants the role to change nothing more.
func (p play) settles(t *testing.T) { p.changes(t, false) }

func (p play) changes(t *testing.T, want bool) {
	t.Helper()
	out, code := p.ansible(t)
	found := recap.FindStringSubmatch(out)
	if code != 0 || found == nil {
		t.Fatalf("exit %d:\n%s", code, out)
	}
	if n, _ := strconv.Atoi(found[1]); (n > 0) != want {
		t.Errorf("%d changes, want some: %v\n%s", n, want, out)
	}
}

// fails wants the role to fail, and returns what Ansible said.
func (p play) fails(t *testing.T) string {
	t.Helper()
	out, code := p.ansible(t)
	if code == 0 {
		t.Errorf("it did not fail:\n%s", out)
	}
	return out
}

// hand has the role hand a secret over.
func (p play) hand(text string) {
	p.vars["ctwarden_credentials"] = map[string]any{"nats.creds": text + "\n"}
}

// secret hands a secret over, and looks for it where the service has it, and nobody else.
func (p play) secret(t *testing.T, config map[string]any, text string) {
	pid := p.mainPID(t, agentUnit)
	p.hand(text)
	config["nats"] = map[string]any{"servers": []string{natsURL}, "credentials": "nats.creds"}
	p.run(t)
	p.another(t, agentUnit, pid)
	const dir = "/run/credentials/" + agentUnit
	if got := p.machine.run(t, "cat", dir+"/nats.creds"); got != text+"\n" {
		t.Errorf("the service has %q, want %q", got, text)
	}
	p.wantOwners(t, secretFile+" 600 root:root", "/etc/ctwarden/credentials.ansible 700 root:root")
	if out, code := p.try(t, "setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", "cat", dir+"/nats.creds"); code == 0 {
		t.Errorf("another user reads %q", out)
	}
	// As itself it reads what root alone could: the file is not its own.
	as := []string{"setpriv", "--reuid=ctwarden", "--regid=ctwarden", "--init-groups", "cat"}
	if out, code := p.try(t, append(as, secretFile)...); code == 0 {
		t.Errorf("the agent's user reads root's file: %q", out)
	}
	if out, code := p.try(t, append(as, dir+"/nats.creds")...); code != 0 || out != text+"\n" {
		t.Errorf("the agent's user does not read its credential: exit %d, %q", code, out)
	}
}
