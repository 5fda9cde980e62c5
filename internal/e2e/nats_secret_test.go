package e2e

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"math/big"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/nats-io/jwt/v2"
	"github.com/nats-io/nkeys"

	"github.com/ctwarden/ctwarden/internal/testhost"
	"github.com/ctwarden/ctwarden/notify"
)

// secretCase is an agent with a secret in one of the places where one can stand.
type secretCase struct {
	name    string
	nats    string // the section nats of its configuration
	env     []string
	secrets []string
	problem notify.Problem
}

// secretCases has secrets of every kind, each in the face of a server that makes trouble over it.
func secretCases(t *testing.T) []secretCase {
	t.Helper()
	locked := startNATS(t, nil)
	locked.stop() // from now on it asks who is there
	locked.opts.Username, locked.opts.Password = "nobody", "knows"
	locked.start()
	away := "nats://" + freeAddress(t)
	dir := t.TempDir()
	creds, token, seed := credentialsFile(t)
	writeFile(t, filepath.Join(dir, "agent.creds"), creds, 0o600)
	writeFile(t, filepath.Join(dir, "broken.creds"), "-----BEGIN NATS USER JWT-----\n"+token+"\n------END\n"+seed+"x\n", 0o600)
	key, lines := keyPair(t, dir)
	return []secretCase{
		{name: "password", nats: "servers: ['" + guarded(locked.bare, "agent:Hunter2-pass") + "']",
			secrets: []string{"Hunter2-pass"}, problem: notify.ProblemCredentials},
		{name: "token", nats: "servers: ['" + guarded(locked.bare, "Hunter2-token") + "']",
			secrets: []string{"Hunter2-token"}, problem: notify.ProblemCredentials},
		{name: "several and a comma in one", nats: "servers: ['" + guarded(away, "agent:Hunter2,pass") + "', '" + guarded(away, "Hunter2-token") + "']",
			secrets: []string{"Hunter2"}, problem: notify.ProblemUnreachable},
		{name: "credentials", nats: fmt.Sprintf("servers: ['%s'], credentials: %s/agent.creds", locked.bare, dir),
			secrets: []string{token, seed}, problem: notify.ProblemCredentials},
		{name: "credentials of systemd", nats: fmt.Sprintf("servers: ['%s'], credentials: agent.creds", locked.bare),
			env: []string{"CREDENTIALS_DIRECTORY=" + dir}, secrets: []string{token, seed}, problem: notify.ProblemCredentials},
		{name: "broken credentials", nats: fmt.Sprintf("servers: ['%s'], credentials: %s/broken.creds", locked.bare, dir),
			secrets: []string{token, seed}, problem: ""},
		{name: "key", nats: fmt.Sprintf("servers: ['%s'], tls: {ca: %s.pem, cert: %s.pem, key: %s}", locked.bare, key, key, key),
			secrets: lines, problem: notify.ProblemTLS},
	}
}

func credentialsFile(t *testing.T) (text, token, seed string) {
	t.Helper()
	account, err := nkeys.CreateAccount()
	if err != nil {
		t.Fatal(err)
	}
	user, err := nkeys.CreateUser()
	if err != nil {
		t.Fatal(err)
	}
	public, err := user.PublicKey()
	if err != nil {
		t.Fatal(err)
	}
	if token, err = jwt.NewUserClaims(public).Encode(account); err != nil {
		t.Fatal(err)
	}
	raw, err := user.Seed()
	if err != nil {
		t.Fatal(err)
	}
	file, err := jwt.FormatUserConfig(token, raw)
	if err != nil {
		t.Fatal(err)
	}
	return string(file), token, string(raw)
}

// keyPair writes a key, and beside it a certificate, and returns the key's path and the lines of its text.
func keyPair(t *testing.T, dir string) (path string, lines []string) {
	t.Helper()
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour)}
	cert, err := x509.CreateCertificate(rand.Reader, template, template, private.Public(), private)
	if err != nil {
		t.Fatal(err)
	}
	der, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		t.Fatal(err)
	}
	text := pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der})
	path = filepath.Join(dir, "agent.key")
	writeFile(t, path, string(text), 0o600)
	writeFile(t, path+".pem", string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: cert})), 0o644)
	for line := range strings.Lines(string(text)) {
		if !strings.HasPrefix(line, "---") {
			lines = append(lines, strings.TrimSpace(line))
		}
	}
	return path, lines
}

