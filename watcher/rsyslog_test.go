package watcher

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
)

// rsyslog is an rsyslogd of the test's own. It reads the real /dev/kmsg, or a socket.
type rsyslog struct {
	cmd  *exec.Cmd
	file string // where it writes
}

const rsyslogConf = `global(workDirectory="%[1]s")
%[2]s
*.* action(type="omfile" file="%[1]s/kern.log" template="RSYSLOG_FileFormat" ioBufferSize="4k" flushOnTXEnd="on")
`

// imklog reads /proc/kmsg, which hands each record to one reader alone; the socket takes lines that already have the kernel's tag.
const (
	rsyslogKlog   = `module(load="imklog")`
	rsyslogSocket = `module(load="imuxsock" SysSock.Use="off")
input(type="imuxsock" Socket="%s" UseSpecialParser="off" ParseHostname="on" RateLimit.Interval="0" CreatePath="off")`
)

// startRsyslog starts rsyslogd with the given input in a directory of its own.
func startRsyslog(t *testing.T, input string) *rsyslog {
	t.Helper()
	needRoot(t)
	path, err := exec.LookPath("rsyslogd")
	if err != nil {
		skip(t, "needs rsyslogd (package rsyslog): "+err.Error())
	}
	dir := t.TempDir()
	conf := filepath.Join(dir, "rsyslog.conf")
	if err := os.WriteFile(conf, fmt.Appendf(nil, rsyslogConf, dir, input), 0o600); err != nil {
		t.Fatal(err)
	}
	r := &rsyslog{cmd: exec.Command(path, "-n", "-f", conf, "-i", filepath.Join(dir, "pid")), file: filepath.Join(dir, "kern.log")}
	start(t, r.cmd)
	return r
}

// written waits until word stands in the file.
func (r *rsyslog) written(t *testing.T, word string) {
	t.Helper()
	eventually(t, "rsyslogd writes "+word, func() bool {
		text, err := os.ReadFile(r.file)
		return err == nil && bytes.Contains(text, []byte(word))
	})
}
