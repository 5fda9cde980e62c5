package persist

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/ctwarden/ctwarden/remediate"
	"github.com/ctwarden/ctwarden/remediate/apply"
)

const (
	sysctlFile = "etc/sysctl.d/99-zz-ctwarden.conf"
	moduleFile = "etc/modules-load.d/ctwarden.conf"
)

// step is one that may be persisted: the kernel below the scratch root has its limit.
var step = remediate.Step{ID: "20260304T050607.000000-1", IncidentID: "0123abcd", From: 65536, To: 131072, Reason: remediate.ReasonFull}

// host is a scratch root with a helper behind a socket.
type host struct {
	root, socket string
	helper       Helper
	served       chan error // what each request came to, as the helper's log has it
}

func newHost(t *testing.T) *host {
	t.Helper()
	h := &host{root: t.TempDir(), served: make(chan error, 16)}
	for key, value := range map[string]int{"netfilter/nf_conntrack_max": 131072, "nf_conntrack_max": 131072, "netfilter/nf_conntrack_buckets": 16384} {
		h.plant(t, "proc/sys/net/"+key, fmt.Sprintln(value))
	}
	applier, err := apply.New(apply.Config{
		Root: h.root, PersistFile: "/" + sysctlFile, ModuleFile: "/" + moduleFile, Host: "node7", MachineID: "m", Version: "1.2.3",
		Fail: func(stage string) { h.helper.at(stage) },
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { applier.Close() })
	policy := remediate.DefaultPolicy()
	policy.Mode, policy.Ceiling = remediate.ModeRemediate, 200000
	h.helper = Helper{Applier: applier, Policy: policy, Users: []uint32{uint32(os.Geteuid())}}
	return h
}

func (h *host) plant(t *testing.T, name, text string) {
	t.Helper()
	file := filepath.Join(h.root, name)
	if err := errors.Join(os.MkdirAll(filepath.Dir(file), 0o755), os.WriteFile(file, []byte(text), 0o644)); err != nil {
		t.Fatal(err)
	}
}

func (h *host) text(name string) string {
	text, err := os.ReadFile(filepath.Join(h.root, name))
	if err != nil {
		return ""
	}
	return string(text)
}

// listen serves connections one after the other, as the socket unit has them served each by a process of its own.
func (h *host) listen(t *testing.T) Client {
	t.Helper()
	if h.socket == "" {
		h.socket = filepath.Join(t.TempDir(), "s")
	}
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: h.socket, Net: "unix"})
	if err != nil {
		t.Fatal(err)
	}
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		for {
			conn, err := l.AcceptUnix()
			if err != nil {
				return
			}
			_, err = h.helper.Serve(conn)
			h.served <- errors.Join(err, conn.Close())
		}
	}()
	t.Cleanup(func() { l.Close(); <-ended })
	return NewClient(h.socket)
}

// TestBothWays has the agent's end and an applier of its own do the same, with the same outcome.
func TestBothWays(t *testing.T) {
	type lasting interface {
		Persist(remediate.Step, apply.PersistMeta) (apply.Persistence, error)
		Unpersist() (bool, error)
	}
	for _, way := range []string{"itself", "helper"} {
		t.Run(way, func(t *testing.T) {
			h := newHost(t)
			var l lasting = h.helper.Applier
			if way == "helper" {
				c := h.listen(t)
				if !c.There() {
					t.Fatal("there is no socket")
				}
				l = c
			}
			p, err := l.Persist(step, apply.PersistMeta{Buckets: 16384})
			if err != nil || p.Path != "/"+sysctlFile || p.Max != 131072 || p.Buckets != 16384 || p.Kept || p.LoadsLate != "" {
				t.Errorf("%+v, %v", p, err)
			}
			for _, line := range []string{"net.netfilter.nf_conntrack_max = 131072", "net.nf_conntrack_max = 131072",
				"net.netfilter.nf_conntrack_buckets = 16384", "# step: " + step.ID, "# incident: 0123abcd", "# host: node7",
				"# limit: from 65536 to 131072 entries", "# why: full (the kernel is refusing connections)"} {
				if !strings.Contains(h.text(sysctlFile), line+"\n") {
					t.Errorf("%q is not in\n%s", line, h.text(sysctlFile))
				}
			}
			if !strings.HasSuffix(h.text(moduleFile), "\nnf_conntrack\n") {
				t.Errorf("module: %q", h.text(moduleFile))
			}
			h.plant(t, "etc/sysctl.d/10-a.conf", "net.netfilter.nf_conntrack_max = 150000\n")
			p, err = l.Persist(step, apply.PersistMeta{})
			if err != nil || p.Withdrawn == nil || p.Withdrawn.By != "/etc/sysctl.d/10-a.conf:1" || p.Withdrawn.Value != 150000 || p.Path != "" {
				t.Errorf("%+v, %v", p, err)
			}
			if removed, err := l.Unpersist(); removed || err != nil {
				t.Errorf("nothing to remove: %v, %v", removed, err)
			}
			h.plant(t, "etc/sysctl.d/10-a.conf", "net.netfilter.nf_conntrack_max = 70000\n")
			h.plant(t, "etc/sysctl.d/zz.conf", "net.netfilter.nf_conntrack_max = 80000\n")
			p, err = l.Persist(step, apply.PersistMeta{})
			if err != nil || len(p.Overridden) != 2 || p.Overridden[0].By != "/etc/sysctl.d/zz.conf:1" || p.Overridden[1].Loader.String() != "sysctl --system" {
				t.Errorf("%+v, %v", p, err)
			}
			if removed, err := l.Unpersist(); !removed || err != nil || h.text(sysctlFile) != "" || h.text(moduleFile) != "" {
				t.Errorf("%v, %v: %q, %q", removed, err, h.text(sysctlFile), h.text(moduleFile))
			}
		})
	}
}

