package testhost

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
)

// Rsyslog is an rsyslogd that reads the real kernel log and a socket that any user may write to.
type Rsyslog struct {
	daemon
	// File is what it writes, Socket where programs log to.
	File, Socket string
}

// imklog reads /proc/kmsg, which hands each record to one reader alone.
const rsyslogConf = `global(workDirectory="%[1]s")
module(load="imklog")
module(load="imuxsock" SysSock.Use="off")
input(type="imuxsock" Socket="%[1]s/log" RateLimit.Interval="0" CreatePath="off")
*.* action(type="omfile" file="%[1]s/kern.log" template="RSYSLOG_FileFormat" ioBufferSize="4k" flushOnTXEnd="on")
`

// StartRsyslog runs an rsyslogd and waits until it has read all that the kernel has logged.
func StartRsyslog(t testing.TB) *Rsyslog {
	t.Helper()
	NeedRoot(t)
	path, err := exec.LookPath("rsyslogd")
	if err != nil {
		Skip(t, "needs rsyslogd (package rsyslog): "+err.Error())
	}
	dir, err := os.MkdirTemp("", "ctw-rsyslog-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	if err := os.Chmod(dir, 0o755); err != nil { // anybody may log
		t.Fatal(err)
	}
	conf := filepath.Join(dir, "rsyslog.conf")
	if err := os.WriteFile(conf, fmt.Appendf(nil, rsyslogConf, dir), 0o600); err != nil {
		t.Fatal(err)
	}
	r := &Rsyslog{
		daemon: start(t, exec.Command(path, "-n", "-f", conf, "-i", filepath.Join(dir, "pid"))),
		File:   filepath.Join(dir, "kern.log"), Socket: filepath.Join(dir, "log"),
	}
	r.Written(t, KernelRecord(t))
	return r
}

// Written waits until a word stands in the file.
func (r *Rsyslog) Written(t testing.TB, word string) {
	t.Helper()
	Eventually(t, "rsyslogd writes "+word, func() bool {
		text, err := os.ReadFile(r.File)
		return err == nil && bytes.Contains(text, []byte(word))
	})
}
