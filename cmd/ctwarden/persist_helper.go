package main

import (
	"errors"
	"fmt"
	"net"
	"os"
	"os/user"
	"strconv"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"github.com/ctwarden/ctwarden/internal/agent"
	"github.com/ctwarden/ctwarden/internal/doctor"
	"github.com/ctwarden/ctwarden/internal/failpoint"
	"github.com/ctwarden/ctwarden/internal/persist"
	"github.com/ctwarden/ctwarden/remediate/apply"
)

// newPersistHelperCommand is for the unit ctwarden-persist@.service, and hidden from people.
func newPersistHelperCommand(std stdio) *cobra.Command {
	var path, name string
	cmd := &cobra.Command{
		Use:    "persist-helper",
		Hidden: true,
		Short:  "Make a limit last for an agent that is not root",
		Long: `Reads one request of the agent's from standard input, a unix socket, and answers there. It writes
remediate.persist_file where the limit is the one that the kernel has, within remediate.ceiling of the configuration.
The unit ctwarden-persist@.service runs it as root.

Exit code 0: done; 1: refused, with the reason.`,
		Example: "  systemctl start ctwarden-persist.socket",
		Args:    cobra.NoArgs,
		RunE: action(func(*cobra.Command, []string) error {
			done, err := persistHelper(path, name)
			if err != nil {
				return err
			}
			_, err = fmt.Fprintln(std.err, done) // standard output is the socket
			return err
		}),
	}
	configFlag(cmd, &path)
	cmd.Flags().StringVar(&name, "user", "ctwarden", "the agent's `user`, by name or number; it and root may ask")
	return cmd
}

// persistHelper serves the one request on standard input.
func persistHelper(path, name string) (done string, err error) {
	conn, err := socketOnStdin()
	if err != nil {
		return "", err
	}
	defer conn.Close()
	helper, err := newHelper(path, name)
	if err != nil {
		return "", persist.Decline(conn, err)
	}
	defer helper.Applier.Close()
	done, err = helper.Serve(conn)
	var known *persist.Refusal
	if errors.As(err, &known) {
		return "", refused("refused: %s: %v", known.Code, err)
	}
	return done, err
}

// newHelper is a helper as root's configuration has it.
func newHelper(path, name string) (h persist.Helper, err error) {
	cfg, file, err := loadConfig(path)
	if err != nil {
		return h, err
	}
	if !file.Missing {
		if err := ownedByUs(file.Path); err != nil {
			return h, err
		}
	}
	uid, err := userNumber(name)
	if err != nil {
		return h, err
	}
	host, err := cfg.hostName()
	if err != nil {
		return h, err
	}
	h = persist.Helper{Policy: cfg.policy(), Users: []uint32{0, uid}, Dir: os.Getenv("RUNTIME_DIRECTORY"), Fail: failpoint.New()}
	if h.Host, err = thisHost(cfg); err != nil {
		return h, err
	}
	h.Applier, err = apply.New(apply.Config{
		Root: "/", PersistFile: cfg.Remediate.PersistFile, ModuleFile: cfg.moduleFile(), Host: host, MachineID: agent.MachineID("/"),
		Version: versionString(), Fail: h.Fail,
	})
	return h, err
}

// thisHost is what doctor finds out of this host.
func thisHost(cfg Config) (persist.Host, error) {
	facts, err := doctor.Read(doctor.Config{
		Root: "/", User: os.Geteuid(), Now: time.Now(), Policy: cfg.policy(), PersistFile: cfg.Remediate.PersistFile,
	})
	if err != nil {
		return persist.Host{}, err
	}
	h := persist.Host{Memory: facts.Memory, Chains: facts.Chains}
	h.Boot, h.BootBy, h.BootBuckets = facts.Without()
	for _, fill := range facts.Fills {
		h.Entries = max(h.Entries, fill.Count)
	}
	return h, nil
}

// socketOnStdin is the connection that systemd hands over.
func socketOnStdin() (*net.UnixConn, error) {
	conn, err := net.FileConn(os.Stdin)
	if err != nil {
		return nil, fmt.Errorf("standard input is no socket (ctwarden-persist@.service runs this): %w", err)
	}
	if c, ok := conn.(*net.UnixConn); ok {
		return c, nil
	}
	return nil, errors.Join(errors.New("standard input is no unix socket (ctwarden-persist@.service runs this)"), conn.Close())
}

// ownedByUs fails where somebody else than this process's user and root could have written the file.
func ownedByUs(path string) error {
	info, err := os.Stat(path)
	if err != nil {
		return fmt.Errorf("look at the configuration: %w", err)
	}
	stat, ok := info.Sys().(*syscall.Stat_t)
	if !ok || stat.Uid != 0 && stat.Uid != uint32(os.Geteuid()) || info.Mode().Perm()&0o022 != 0 {
		return refused("%s may be written by others than root, and is not believed: chown root %s, chmod 0640 %s", path, path, path)
	}
	return nil
}

// userNumber is the number of a user.
func userNumber(name string) (uint32, error) {
	if u, err := user.Lookup(name); err == nil {
		name = u.Uid
	}
	n, err := strconv.ParseUint(name, 10, 32)
	if err != nil {
		return 0, fmt.Errorf("there is no user %q", name)
	}
	return uint32(n), nil
}