// TestHashIsTheKernels: the agent cannot have a size of its own persisted.
func TestHashIsTheKernels(t *testing.T) {
	h := newHost(t)
	c := h.listen(t)
	if p, err := c.Persist(step, apply.PersistMeta{Buckets: 512}); err != nil || p.Buckets != 16384 {
		t.Errorf("%+v, %v", p, err)
	}
}

func TestHelperRefuses(t *testing.T) {
	tests := []struct {
		name   string
		change func(h *host)
		step   func(s *remediate.Step)
		code   string
	}{
		{"another user", func(h *host) { h.helper.Users = []uint32{uint32(os.Geteuid()) + 1} }, nil, CodePeer},
		{"another limit than the kernel's", nil, func(s *remediate.Step) { s.To = 131073 }, CodeChanged},
		{"one name has another", func(h *host) { h.plant(t, "proc/sys/net/nf_conntrack_max", "65536\n") }, nil, CodeChanged},
		{"above the ceiling", func(h *host) { h.helper.Policy.Ceiling = 131071 }, nil, CodeCeiling},
		{"by hand above the ceiling", func(h *host) { h.helper.Policy.Ceiling = 131071 }, func(s *remediate.Step) { s.Reason = remediate.ReasonManual }, CodeCeiling},
		{"observing", func(h *host) { h.helper.Policy.Mode = remediate.ModeObserve }, nil, CodeMode},
		{"persist: false", func(h *host) { h.helper.Policy.Persist = false }, nil, CodeOff},
		{"persist: false, by hand", func(h *host) { h.helper.Policy.Persist = false }, func(s *remediate.Step) { s.Reason = remediate.ReasonManual }, CodeOff},
		{"no table", func(h *host) { os.RemoveAll(filepath.Join(h.root, "proc")) }, nil, CodeFailed},
		{"a file of somebody else's", func(h *host) { h.plant(t, sysctlFile, "kernel.panic = 1\n") }, nil, CodeFailed},
		{"a link to a file of ours", func(h *host) {
			h.plant(t, "etc/elsewhere", "# ctwarden-persisted: 1\n")
			h.plant(t, "etc/sysctl.d/x.conf", "")
			if err := os.Symlink("../elsewhere", filepath.Join(h.root, sysctlFile)); err != nil {
				t.Fatal(err)
			}
		}, nil, CodeFailed},
		{"a limit that no kernel takes", nil, func(s *remediate.Step) { s.To = remediate.MaxLimit + 1 }, CodeRequest},
		{"unlimited", nil, func(s *remediate.Step) { s.To = 0 }, CodeRequest},
		{"a reason of its own", nil, func(s *remediate.Step) { s.Reason = "x\nkernel.core_pattern = |/tmp/x" }, CodeRequest},
		{"a reason not to step", nil, func(s *remediate.Step) { s.Reason = remediate.ReasonHeld }, CodeRequest},
		{"an id of its own", nil, func(s *remediate.Step) { s.ID = "a\nkernel.core_pattern = |/tmp/x" }, CodeRequest},
		{"an incident of its own", nil, func(s *remediate.Step) { s.IncidentID = "a b" }, CodeRequest},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			h, s := newHost(t), step
			if tt.change != nil {
				tt.change(h)
			}
			if tt.step != nil {
				tt.step(&s)
			}
			before := h.tree(t)
			_, err := h.listen(t).Persist(s, apply.PersistMeta{})
			var refusal *Refusal
			if !errors.As(err, &refusal) || refusal.Code != tt.code || refusal.Text == "" {
				t.Errorf("%v, want the code %s", err, tt.code)
			}
			if err := <-h.served; err == nil {
				t.Error("the helper's log does not say it")
			}
			if after := h.tree(t); after != before {
				t.Errorf("before\n%s\nafter\n%s", before, after)
			}
		})
	}
}

