package agent

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/zap"

	"github.com/ctwarden/ctwarden/internal/testhost"
	"github.com/ctwarden/ctwarden/remediate"
)

// fakeController answers as the loop would and notes what it was told.
type fakeController struct {
	mu    sync.Mutex
	told  []Command
	reply Reply
	err   error
}

func (f *fakeController) Status(context.Context) (Status, error) {
	return Status{Running: true, Host: "web1", Limits: remediate.Limits{Max: 65536}}, f.err
}

func (f *fakeController) Do(_ context.Context, c Command) (Reply, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.told = append(f.told, c)
	return f.reply, f.err
}

func (f *fakeController) last() Command {
	f.mu.Lock()
	defer f.mu.Unlock()
	if len(f.told) == 0 {
		return Command{}
	}
	return f.told[len(f.told)-1]
}

// serveControl runs a control socket until the test ends.
func serveControl(t *testing.T, cfg ControlConfig) {
	t.Helper()
	cfg.Log = zap.NewNop()
	c, err := ListenControl(cfg)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- c.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("control: %v", err)
		}
		if _, err := os.Lstat(cfg.Path); !errors.Is(err, os.ErrNotExist) {
			t.Errorf("the socket is still there: %v", err)
		}
	})
}

func TestControlRoundTrip(t *testing.T) {
	self := userName(uint32(os.Getuid()))
	step := &remediate.Step{From: 65536, To: 131072, Reason: remediate.ReasonManual}
	tests := []struct {
		name  string
		cmd   Command
		reply Reply
		want  Command
	}{
		{"raise", Command{Verb: VerbRaise, To: 131072}, Reply{Done: true, Step: step}, Command{Verb: VerbRaise, To: 131072, By: self}},
		{"raise refused", Command{Verb: VerbRaise, To: 9}, Reply{Reason: remediate.ReasonAtCeiling, Text: "no"}, Command{Verb: VerbRaise, To: 9, By: self}},
		{"revert", Command{Verb: VerbRevert}, Reply{Done: true}, Command{Verb: VerbRevert, By: self}},
		{"revert all", Command{Verb: VerbRevert, All: true}, Reply{Done: true}, Command{Verb: VerbRevert, All: true, By: self}},
		{"hold", Command{Verb: VerbHold, By: "ann\n"}, Reply{Done: true}, Command{Verb: VerbHold, By: "ann (as " + self + ")"}},
		{"hold for", Command{Verb: VerbHold, For: 2 * time.Hour}, Reply{Done: true}, Command{Verb: VerbHold, For: 2 * time.Hour, By: self}},
		{"unhold", Command{Verb: VerbUnhold}, Reply{Done: true}, Command{Verb: VerbUnhold, By: self}},
	}
	path := filepath.Join(testhost.PublicDir(t), "control.sock")
	ctl := &fakeController{}
	serveControl(t, ControlConfig{Path: path, Controller: ctl})
	client := NewClient(path)
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			ctl.reply = tt.reply
			got, err := client.Do(t.Context(), tt.cmd)
			if err != nil {
				t.Fatal(err)
			}
			if got.Done != tt.reply.Done || got.Reason != tt.reply.Reason || got.Text != tt.reply.Text || (got.Step == nil) != (tt.reply.Step == nil) {
				t.Errorf("got reply %+v, want %+v", got, tt.reply)
			}
			tt.want.UID = uint32(os.Getuid())
			if told := ctl.last(); told != tt.want {
				t.Errorf("the controller was told %+v, want %+v", told, tt.want)
			}
		})
	}
	st, err := client.Status(t.Context())
	if err != nil || st.Host != "web1" || st.Limits.Max != 65536 {
		t.Errorf("status: %+v, %v", st, err)
	}
	ctl.err = errors.New("the loop is stuck")
	if _, err := client.Status(t.Context()); !errors.Is(err, ErrNoAnswer) || !strings.Contains(err.Error(), "stuck") {
		t.Errorf("got %v, want ErrNoAnswer with the reason", err)
	}
}

