package testkernel

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync/atomic"

	"golang.org/x/sys/unix"
)

const (
	// prefix starts the name of every namespace and device of this package; the process id follows.
	prefix = "ctw-"
	// tablePrefix starts the name of every nft table of this package; the process id follows.
	tablePrefix = "ctw_test_"
	netnsDir    = "/run/netns"
	// mark is on every entry that this package causes, so that those alone can be flushed in the first namespace.
	mark = 0x00c7a7e5
)

// sequence makes the names of this process's namespaces different.
var sequence atomic.Uint32

// Namespace is a network namespace that tracks connections and can send. Do not use it from two goroutines but for the
// readings (Count, Drops, EarlyDrops), which may be called beside a running Send.
type Namespace struct {
	// Name is the name below /run/netns; empty for the first namespace.
	Name string
	// Inode is the number that the kernel prints.
	Inode uint64
	// Device is the end of the veth that flows leave by.
	Device string

	sink  string // the namespace that the other end lies in
	table string
	next  atomic.Uint64 // the number of the next flow
}

// NewNamespace makes a scratch namespace that tracks, after deleting those of processes that are gone.
func NewNamespace(ctx context.Context) (*Namespace, error) {
	if err := sweep(ctx); err != nil {
		return nil, err
	}
	id := fmt.Sprintf("%d-%d", os.Getpid(), sequence.Add(1))
	ns := &Namespace{Name: prefix + id + "-t"}
	if err := run(ctx, "", "ip", "netns", "add", ns.Name); err != nil {
		return nil, err
	}
	if err := ns.setUp(ctx, id); err != nil {
		return nil, errors.Join(err, ns.Close())
	}
	return ns, nil
}

// FirstNamespace makes this process's own namespace track and gives it a way to send, until Release. Only loopback and
// the package's own device are tracked: the machine's other traffic is none of our business.
func (l *Lock) FirstNamespace(ctx context.Context) (*Namespace, error) {
	if l.first != nil {
		return l.first, nil
	}
	if err := sweep(ctx); err != nil {
		return nil, err
	}
	ns := &Namespace{}
	if err := ns.setUp(ctx, fmt.Sprintf("%d-%d", os.Getpid(), sequence.Add(1))); err != nil {
		return nil, errors.Join(err, ns.Close())
	}
	l.first = ns
	return ns, nil
}

// setUp joins the namespace by a veth to one of its own that swallows everything, and makes it track.
func (n *Namespace) setUp(ctx context.Context, id string) error {
	sink, device := prefix+id+"-s", "ctw"+strings.ReplaceAll(id, "-", "v")
	if err := run(ctx, "", "ip", "netns", "add", sink); err != nil {
		return err
	}
	n.sink, n.Device = sink, device
	var err error
	if n.Inode, err = inode(n.path()); err != nil {
		return err
	}
	// The other end stays down, so that every packet is thrown away behind the hook that confirms its entry. That is
	// faster than delivering it, and nothing can answer.
	for _, line := range []string{
		"link add " + device + " type veth peer name sink netns " + sink,
		"link set lo up",
		"link set " + device + " up",
		"addr add 198.18.0.1/32 dev " + device,
		"neigh add 198.18.0.2 lladdr 02:00:00:00:00:01 dev " + device + " nud permanent",
		"route add 198.18.0.0/15 via 198.18.0.2 dev " + device + " onlink",
		"-6 neigh add fe80::2 lladdr 02:00:00:00:00:01 dev " + device + " nud permanent",
		"-6 route add fd63:7477::/64 via fe80::2 dev " + device + " onlink",
	} {
		if err := n.ip(ctx, line); err != nil {
			return err
		}
	}
	n.next.Store(rand.Uint64N(1 << 32))
	n.table = tablePrefix + strings.ReplaceAll(id, "-", "_")
	return n.nft(ctx, ruleset(n.table))
}