// tree is every file below etc with its text.
func (h *host) tree(t *testing.T) string {
	t.Helper()
	var b strings.Builder
	err := filepath.Walk(filepath.Join(h.root, "etc"), func(name string, info os.FileInfo, err error) error {
		if err != nil || info.IsDir() {
			return nil
		}
		text, err := os.ReadFile(name)
		fmt.Fprintf(&b, "%s %v %v\n%s\n", name, info.Mode(), info.ModTime(), text)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return b.String()
}

func TestHelperAllows(t *testing.T) {
	had := "# ctwarden-persisted: 1\n# machine id: m\nnet.netfilter.nf_conntrack_max = 262144\nnet.nf_conntrack_max = 262144\n"
	down := remediate.Step{ID: "s.undo", From: 262144, To: 131072, Reason: remediate.ReasonManual}
	tests := []struct {
		name   string
		change func(h *host)
		step   remediate.Step
	}{
		{"a step by hand in mode observe", func(h *host) { h.helper.Policy.Mode = remediate.ModeObserve },
			remediate.Step{ID: "s", From: 65536, To: 131072, Reason: remediate.ReasonManual}},
		{"as much as the ceiling", func(h *host) { h.helper.Policy.Ceiling = 131072 }, step},
		{"back to less, above the ceiling", func(h *host) { h.plant(t, sysctlFile, had); h.helper.Policy.Ceiling = 1000 }, down},
		{"back to less, observing and persist: false", func(h *host) {
			h.plant(t, sysctlFile, had)
			h.helper.Policy.Mode, h.helper.Policy.Persist = remediate.ModeObserve, false
		}, down},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			h := newHost(t)
			tt.change(h)
			p, err := h.listen(t).Persist(tt.step, apply.PersistMeta{})
			if err != nil || p.Max != 131072 || !strings.Contains(h.text(sysctlFile), "_max = 131072\n") {
				t.Errorf("%+v, %v:\n%s", p, err, h.text(sysctlFile))
			}
		})
	}
}

// TestHostileLines sends what no agent does.
func TestHostileLines(t *testing.T) {
	good := `{"do":"persist","from":65536,"to":131072,"reason":"full","step":"s"}`
	tests := []struct {
		name, line string
		hangUp     bool
	}{
		{"nothing", "", true},
		{"nothing, and silence", "", false},
		{"half a line, and silence", good, false},
		{"half a line, and gone", good[:30], true},
		{"an empty line", "\n", false},
		{"huge", strings.Repeat("a", 10*maxRequest), false},
		{"huge JSON", `{"do":"persist","step":"` + strings.Repeat("a", 1<<20) + `"}` + "\n", false},
		{"deep JSON", strings.Repeat("[", 1000) + "\n", false},
		{"binary", "\x00\xff\xfe\x01\n", false},
		{"another word", `{"do":"write"}` + "\n", false},
		{"a field of its own", strings.Replace(good, `"step"`, `"path":"/etc/passwd","step"`, 1) + "\n", false},
		{"a number that is text", strings.Replace(good, `131072`, `"131072"`, 1) + "\n", false},
		{"a negative number", strings.Replace(good, `131072`, `-131072`, 1) + "\n", false},
		{"a broken number", strings.Replace(good, `131072`, `131072.5`, 1) + "\n", false},
		{"too large a number", strings.Replace(good, `131072`, `99999999999999999999`, 1) + "\n", false},
		{"two requests in a line", good + good + "\n", false},
		{"a withdrawal with a limit", `{"do":"withdraw","to":131072}` + "\n", false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			h := newHost(t)
			h.plant(t, sysctlFile, "# ctwarden-persisted: 1\n# machine id: m\nnet.netfilter.nf_conntrack_max = 65536\nnet.nf_conntrack_max = 65536\n")
			h.helper.within = 100 * time.Millisecond
			before := h.tree(t)
			h.listen(t)
			conn, err := net.DialUnix("unix", nil, &net.UnixAddr{Name: h.socket, Net: "unix"})
			if err != nil {
				t.Fatal(err)
			}
			defer conn.Close()
			_, _ = io.WriteString(conn, tt.line) // the helper may have hung up
			if tt.hangUp {
				if err := conn.CloseWrite(); err != nil {
					t.Fatal(err)
				}
			}
			err = <-h.served
			var refusal *Refusal
			if !errors.As(err, &refusal) || refusal.Code != CodeRequest {
				t.Errorf("%v, want the code %s", err, CodeRequest)
			}
			text, err := io.ReadAll(io.LimitReader(conn, 4*maxRequest))
			if err != nil && !bytes.Contains(text, []byte("\n")) || !bytes.HasPrefix(text, []byte(`{"refusal":{"code":"request",`)) {
				t.Errorf("answered %q, %v", text, err)
			}
			if after := h.tree(t); after != before {
				t.Errorf("before\n%s\nafter\n%s", before, after)
			}
		})
	}
}

