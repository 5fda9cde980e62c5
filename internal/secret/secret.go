// Package secret reads the files that hold secrets: by what a setting calls them, and only where they are kept from others.
package secret

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"syscall"
)

// credentialsDirectory is where systemd puts a service's credentials (systemd.exec, LoadCredential=).
const credentialsDirectory = "CREDENTIALS_DIRECTORY"

// maxBytes is the largest secret that is read.
const maxBytes = 64 << 10

// Path is the file that a setting means: one with a slash is a path, one without is the name of a credential that systemd
// gives to this service. Nothing means no file.
func Path(setting string) (string, error) {
	if setting == "" || strings.Contains(setting, "/") {
		return setting, nil
	}
	dir := os.Getenv(credentialsDirectory)
	if dir == "" {
		return "", fmt.Errorf("%s is the name of a systemd credential, and systemd gave none to this process; "+
			"write LoadCredential=%s:/path/of/the/file into the unit, or give the absolute path of a file", setting, setting)
	}
	return filepath.Join(dir, setting), nil
}

// Check refuses a file that is none, or that every user of the host can read.
func Check(path string) error {
	f, err := open(path)
	if err != nil {
		return err
	}
	return f.Close()
}

// open opens a file that passes the check, which is made on what is open, so that nobody can exchange it in between. A pipe
// without a writer must not hold it up.
func open(path string) (*os.File, error) {
	f, err := os.OpenFile(path, os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if err != nil {
		return nil, err
	}
	info, err := f.Stat()
	switch {
	case err != nil:
	case !info.Mode().IsRegular():
		err = fmt.Errorf("%s is not a regular file", path)
	case info.Mode().Perm()&0o007 != 0:
		err = fmt.Errorf("%s can be read by every user (mode %04o); chmod 0600 it", path, info.Mode().Perm())
	}
	if err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return f, nil
}

// Read is the secret in the file that a setting means, without blanks and line ends around it. An empty file is an error.
func Read(setting string) (string, error) {
	path, err := Path(setting)
	if err != nil {
		return "", err
	}
	f, err := open(path)
	if err != nil {
		return "", err
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, maxBytes+1))
	if err != nil {
		return "", err
	}
	if len(data) > maxBytes {
		return "", fmt.Errorf("%s is larger than %d bytes", path, maxBytes)
	}
	text := strings.TrimSpace(string(data))
	if text == "" {
		return "", fmt.Errorf("%s is empty", path)
	}
	return text, nil
}
