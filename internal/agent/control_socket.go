package agent

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"os"
	"os/user"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// ErrAnotherAgent says that a live agent answers on the control socket.
var ErrAnotherAgent = errors.New("another agent runs here")

// MaxSocketPath is the kernel's limit on a unix socket's path, less the mark of the temporary name.
const MaxSocketPath = 106

// ListenControl opens the control socket, or says with [ErrAnotherAgent] that a live one is there.
func ListenControl(cfg ControlConfig) (*Control, error) {
	if cfg.Timeout <= 0 {
		cfg.Timeout = 10 * time.Second
	}
	gid, err := groupID(cfg.Group)
	if err != nil {
		return nil, err
	}
	l, err := listenSocket("control socket", cfg.Path, cfg.Group)
	if errors.Is(err, fs.ErrPermission) {
		return nil, fmt.Errorf("runtime_dir %s must belong to the user that the agent runs as: %w", filepath.Dir(cfg.Path), err)
	}
	if err != nil {
		return nil, err
	}
	return &Control{cfg: cfg, listener: l, access: access{own: uint32(os.Geteuid()), group: cfg.Group, gid: gid}}, nil
}

// listenSocket opens a unix socket for root, the agent's own user and a group. One that nobody answers on is left over
// from a crash and replaced; a live one is [ErrAnotherAgent]. The file gets its owner and mode before it gets its name,
// so that at no time somebody else can open it.
func listenSocket(what, path, group string) (*net.UnixListener, error) {
	gid, err := groupID(group)
	if err != nil {
		return nil, err
	}
	if len(path) > MaxSocketPath {
		return nil, fmt.Errorf("%s %s: the path is longer than %d bytes; choose a shorter one (runtime_dir)", what, path, MaxSocketPath)
	}
	if err := makeWay(what, path); err != nil {
		return nil, err
	}
	l, err := listenAs(path, gid)
	if err != nil {
		return nil, fmt.Errorf("%s %s: %w", what, path, err)
	}
	return l, nil
}

// makeWay fails unless path is free or a socket that nobody answers on.
func makeWay(what, path string) error {
	info, err := os.Lstat(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil
	case err != nil:
		return fmt.Errorf("%s: %w", what, err)
	case info.Mode().Type() != fs.ModeSocket:
		return fmt.Errorf("%s: %s exists and is not a socket; remove it or choose another place (runtime_dir)", what, path)
	}
	conn, err := net.DialTimeout("unix", path, time.Second)
	switch {
	case err == nil:
		conn.Close()
		return fmt.Errorf("%s %s: %w; stop it first, or give this one a runtime_dir of its own", what, path, ErrAnotherAgent)
	case errors.Is(err, syscall.ECONNREFUSED) || errors.Is(err, fs.ErrNotExist):
		return nil // nobody at the other end
	default:
		return fmt.Errorf("%s: %w", what, err)
	}
}

// listenAs binds under a temporary name, sets owner and mode, and then moves the socket to its name.
func listenAs(path string, gid int) (*net.UnixListener, error) {
	tmp := path + "~"
	if err := os.Remove(tmp); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: tmp, Net: "unix"})
	if err != nil {
		return nil, err
	}
	l.SetUnlinkOnClose(false)
	if err := expose(tmp, path, gid); err != nil {
		return nil, errors.Join(err, l.Close(), os.Remove(tmp))
	}
	return l, nil
}

func expose(tmp, path string, gid int) error {
	if err := os.Chmod(tmp, 0o600); err != nil {
		return err
	}
	if gid >= 0 {
		if err := shareWith(tmp, gid); err != nil {
			return fmt.Errorf("give it to control_group: %w", err)
		}
	}
	return os.Rename(tmp, path)
}

// Close gives the socket up where it is not run.
func (c *Control) Close() error {
	c.remove()
	return c.listener.Close()
}

// remove takes the socket's file away. A file that is not there any more needs no removing.
func (c *Control) remove() { _ = os.Remove(c.cfg.Path) }

