package agent

import (
	"fmt"
	"os"
	"os/user"
	"strconv"
	"syscall"
)

// checkPrivate fails where somebody else than root and the agent's own user could put files into one of the agent's
// directories: an intent that is to be finished, a hold, a state. One that is not there, is none or is on a disk that
// fails is found out by who opens it.
//
// A group that may write is refused too, unless it is the agent's own: on some systems every user has a group alone.
func checkPrivate(key, dir string) error {
	info, err := os.Stat(dir)
	if err != nil || !info.IsDir() {
		return nil
	}
	owner, ok := info.Sys().(*syscall.Stat_t)
	if !ok {
		return nil // not on Linux: there it is always this
	}
	mode, own := info.Mode().Perm(), uint32(os.Geteuid())
	switch {
	case owner.Uid != 0 && owner.Uid != own:
		return fmt.Errorf("%s %s belongs to %s, who could put files into it, and this runs as %s: give the order to the agent that runs there, or run it as %s, or chown %s %s",
			key, dir, userName(owner.Uid), userName(own), userName(owner.Uid), userName(own), dir)
	case mode&0o002 != 0:
		return fmt.Errorf("%s %s may be written to by every user of this machine: name a directory of its own, or chmod 0750 %s", key, dir, dir)
	case mode&0o020 != 0 && owner.Gid != 0 && owner.Gid != uint32(os.Getegid()):
		return fmt.Errorf("%s %s may be written to by the group %s: name a directory of its own, or chmod 0750 %s", key, dir, groupName(owner.Gid), dir)
	}
	return nil
}

// openRuntimeDir makes the runtime directory where it is not there. Nobody else has anything to do in it, unless a group
// is to reach the sockets: then everybody may pass through and nobody may look around.
func openRuntimeDir(dir string, shared bool) error {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return fmt.Errorf("create runtime_dir: %w", err)
	}
	if !shared {
		return nil
	}
	info, err := os.Stat(dir)
	if err == nil && info.Mode().Perm()&0o001 == 0 {
		err = os.Chmod(dir, info.Mode().Perm()|0o011)
	}
	if err != nil {
		return fmt.Errorf("let control_group through runtime_dir: %w", err)
	}
	return nil
}

// groupName is the name of a group ID, or the number where it has none.
func groupName(gid uint32) string {
	id := strconv.FormatUint(uint64(gid), 10)
	if g, err := user.LookupGroupId(id); err == nil {
		return g.Name
	}
	return id
}
