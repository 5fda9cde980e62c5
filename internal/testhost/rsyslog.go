package testhost

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
)

// Rsyslog is an rsyslogd with a socket that any user may write to.
type Rsyslog struct {
	daemon
	// File is what it writes, Socket where programs log to.
	File, Socket string
}

const rsyslogConf = `global(workDirectory="%[1]s")
%[2]s
module(load="imuxsock" SysSock.Use="off")
input(type="imuxsock" Socket="%[1]s/log" RateLimit.Interval="0" CreatePath="off" %[3]s)
*.* action(type="omfile" file="%[1]s/kern.log" template="RSYSLOG_FileFormat" ioBufferSize="4k" flushOnTXEnd="on")
`

// StartRsyslog runs an rsyslogd that reads the real kernel log, and waits until it has read all that the kernel has
// logged.
func StartRsyslog(t testing.TB) *Rsyslog {
	t.Helper()
	// imklog reads /proc/kmsg, which hands each record to one reader alone.
	r := startRsyslog(t, `module(load="imklog")`, "")
	r.Written(t, KernelRecord(t))
	return r
}

// StartRelay runs an rsyslogd that takes lines from its socket alone, each with the host and the program that are to
// stand in the file, be it the kernel.
func StartRelay(t testing.TB) *Rsyslog {
	t.Helper()
	r := startRsyslog(t, "", `UseSpecialParser="off" ParseHostname="on"`)
	Eventually(t, "rsyslogd's socket", func() bool {
		_, err := os.Stat(r.Socket)
		return err == nil
	})
	return r
}

func startRsyslog(t testing.TB, input, socketOptions string) *Rsyslog {
	t.Helper()
	NeedRoot(t)
	path, err := exec.LookPath("rsyslogd")
	if err != nil {
		Skip(t, "needs rsyslogd (package rsyslog): "+err.Error())
	}
	dir := PublicDir(t) // anybody may log
	conf := filepath.Join(dir, "rsyslog.conf")
	if err := os.WriteFile(conf, fmt.Appendf(nil, rsyslogConf, dir, input, socketOptions), 0o600); err != nil {
		t.Fatal(err)
	}
	return &Rsyslog{
		daemon: start(t, exec.Command(path, "-n", "-f", conf, "-i", filepath.Join(dir, "pid"))),
		File:   filepath.Join(dir, "kern.log"), Socket: filepath.Join(dir, "log"),
	}
}

// Written waits until a word stands in the file.
func (r *Rsyslog) Written(t testing.TB, word string) {
	t.Helper()
	Eventually(t, "rsyslogd writes "+word, func() bool {
		text, err := os.ReadFile(r.File)
		return err == nil && bytes.Contains(text, []byte(word))
	})
}
