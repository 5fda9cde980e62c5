//go:build linux && cgo

package watcher

import (
	"os"
	"slices"
	"testing"
	"time"

	"github.com/ctwarden/ctwarden/internal/testhost"
	"github.com/ctwarden/ctwarden/internal/testkernel"
	"github.com/ctwarden/ctwarden/remediate"
)

// TestRealMessage has the kernel refuse connections in a namespace of the test's own, and sees the same record in all
// three sources: from /dev/kmsg, from a real journald and from the file of a real rsyslogd.
func TestRealMessage(t *testing.T) {
	lock := testkernel.Hold(t)
	ns := testkernel.Scratch(t)
	dir := testhost.StartJournald(t).Dir
	syslogd := testhost.StartRsyslog(t)
	host, err := os.Hostname()
	if err != nil {
		t.Fatal(err)
	}

	kmsg, err := NewKmsg(KmsgConfig{Required: true})
	if err != nil {
		t.Fatal(err)
	}
	journal, err := NewJournal(JournalConfig{Directory: dir, Host: host, Required: true})
	if err != nil {
		t.Fatal(err)
	}
	syslog, err := NewSyslog(SyslogConfig{Path: syslogd.File, Host: host, Required: true})
	if err != nil {
		t.Fatal(err)
	}
	rk, rj, rs := run(t, kmsg), run(t, journal), run(t, syslog)
	for _, r := range []*running{rk, rj, rs} {
		r.next(t, caughtUp)
	}
	if err := lock.SetMax(2000); err != nil {
		t.Fatal(err)
	}
	want := refuse(t, ns, rk)
	if boot, err := BootID(); err != nil || want.BootID != boot || time.Since(want.Time).Abs() > time.Minute {
		t.Errorf("kmsg: %+v, %v", want, err)
	}
	m := message(sameRecord(t, rj, want))
	if m.BootID != want.BootID || m.Path != dir || m.Host != host {
		t.Errorf("journal: %+v, want boot %s, path %s, host %s", m, want.BootID, dir, host)
	}
	if m = message(sameRecord(t, rs, want)); m.Path != syslogd.File || m.Host != host {
		t.Errorf("syslog: %+v, want path %s, host %s", m, syslogd.File, host)
	}

	scanned := 0
	stats, err := ScanJournal(t.Context(), dir, host, func(m remediate.Match) error { scanned += m.Count; return nil })
	if err != nil || scanned == 0 || stats.Matches != uint64(scanned) {
		t.Errorf("ScanJournal: %d, %+v, %v", scanned, stats, err)
	}
	if stats, err := ScanJournal(t.Context(), dir, "other", nil); err != nil || stats.Matches != 0 || stats.OtherHost == 0 {
		t.Errorf("ScanJournal of another host: %+v, %v", stats, err)
	}
}

// refuse fills the namespace until the kernel says so, and returns the record as it stands in kmsg. All of networking
// shares ten lines in five seconds: where others have used them up, a later burst will do.
func refuse(t *testing.T, ns *testkernel.Namespace, kmsg *running) remediate.Match {
	t.Helper()
	for range 5 {
		result, err := ns.Burst(t.Context(), 10000)
		if err != nil || result.Refused == 0 {
			t.Fatalf("burst: %+v, %v", result, err)
		}
		if b, ok := drainFor(kmsg.out, 3*time.Second, holdsMatch); ok {
			return message(b)
		}
	}
	t.Fatal("the kernel prints nothing")
	return remediate.Match{}
}

func holdsMatch(b Batch) bool { return b.Stats.Matches > 0 }

// message is the first match that is the message itself.
func message(b Batch) remediate.Match {
	i := slices.IndexFunc(b.Matches, func(m remediate.Match) bool { return m.Count > 0 })
	if i < 0 {
		return remediate.Match{}
	}
	return b.Matches[i]
}

// sameRecord waits until r delivers a record, which must be want but for where it stood.
func sameRecord(t *testing.T, r *running, want remediate.Match) Batch {
	t.Helper()
	b := r.next(t, holdsMatch)
	m := message(b)
	if m.Mono != want.Mono || m.NetNS != want.NetNS || m.Text != want.Text || m.Count != want.Count {
		t.Errorf("got %+v\nwant %+v", m, want)
	}
	if d := m.Time.Sub(want.Time).Abs(); d > 5*time.Second {
		t.Errorf("%s: %v off", m.Source, d)
	}
	return b
}