// groupID is the number of a group; -1 for no group.
func groupID(name string) (int, error) {
	if name == "" {
		return -1, nil
	}
	g, err := user.LookupGroup(name)
	if err != nil {
		return -1, fmt.Errorf("control_group: there is no group %q; create it with groupadd, or leave control_group empty", name)
	}
	return strconv.Atoi(g.Gid)
}

// access says who may use the socket.
type access struct {
	own   uint32 // the agent's own user
	group string
	gid   int // -1: no group
}

// check fails unless the peer is root, the agent's user or a member of the group.
func (a access) check(p peer) error {
	switch {
	case p.err != nil:
		return fmt.Errorf("not permitted, since the kernel does not say who asks: %w", p.err)
	case p.elsewhere:
		return errors.New("not permitted for another host")
	case p.uid == 0 || p.uid == a.own:
		return nil
	case a.gid >= 0 && (int(p.gid) == a.gid || memberOf(p.uid, a.gid)):
		return nil
	case a.gid >= 0:
		return fmt.Errorf("not permitted for user %s; only root, %s and the group %s may", userName(p.uid), userName(a.own), a.group)
	default:
		return fmt.Errorf("not permitted for user %s; only root and %s may, or the members of control_group where it is set",
			userName(p.uid), userName(a.own))
	}
}

func memberOf(uid uint32, gid int) bool {
	u, err := user.LookupId(strconv.FormatUint(uint64(uid), 10))
	if err != nil {
		return false
	}
	groups, err := u.GroupIds()
	return err == nil && slices.Contains(groups, strconv.Itoa(gid))
}

// peer is who is at the other end of a connection, by the kernel's word.
type peer struct {
	uid, gid  uint32
	elsewhere bool // on another host, so that uid and gid say nothing; over TCP alone
	err       error
}

type peerKey struct{}

// withPeer notes who is at the other end of a connection.
func withPeer(ctx context.Context, conn net.Conn) context.Context {
	return asPeer(ctx, peerCredentials(conn))
}

func asPeer(ctx context.Context, p peer) context.Context { return context.WithValue(ctx, peerKey{}, p) }

func peerOf(ctx context.Context) peer {
	p, ok := ctx.Value(peerKey{}).(peer)
	if !ok {
		return peer{err: errors.New("nobody looked")}
	}
	return p
}

func peerCredentials(conn net.Conn) peer {
	if b, ok := conn.(*boundedConn); ok {
		if b.who != nil {
			return *b.who
		}
		conn = b.Conn
	}
	switch c := conn.(type) {
	case *net.UnixConn:
		return unixPeer(c)
	case *net.TCPConn:
		return tcpPeer(c)
	}
	return peer{err: errors.New("neither a unix socket nor TCP")}
}

func unixPeer(conn *net.UnixConn) peer {
	raw, err := conn.SyscallConn()
	if err != nil {
		return peer{err: err}
	}
	p := peer{}
	err = raw.Control(func(fd uintptr) {
		var cred *unix.Ucred
		if cred, p.err = unix.GetsockoptUcred(int(fd), unix.SOL_SOCKET, unix.SO_PEERCRED); p.err == nil {
			p.uid, p.gid = cred.Uid, cred.Gid
		}
	})
	return peer{uid: p.uid, gid: p.gid, err: errors.Join(err, p.err)}
}

// name is how an order's author is written down. Who the kernel reports always stands there; the name that the peer
// gave for itself (root may act for somebody) is added, stripped of anything but plain characters.
func (p peer) name(said string) string {
	known := userName(p.uid)
	said = strings.Map(func(r rune) rune {
		if r < ' ' || r == 0x7f || r > 0x7e {
			return -1
		}
		return r
	}, said)
	if said = said[:min(len(said), 64)]; said == "" || said == known {
		return known
	}
	return said + " (as " + known + ")"
}

// strictJSON decodes one JSON value and refuses unknown fields and anything behind it.
func strictJSON(data []byte, into any) error {
	dec := json.NewDecoder(bytes.NewReader(data))
	dec.DisallowUnknownFields()
	if err := dec.Decode(into); err != nil {
		return err
	}
	if _, err := dec.Token(); !errors.Is(err, io.EOF) {
		return errors.New("there is more behind the first value")
	}
	return nil
}