// ruleset makes the kernel track: a rule that asks for the state is enough. What is neither ours nor loopback is left
// alone, and what we caused carries our mark.
func ruleset(table string) string {
	return `table inet ` + table + ` {
	chain before_in {
		type filter hook prerouting priority raw; policy accept;
		iifname != "lo" iifname != "ctw*" notrack
	}
	chain before_out {
		type filter hook output priority raw; policy accept;
		oifname != "lo" oifname != "ctw*" notrack
	}
	chain out {
		type filter hook output priority filter; policy accept;
		oifname "ctw*" ct state new ct mark set ` + strconv.Itoa(mark) + ` accept
	}
}
`
}

// Close removes everything that was set up, and the entries. It does all of it whatever fails, and may be called
// again.
func (n *Namespace) Close() error {
	ctx := context.Background() // cleaning up is not to be cut short
	var errs []error
	if n.table != "" && n.Name == "" {
		errs = append(errs, n.Flush(), n.nft(ctx, "delete table inet "+n.table))
	}
	n.table = ""
	for _, name := range []string{n.sink, n.Name} {
		if name == "" {
			continue
		}
		if _, err := os.Stat(filepath.Join(netnsDir, name)); err == nil {
			errs = append(errs, run(ctx, "", "ip", "netns", "del", name))
		}
	}
	n.sink = ""
	return errors.Join(errs...)
}

// path is the file that stands for the namespace.
func (n *Namespace) path() string {
	if n.Name == "" {
		return "/proc/self/ns/net"
	}
	return filepath.Join(netnsDir, n.Name)
}

// ip runs ip(8) on the namespace; arguments are parted by blanks.
func (n *Namespace) ip(ctx context.Context, line string) error {
	args := strings.Fields(line)
	if n.Name != "" {
		args = append([]string{"-n", n.Name}, args...)
	}
	return run(ctx, "", "ip", args...)
}

func (n *Namespace) nft(ctx context.Context, script string) error {
	if n.Name == "" {
		return run(ctx, script, "nft", "-f", "-")
	}
	return run(ctx, script, "ip", "netns", "exec", n.Name, "nft", "-f", "-")
}

// sweep deletes the namespaces of processes that are gone.
func sweep(ctx context.Context) error {
	names, err := filepath.Glob(filepath.Join(netnsDir, prefix+"*"))
	if err != nil {
		return fmt.Errorf("look for old namespaces: %w", err)
	}
	for _, path := range names {
		name := filepath.Base(path)
		pid, _, _ := strings.Cut(strings.TrimPrefix(name, prefix), "-")
		if alive(pid) {
			continue
		}
		if err := run(ctx, "", "ip", "netns", "del", name); err != nil {
			return err
		}
	}
	return nil
}

// removeTables deletes the tables that a killed process left in the first namespace. Only the holder of the lock has
// one there, so all are left-overs.
func removeTables(ctx context.Context) error {
	list, err := exec.CommandContext(ctx, "nft", "list", "tables", "inet").Output()
	if err != nil {
		return fmt.Errorf("list the nft tables: %w", err)
	}
	for line := range strings.Lines(string(list)) {
		name := strings.TrimPrefix(strings.TrimSpace(line), "table inet ")
		if !strings.HasPrefix(name, tablePrefix) {
			continue
		}
		if err := run(ctx, "delete table inet "+name, "nft", "-f", "-"); err != nil {
			return err
		}
	}
	return nil
}

// alive tells whether the process is there. What is no process id is not ours to delete, so it counts as alive.
func alive(pid string) bool {
	n, err := strconv.Atoi(pid)
	if err != nil || n <= 0 {
		return true
	}
	return !errors.Is(unix.Kill(n, 0), unix.ESRCH)
}

func inode(path string) (uint64, error) {
	var st unix.Stat_t
	if err := unix.Stat(path, &st); err != nil {
		return 0, fmt.Errorf("stat %s: %w", path, err)
	}
	return st.Ino, nil
}

// run runs a program to its end; its error has what the program said.
func run(ctx context.Context, stdin, name string, args ...string) error {
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Stdin = strings.NewReader(stdin)
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("%s %s: %w: %s", name, strings.Join(args, " "), err, strings.TrimSpace(string(out)))
	}
	return nil
}
