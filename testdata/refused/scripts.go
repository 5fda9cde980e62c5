package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/ctwarden/ctwarden/internal/testhost"
)

// double is what the operators' recipes come down to: for a line, both settings doubled, up to the ceiling. A step leaves
// a line in a file; the word of the run, in place of a message, only leaves a mark that it came through.
const double = `#!/bin/sh
double() {
	case $1 in *%[2]s*) : >%[1]s/ready; return ;; esac
	now=$(cat /proc/sys/net/netfilter/nf_conntrack_max)
	[ "$now" -lt %[3]d ] || return
	new=$((now * 2))
	[ "$new" -le %[3]d ] || new=%[3]d
	sysctl -qw net.netfilter.nf_conntrack_max=$new net.nf_conntrack_max=$new
	echo "$new" >>%[1]s/steps
}
`

// word is the one that shows that this run's log comes through. The kernel's log still has those of runs before.
func (s stage) word() string { return strings.NewReplacer("/", "_", "-", "_").Replace("ready" + s.dir) }

// rsyslogConf reads the kernel's messages, into a file and into the script.
const rsyslogConf = `global(workDirectory="%[1]s")
module(load="imkmsg")
module(load="omprog")
*.* action(type="omfile" file="%[1]s/kern.log" template="RSYSLOG_FileFormat" ioBufferSize="4k" flushOnTXEnd="on")
%[2]s
`

const omprogRule = `if $msg contains "nf_conntrack: table full" or $msg contains "%[2]s" then action(type="omprog" binary="%[1]s/double")
`

const swatchConf = `watchfor /nf_conntrack: table full/
	exec "%[1]s/double line"
watchfor /%[2]s/
	exec "%[1]s/double %[2]s"
`

// omprog is rsyslogd, which keeps one script running and gives it each line.
func omprog(ctx context.Context, s stage) (running, error) {
	if err := s.script("while read -r line; do double \"$line\"; done\n"); err != nil {
		return running{}, err
	}
	p, err := s.rsyslog(ctx, fmt.Sprintf(omprogRule, s.dir, s.word()))
	if err != nil {
		return running{}, err
	}
	return s.begin(ctx, p)
}

// swatchdog follows the file that rsyslogd writes, and starts a script for each line.
func swatchdog(ctx context.Context, s stage) (running, error) {
	conf := filepath.Join(s.dir, "swatch.conf")
	err := errors.Join(s.script("double \"$1\"\n"),
		os.WriteFile(conf, fmt.Appendf(nil, swatchConf, s.dir, s.word()), 0o600))
	if err != nil {
		return running{}, err
	}
	log, err := s.rsyslog(ctx, "")
	if err != nil {
		return running{}, err
	}
	// It follows the file from the end, so what the kernel said before is over.
	p, err := testhost.Launch(nil, nil, "swatchdog", "--config-file="+conf, "--tail-file="+s.dir+"/kern.log", "--script-dir="+s.dir)
	if err != nil {
		log.Kill()
		return running{}, fmt.Errorf("start swatchdog (package swatch): %w", err)
	}
	return s.begin(ctx, p, log)
}

func (s stage) script(body string) error {
	return os.WriteFile(filepath.Join(s.dir, "double"), fmt.Appendf(nil, double+body, s.dir, s.word(), ceiling), 0o700)
}

// rsyslog starts rsyslogd and waits until it has written what the kernel said before.
func (s stage) rsyslog(ctx context.Context, rule string) (testhost.Program, error) {
	conf := filepath.Join(s.dir, "rsyslog.conf")
	if err := os.WriteFile(conf, fmt.Appendf(nil, rsyslogConf, s.dir, rule), 0o600); err != nil {
		return testhost.Program{}, err
	}
	p, err := testhost.Launch(nil, os.Stderr, "rsyslogd", "-n", "-f", conf, "-i", filepath.Join(s.dir, "pid"))
	if err != nil {
		return p, fmt.Errorf("start rsyslogd (package rsyslog): %w", err)
	}
	err = s.await(ctx, func() bool {
		text, _ := os.ReadFile(filepath.Join(s.dir, "kern.log")) // it may not be there yet
		return bytes.Contains(text, []byte(s.word()))
	})
	if err != nil {
		p.Kill()
	}
	return p, err
}

// begin waits until lines reach the script, and starts anew then: what the kernel said in runs before may have made
// steps.
func (s stage) begin(ctx context.Context, programs ...testhost.Program) (running, error) {
	stop := func() error {
		for _, p := range programs {
			p.Kill()
		}
		return nil
	}
	err := s.await(ctx, func() bool {
		_, err := os.Stat(filepath.Join(s.dir, "ready"))
		return err == nil
	})
	if err != nil {
		return running{}, errors.Join(err, stop())
	}
	steps := filepath.Join(s.dir, "steps")
	if err := errors.Join(os.WriteFile(steps, nil, 0o600), s.lock.SetMax(limit)); err != nil {
		return running{}, errors.Join(err, stop())
	}
	return running{stop: stop, steps: func(context.Context) (int, error) {
		text, err := os.ReadFile(steps)
		return bytes.Count(text, []byte("\n")), err
	}}, nil
}

// await has the kernel's log carry the word until done says that it came through.
func (s stage) await(ctx context.Context, done func() bool) error {
	kmsg, err := os.OpenFile("/dev/kmsg", os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	defer kmsg.Close()
	var last time.Time
	err = testhost.Poll(ctx, startWithin, func() bool {
		if time.Since(last) > time.Second { // one that gets lost is followed by another; the kernel takes ten in five seconds
			last = time.Now()
			fmt.Fprintf(kmsg, "<14>%s\n", s.word())
		}
		return done()
	})
	if err != nil {
		return fmt.Errorf("wait for the log to come through: %w", err)
	}
	return nil
}