// TestPromiseSecrets looks for secrets in all that an agent lets be seen.
func TestPromiseSecrets(t *testing.T) {
	cases := secretCases(t)
	var looked atomic.Int64
	t.Run("all", func(t *testing.T) {
		var g sync.WaitGroup
		for _, c := range cases {
			g.Go(func() { t.Run(c.name, func(t *testing.T) { looked.Add(int64(c.play(t))) }) })
		}
		g.Wait()
	})
	testhost.Held(t, "7.7 secrets stay secret", "%d kinds of secret, %d bytes of log, status, metrics, state, events, command line and environment: found 0",
		len(cases), looked.Load())
}

// play returns how much was looked at.
func (c secretCase) play(t *testing.T) int {
	a := newObserver(t, c.nats, "log: {level: debug}\n")
	a.env = c.env
	a.start(t)
	testhost.Eventually(t, "the status says what is wrong", func() bool {
		st := a.status(t).NATS
		return st.Error != "" && (c.problem == "" || st.Problem == c.problem)
	})
	var seen strings.Builder
	for _, args := range [][]string{{"status"}, {"status", "-o", "json"}, {"check-config"}, {"events"}} {
		said, _ := a.command(t, args...)
		seen.WriteString(said)
	}
	seen.WriteString(a.scrape(t))
	for _, name := range []string{"cmdline", "environ"} {
		text, err := os.ReadFile(fmt.Sprintf("/proc/%d/%s", a.cmd.Process.Pid, name))
		if err != nil {
			t.Fatal(err)
		}
		seen.Write(text)
	}
	a.stop(t, syscall.SIGTERM)
	state, err := os.ReadFile(filepath.Join(a.dir, "state", "state.db")) // with the events
	if err != nil {
		t.Fatal(err)
	}
	seen.Write(state)
	seen.WriteString(a.output.String())
	for _, secret := range c.secrets {
		if strings.Contains(seen.String(), secret) {
			t.Errorf("%q shows in:\n%s", secret, seen.String())
		}
	}
	return seen.Len()
}

// TestPromiseExposedSecrets has files with secrets that every user may read. No program of ours works with them.
func TestPromiseExposedSecrets(t *testing.T) {
	dir := t.TempDir()
	creds, _, _ := credentialsFile(t)
	open := filepath.Join(dir, "open.creds")
	writeFile(t, open, creds, 0o644)
	if err := os.Chmod(open, 0o644); err != nil { // whatever the umask
		t.Fatal(err)
	}
	refused := 0
	for _, c := range []struct{ name, nats, want string }{
		{"credentials", "servers: ['nats://127.0.0.1:1'], credentials: " + open, "be read by every user"},
		{"password", "servers: ['nats://agent:Hunter2-pass@127.0.0.1:1']", "this file may be read by every user"},
		{"token", "servers: ['nats://Hunter2-token@127.0.0.1:1']", "this file may be read by every user"},
	} {
		for _, program := range []string{"ctwarden", "ctwarden-hub"} {
			for _, command := range []string{"check-config", "run"} {
				t.Run(c.name+" "+program+" "+command, func(t *testing.T) {
					path := filepath.Join(t.TempDir(), "config.yaml")
					writeFile(t, path, "nats: {"+c.nats+"}\n", 0o644)
					args := []string{filepath.Join(bin, program), "check-config", path}
					if command == "run" {
						args = []string{filepath.Join(bin, program), map[string]string{"ctwarden": "run", "ctwarden-hub": "serve"}[program], "--config", path}
					}
					said, code := runToEnd(t, args...)
					if code != 2 || !strings.Contains(said, c.want) || strings.Contains(said, "Hunter2") {
						t.Errorf("exit code %d, want 2 and %q and no secret in:\n%s", code, c.want, said)
					}
					refused++
				})
			}
		}
	}
	testhost.Held(t, "7.8 exposed secrets refused", "%d of %d commands refused a secret that every user may read", refused, refused)
}

// TestCredentialsReplaced has the file with the right credentials put in place under a running agent.
func TestCredentialsReplaced(t *testing.T) {
	p := startNATS(t, nil)
	dir := t.TempDir()
	file := filepath.Join(dir, "agent.creds")
	a := newObserver(t, fmt.Sprintf("servers: ['%s'], credentials: agent.creds", p.bare), "")
	a.env = []string{"CREDENTIALS_DIRECTORY=" + dir}
	a.start(t) // the host is looked after without
	a.troubled(t, false, notify.ProblemFile, "no such file")
	creds, _, _ := credentialsFile(t)
	writeFile(t, file, creds, 0o600)
	a.well(t)
}