// TestClientGivesUp has a helper that does not answer as it should.
func TestClientGivesUp(t *testing.T) {
	tests := []struct {
		name, answer string
		hangUp       bool
		want         string
	}{
		{"silence", "", false, "i/o timeout"},
		{"gone", "", true, "no answer"},
		{"half an answer", `{"withdrawal":{"removed":true}}`, true, "no answer"},
		{"no JSON", "yes\n", false, "not understood"},
		{"nothing in it", "{}\n", false, "not understood"},
		{"a field of its own", `{"withdrawal":{"removed":true},"x":1}` + "\n", false, "not understood"},
		{"without end", strings.Repeat("a", 2*maxAnswer), false, "no answer"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			socket := filepath.Join(t.TempDir(), "s")
			l, err := net.Listen("unix", socket)
			if err != nil {
				t.Fatal(err)
			}
			given, ended := make(chan struct{}), make(chan struct{})
			go func() {
				defer close(ended)
				conn, err := l.Accept()
				if err != nil {
					return
				}
				_, _ = io.WriteString(conn, tt.answer) // the client may have given up
				if !tt.hangUp {
					<-given
				}
				conn.Close()
			}()
			c := Client{socket: socket, within: 200 * time.Millisecond}
			removed, err := c.Unpersist()
			if removed || err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("%v, %v, want %q", removed, err, tt.want)
			}
			if late := errors.Is(err, os.ErrDeadlineExceeded); late != (tt.name == "silence") { // the agent looks then
				t.Errorf("%v: too late: %v", err, late)
			}
			close(given)
			l.Close()
			<-ended
		})
	}
	c := NewClient(filepath.Join(t.TempDir(), "none"))
	if _, err := c.Unpersist(); c.There() || err == nil || !strings.Contains(err.Error(), "ctwarden-persist.socket") {
		t.Errorf("without a socket: %v", err)
	}
}

func FuzzRequest(f *testing.F) {
	for _, seed := range []string{
		`{"do":"persist","from":65536,"to":131072,"hash":true,"reason":"full","step":"20260304T050607.000000-1","incident":"0123abcd"}`,
		`{"do":"withdraw"}`, `{"do":"persist","to":1,"reason":"manual"}`, `{"do":"persist","to":2147483648,"reason":"full"}`,
		`{"do":"persist","to":1,"reason":"held"}`, `{"do":"withdraw","to":1}`, `{}`, ``, `[]`, `null`, "{\"do\":\"persist\",\"step\":\"a\\n\"}",
		`{"do":"withdraw"}{"do":"withdraw"}`, `{"DO":"withdraw"}`, `{"do":"persist","do":"withdraw"}`,
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, line []byte) {
		r, err := parseRequest(line)
		if err != nil {
			var refusal *Refusal
			if !errors.As(err, &refusal) || refusal.Code != CodeRequest || r != (request{}) {
				t.Fatalf("%+v, %v", r, err)
			}
			return
		}
		switch {
		case r.Do == doWithdraw && r == request{Do: doWithdraw}:
		case r.Do != doPersist, r.To == 0, max(r.From, r.To) > remediate.MaxLimit, r.Reason.Text() == "":
			t.Fatalf("let through: %+v", r)
		}
		for _, id := range []string{r.Step, r.Incident} {
			if len(id) > 100 || strings.ContainsAny(id, "\n\r =/#\x00") {
				t.Fatalf("let through: %q", id)
			}
		}
	})
}