func TestControlRefusesBadRequests(t *testing.T) {
	path := filepath.Join(testhost.PublicDir(t), "control.sock")
	ctl := &fakeController{reply: Reply{Done: true}}
	serveControl(t, ControlConfig{Path: path, Controller: ctl})
	tests := []struct {
		name, method, path, body string
		want                     int
	}{
		{"unknown path", "GET", "/v1/nothing", "", 404},
		{"wrong method", "GET", "/v1/raise", "", 405},
		{"no number", "POST", "/v1/raise", "", 400},
		{"zero", "POST", "/v1/raise", `{"to":0}`, 400},
		{"too large", "POST", "/v1/raise", `{"to":2147483648}`, 400},
		{"negative", "POST", "/v1/raise", `{"to":-1}`, 400},
		{"unknown field", "POST", "/v1/raise", `{"to":5,"force":true}`, 400},
		{"a field of another verb", "POST", "/v1/unhold", `{"to":5}`, 400},
		{"two values", "POST", "/v1/revert", `{} {}`, 400},
		{"no JSON", "POST", "/v1/hold", `for=2h`, 400},
		{"no duration", "POST", "/v1/hold", `{"for":"soon"}`, 400},
		{"hold into the past", "POST", "/v1/hold", `{"for":"-1h"}`, 400},
		{"a long body", "POST", "/v1/hold", `{"by":"` + strings.Repeat("x", maxControlBody) + `"}`, 413},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if got := request(t, path, tt.method, tt.path, tt.body); got != tt.want {
				t.Errorf("got status %d, want %d", got, tt.want)
			}
		})
	}
	if told := ctl.last(); told.Verb != "" {
		t.Errorf("the controller was told %+v", told)
	}
}

