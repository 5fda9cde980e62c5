package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/user"
	"slices"
	"strconv"
	"syscall"

	"github.com/ctwarden/ctwarden/internal/config"
	"github.com/ctwarden/ctwarden/notify"
)

// serviceUser is whom the package's unit runs the hub as.
const serviceUser = "ctwarden-hub"

// files are all that the configuration names, secret or not.
func (s settings) files() []secretFile {
	all := []secretFile{
		{"nats.credentials", s.NATS.Credentials}, {"nats.tls.ca", s.NATS.TLS.CA}, {"nats.tls.cert", s.NATS.TLS.Cert}, {"nats.tls.key", s.NATS.TLS.Key},
	}
	for i, c := range s.OnCall {
		for _, f := range c.Files() {
			all = append(all, secretFile{fmt.Sprintf("oncall[%d].%s", i, f.Key), f.Setting})
		}
	}
	return slices.DeleteFunc(all, func(f secretFile) bool { return f.setting == "" })
}

// filesHere looks whether the files that the configuration names can be read: a sender without its secret is found out by
// the first page otherwise. The hub itself starts without them, since they may come later. Warnings are of what only the
// service can tell.
func (s settings) filesHere(file *config.File) (warnings []string, err error) {
	var bad config.Error
	for _, f := range s.files() {
		path, err := notify.SecretPath(f.setting)
		if err != nil {
			warnings = append(warnings, fmt.Sprintf("%s: not looked at: %s", f.key, err))
			continue
		}
		if problem := fileProblem(path); problem != "" {
			bad.Problems = append(bad.Problems, file.Problem(f.key, "%s", problem))
		} else if w := serviceReads(path); w != "" {
			warnings = append(warnings, f.key+": "+w)
		}
	}
	if len(bad.Problems) > 0 {
		return warnings, &bad
	}
	return warnings, nil
}

// fileProblem says why a file cannot be used, and what to do.
func fileProblem(path string) string {
	info, err := os.Stat(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return fmt.Sprintf("%s is not there; put it there, for example: install -m 0640 -g %s FILE %s", path, serviceUser, path)
	case errors.Is(err, fs.ErrPermission):
		return fmt.Sprintf("%s cannot be looked at: a directory above it is closed to this user; run this as root or as %s", path, serviceUser)
	case err != nil:
		return err.Error()
	case !info.Mode().IsRegular():
		return path + " is not a regular file"
	case info.Size() == 0:
		return path + " is empty; write what it is to hold into it"
	}
	f, err := os.Open(path)
	if err != nil {
		return fmt.Sprintf("%s cannot be read; chgrp %s %s and chmod 0640 %s, or run this as root or as %s", path, serviceUser, path, path, serviceUser)
	}
	f.Close()
	return ""
}

// serviceReads says what keeps the service's user from reading a file that root can read; empty: nothing, or it cannot be
// told here.
func serviceReads(path string) string {
	if os.Geteuid() != 0 {
		return ""
	}
	u, err := user.Lookup(serviceUser)
	if err != nil {
		return ""
	}
	info, err := os.Stat(path)
	if err != nil {
		return ""
	}
	st, ok := info.Sys().(*syscall.Stat_t)
	groups, err := u.GroupIds()
	if !ok || err != nil {
		return ""
	}
	mode := info.Mode().Perm()
	id := func(n uint32) string { return strconv.FormatUint(uint64(n), 10) }
	switch {
	case id(st.Uid) == u.Uid && mode&0o400 != 0:
	case slices.Contains(groups, id(st.Gid)) && mode&0o040 != 0:
	case mode&0o004 != 0:
	default:
		return fmt.Sprintf("%s can be read by root, and not by user %s, as whom the service runs; chgrp %s %s; chmod 0640 %s", path,
			serviceUser, serviceUser, path, path)
	}
	return ""
}