func request(t *testing.T, socket, method, path, body string) int {
	t.Helper()
	tr := &http.Transport{DisableKeepAlives: true, DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, "unix", socket)
	}}
	req, err := http.NewRequestWithContext(t.Context(), method, "http://agent"+path, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	resp, err := tr.RoundTrip(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if _, err := io.Copy(io.Discard, resp.Body); err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode
}

func TestControlSocketFile(t *testing.T) {
	dir := testhost.PublicDir(t)
	path := filepath.Join(dir, "control.sock")
	log := zap.NewNop()
	t.Run("a stale socket is replaced", func(t *testing.T) {
		l, err := net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"})
		if err != nil {
			t.Fatal(err)
		}
		l.SetUnlinkOnClose(false)
		l.Close()
		serveControl(t, ControlConfig{Path: path, Controller: &fakeController{}})
		info, err := os.Stat(path)
		if err != nil || info.Mode().Perm() != 0o600 {
			t.Errorf("got %v, %v, want mode 0600", info, err)
		}
	})
	t.Run("a live one is refused", func(t *testing.T) {
		serveControl(t, ControlConfig{Path: path, Controller: &fakeController{}})
		_, err := ListenControl(ControlConfig{Path: path, Log: log})
		if !errors.Is(err, ErrAnotherAgent) {
			t.Errorf("got %v, want ErrAnotherAgent", err)
		}
		if _, err := NewClient(path).Status(t.Context()); err != nil {
			t.Errorf("the first one is gone: %v", err)
		}
	})
	t.Run("a file is not removed", func(t *testing.T) {
		file := filepath.Join(dir, "file")
		if err := os.WriteFile(file, []byte("keep"), 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := ListenControl(ControlConfig{Path: file, Log: log}); err == nil || !strings.Contains(err.Error(), "not a socket") {
			t.Errorf("got %v", err)
		}
		if data, err := os.ReadFile(file); err != nil || string(data) != "keep" {
			t.Errorf("got %q, %v", data, err)
		}
	})
	t.Run("no such group", func(t *testing.T) {
		_, err := ListenControl(ControlConfig{Path: path, Group: "no-such-group", Log: log})
		if err == nil || !strings.Contains(err.Error(), "no-such-group") {
			t.Errorf("got %v", err)
		}
	})
	t.Run("a path that is too long", func(t *testing.T) {
		_, err := ListenControl(ControlConfig{Path: filepath.Join(dir, strings.Repeat("x", 100)), Log: log})
		if err == nil || !strings.Contains(err.Error(), "runtime_dir") {
			t.Errorf("got %v", err)
		}
	})
	t.Run("nobody answers", func(t *testing.T) {
		for _, path := range []string{filepath.Join(dir, "none.sock"), filepath.Join(dir, "no", "dir.sock")} {
			if _, err := NewClient(path).Status(t.Context()); !errors.Is(err, ErrNotRunning) {
				t.Errorf("got %v, want ErrNotRunning", err)
			}
		}
	})
}

// TestControlAsOther asks the socket as the user nobody, once barred by the file's mode and once, with the mode
// opened, by the kernel's word about the peer alone.
func TestControlAsOther(t *testing.T) {
	testhost.NeedRoot(t)
	dir := testhost.PublicDir(t)
	tests := []struct {
		name  string
		group string
		mode  os.FileMode // 0: as the agent left it
		want  string
	}{
		{"barred by mode", "", 0, "not permitted: user nobody may not open"},
		{"barred by the peer check", "", 0o666, "not permitted: not permitted for user nobody; only root and root may"},
		{"barred outside the group", "daemon", 0o666, "not permitted: not permitted for user nobody; only root, root and the group daemon may"},
		{"let in with the group", "nogroup", 0, "web1"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if _, err := groupID(tt.group); err != nil {
				t.Skip(err)
			}
			path := filepath.Join(dir, "control.sock")
			serveControl(t, ControlConfig{Path: path, Group: tt.group, Controller: &fakeController{}})
			if tt.mode != 0 {
				if err := os.Chmod(path, tt.mode); err != nil {
					t.Fatal(err)
				}
			}
			if got := askAsNobody(t, path); !strings.HasPrefix(got, tt.want) {
				t.Errorf("got %q, want %q", got, tt.want)
			}
		})
	}
}

const peerHelperEnv = "CTWARDEN_TEST_PEER_SOCKET"

// TestControlPeerHelper is not a test: TestControlAsOther runs it in a process of another user.
func TestControlPeerHelper(t *testing.T) {
	path := os.Getenv(peerHelperEnv)
	if path == "" {
		return
	}
	st, err := NewClient(path).Status(t.Context())
	if err != nil {
		_, _ = io.WriteString(os.Stderr, err.Error())
		return
	}
	_, _ = io.WriteString(os.Stderr, st.Host)
}

func askAsNobody(t *testing.T, socket string) string {
	t.Helper()
	cmd := testhost.AsNobody(t, "TestControlPeerHelper", peerHelperEnv+"="+socket)
	var said strings.Builder
	cmd.Stderr = &said
	if err := cmd.Run(); err != nil {
		t.Fatalf("%v: %s", err, said.String())
	}
	return said.String()
}

func FuzzDecodeCommand(f *testing.F) {
	for _, seed := range []string{"", "{}", `{"to":524288}`, `{"all":true}`, `{"for":"2h","by":"ann"}`, `{"to":1e3}`, `{"to":1,"to":2}`,
		`[]`, `null`, `{"for":"99999999h"}`, `{"by":"\u0000"}`, "{} {}", "\xff"} {
		for _, verb := range []Verb{VerbRaise, VerbRevert, VerbHold, VerbUnhold} {
			f.Add(string(verb), []byte(seed))
		}
	}
	f.Fuzz(func(t *testing.T, verb string, body []byte) {
		cmd, err := decodeCommand(Verb(verb), body)
		if err != nil {
			return
		}
		if cmd.To > 1<<31-1 || cmd.For < 0 || cmd.For > maxHold || verb == string(VerbRaise) && cmd.To == 0 {
			t.Errorf("let through: %+v", cmd)
		}
		name := peer{uid: 12345}.name(cmd.By)
		if strings.ContainsAny(name, "\n\x00\x1b") || len(name) > 100 || !strings.Contains(name, "12345") {
			t.Errorf("by: %q", name)
		}
		again, err := json.Marshal(bodyOf(cmd))
		if err != nil {
			t.Fatal(err)
		}
		if back, err := decodeCommand(Verb(verb), again); err != nil || back.To != cmd.To || back.All != cmd.All || back.For != cmd.For {
			t.Errorf("%s: got %+v, %v, want %+v", again, back, err, cmd)
		}
	})
}
