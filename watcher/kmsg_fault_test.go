package watcher

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/ctwarden/ctwarden/internal/testhost"
	"github.com/ctwarden/ctwarden/remediate"
)

const (
	kmsgPositionEnv = "CTWARDEN_TEST_KMSG_POSITION"
	kmsgOut         = 3 // the descriptor that the child writes its batches to
)

// TestKmsgKilledChild is not a test: it is what TestPromiseKmsgKilled kills. It writes each batch as one line.
func TestKmsgKilledChild(t *testing.T) {
	position := os.Getenv(kmsgPositionEnv)
	if position == "" {
		return
	}
	k, err := NewKmsg(KmsgConfig{Required: true, Position: []byte(position)})
	if err != nil {
		t.Fatal(err)
	}
	out, lines := make(chan Batch), json.NewEncoder(os.NewFile(kmsgOut, "out"))
	go func() { _ = k.Run(context.Background(), out) }() // until it is killed
	for b := range out {
		if lines.Encode(b) != nil {
			return
		}
	}
}

// killChild runs the source from the position, and kills it once enough batches have come. It returns those that came
// whole: what a receiver has that saves a batch with its position or not at all.
func killChild(t *testing.T, position []byte, enough func(got []Batch) bool) (got []Batch) {
	t.Helper()
	in, out, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer in.Close()
	cmd := exec.Command("/proc/self/exe", "-test.run=^TestKmsgKilledChild$")
	cmd.Env = append(os.Environ(), kmsgPositionEnv+"="+string(position))
	cmd.ExtraFiles = []*os.File{out}
	ended, err := testhost.Spawn(cmd)
	out.Close()
	if err != nil {
		t.Fatal(err)
	}
	lines := bufio.NewScanner(in)
	lines.Buffer(nil, 16<<20)
	for ok := true; ok; {
		if enough(got) {
			_ = cmd.Process.Kill() // it may have ended already
		}
		if ok = lines.Scan(); !ok {
			break
		}
		var b Batch
		if err := json.Unmarshal(lines.Bytes(), &b); err != nil {
			break // cut off by the kill
		}
		got = append(got, b)
	}
	<-ended
	return got
}

// TestPromiseKmsgKilled kills a process that reads the real device, again and again, and sees that each record of the
// kernel belongs to exactly one batch.
func TestPromiseKmsgKilled(t *testing.T) {
	testhost.NeedRoot(t)
	b := runKmsg(t, KmsgConfig{Required: true}).next(t, func(b Batch) bool { return b.CaughtUp && b.Position.Data != nil })
	first, position := kmsgSeq(t, b), b.Position.Data
	kills := testhost.Amount(20, 200)
	made, records, lost := 0, uint64(0), uint64(0)
	take := func(batches []Batch) {
		for _, b := range batches {
			records, lost = records+b.Stats.Records, lost+b.Stats.Lost
			if b.Position.Data != nil {
				position = b.Position.Data
			}
		}
	}
	for i := range kills {
		made += len(testhost.KernelRecords(t, 10))
		take(killChild(t, position, func(got []Batch) bool { return len(got) >= i%3 })) // 0: before it has sent anything
	}
	take(killChild(t, position, func(got []Batch) bool { return len(got) > 0 && got[len(got)-1].CaughtUp }))
	if last := kmsgSeq(t, Batch{Position: Position{Data: position}}); records+lost != last-first || records < uint64(made) {
		t.Errorf("from record %d to %d: %d read, %d lost; %d were made", first, last, records, lost, made)
	}
	testhost.Held(t, "1.12 kmsg after SIGKILL", "each of %d records in exactly one batch, over %d kills; %d lost", records, kills, lost)
}

// TestPromiseKmsgReboot resumes from a position of another boot: the ring is read from its start, and what it no longer
// has of this boot is lost.
func TestPromiseKmsgReboot(t *testing.T) {
	testhost.NeedRoot(t)
	r := runKmsg(t, KmsgConfig{Required: true, Position: []byte(`{"boot_id":"00000000000000000000000000000000","seq":4000000000}`)})
	b := r.next(t, func(b Batch) bool { return b.CaughtUp && b.Position.Data != nil })
	last := kmsgSeq(t, b)
	if b.Stats.Records+b.Stats.Lost != last+1 || b.Stats.Records == 0 {
		t.Errorf("up to record %d: %d read, %d lost", last, b.Stats.Records, b.Stats.Lost)
	}
	testhost.Held(t, "1.13 kmsg after a reboot", "%d records read from the ring's start, %d lost that it no longer had, of %d",
		b.Stats.Records, b.Stats.Lost, last+1)
}

// TestKmsgOverrunIsNotTheEnd is node-problem-detector's failure (its issue 1168): it compared the error by ==, so the
// first overrun ended its reader for good, silently. Here the kernel's error comes wrapped, plain and joined, a hundred
// times.
func TestKmsgOverrunIsNotTheEnd(t *testing.T) {
	wrapped := []error{
		unix.EPIPE, &os.PathError{Op: "read", Path: "/dev/kmsg", Err: unix.EPIPE}, fmt.Errorf("read: %w", unix.EPIPE),
		errors.Join(nil, unix.EPIPE), unix.EINTR,
	}
	var steps []any
	for i := range 100 {
		steps = append(steps, wrapped[i%len(wrapped)], kmsgLine(4, 10*i, int64(i)))
	}
	got, end := playKmsg(t, KmsgConfig{BootID: "aa", Position: []byte(`{"boot_id":"bb","seq":1}`)}, steps)
	if !errors.Is(end, context.Canceled) || len(got.Matches) != 100 || got.Stats.Lost != 99*9 {
		t.Errorf("follow = %v; %d matches, lost %d", end, len(got.Matches), got.Stats.Lost)
	}
}

// playKmsg follows a scripted device up to its end.
func playKmsg(t *testing.T, cfg KmsgConfig, steps []any) (Batch, error) {
	t.Helper()
	k, err := NewKmsg(cfg)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	out, end := make(chan Batch, len(steps)+10), make(chan error, 1)
	k.send = newSender(out, k.cfg.Now, remediate.SourceKmsg, "")
	go func() { end <- k.follow(ctx, &scriptedKmsg{steps}) }()
	got := drain(t, out, func(b Batch) bool { return b.CaughtUp && b.Stats.Records >= records0(steps) })
	cancel()
	return got, <-end
}

// records0 is how many of the steps are records.
func records0(steps []any) (n uint64) {
	for _, step := range steps {
		if _, ok := step.(string); ok {
			n++
		}
	}
	return n
}

// TestPromiseKmsgClock sets the wall clock to and fro while records are read.
func TestPromiseKmsgClock(t *testing.T) {
	year := func(y int) time.Time { return time.Date(y, 6, 1, 12, 0, 0, 0, time.UTC) }
	clocks := []time.Time{
		year(2026), year(2026).Add(time.Hour), year(2026).Add(-time.Hour), year(1970), year(9999), year(2026),
	}
	at := 0
	now := func() time.Time { return clocks[at/10%len(clocks)] }
	// A backlog, then records that are read as they are printed. printk's clock stands still while the machine is
	// suspended, so the records' own time goes on as if nothing had been.
	var steps []any
	old := sinceBoot() / 2 // the records' age
	for i := range 120 {
		if i == 60 {
			steps = append(steps, unix.EAGAIN)
		}
		steps = append(steps, kmsgLine(4, i, old.Microseconds()))
	}
	k, err := NewKmsg(KmsgConfig{BootID: "aa", Position: []byte(`{"boot_id":"bb","seq":1}`), Now: now})
	if err != nil {
		t.Fatal(err)
	}
	k.send = newSender(make(chan Batch, 1000), now, remediate.SourceKmsg, "")
	wrong := 0
	for i, step := range steps {
		if step == unix.EAGAIN {
			k.live = true
			continue
		}
		k.record([]byte(step.(string)))
		m := k.send.batch.Matches[len(k.send.batch.Matches)-1]
		age := now().Sub(m.Time)
		if k.live && age != 0 || !k.live && (age < old-time.Second || age > old+time.Minute) {
			wrong++
			t.Errorf("record %d at %v is of %v", i, now(), m.Time)
		}
		at++
	}
	if s := k.send.batch.Stats; s.Matches != 120 || s.Lost != 0 || k.send.batch.Last.After(now()) {
		t.Errorf("%+v, last %v", s, k.send.batch.Last)
	}
	testhost.Held(t, "6.7 wall clock set to and fro, kmsg", "%d of 120 records dropped, doubled or misdated, between 1970 and 9999", wrong)
}

// TestKmsgTimeIsOfAClockThatNobodySets sees that times of records can be compared with the time of the agent's start
// whatever happens to the wall clock: they carry the reading of the clock that only goes forward.
func TestKmsgTimeIsOfAClockThatNobodySets(t *testing.T) {
	for _, live := range []bool{false, true} {
		k, err := NewKmsg(KmsgConfig{BootID: "aa"})
		if err != nil {
			t.Fatal(err)
		}
		k.live = live
		if when := k.wall(sinceBoot()); when == when.Round(0) {
			t.Errorf("live %v: %v has no such reading", live, when)
		}
	}
}

// forgedNetNS is a namespace that does not exist; the kernel itself never names it.
const (
	forgedNetNS = 4000000001
	forgedFull  = "nf_conntrack: nf_conntrack: table full in netns 4000000001, dropping packet"
)

// TestPromiseKmsgForged has root write the message into the real device, in every way that might make it the kernel's.
func TestPromiseKmsgForged(t *testing.T) {
	testhost.NeedRoot(t)
	r := openRing(t)
	src := runKmsg(t, KmsgConfig{Required: true})
	at := kmsgSeq(t, src.next(t, func(b Batch) bool { return b.CaughtUp && b.Position.Data != nil }))
	prefixes := []string{"<4>", "<0>", "", "<12>", "<2052>", "<524292>", "<999999999999999999999>", "<-4>", "4,1,1,-;", "x\n4,1,1,-;"}
	each := testhost.Amount(1000, 100_000)
	for range each {
		for _, prefix := range prefixes {
			if _, err := r.write.WriteString(prefix + forgedFull + "\n"); err != nil {
				t.Fatal(err)
			}
		}
	}
	r.catchUpFrom(t)
	b := src.next(t, func(b Batch) bool { return b.Position.Data != nil && kmsgSeq(t, b) >= r.last })
	written := uint64(each * len(prefixes))
	if b.Stats.Records+b.Stats.Lost != kmsgSeq(t, b)-at || b.Stats.Records+b.Stats.Lost < written || b.Stats.NotKernel == 0 {
		t.Errorf("%+v of %d", b.Stats, written)
	}
	forged := 0
	for _, m := range b.Matches {
		if m.NetNS == forgedNetNS { // the kernel may have something to say of others
			forged += m.Count
		}
	}
	if forged > 0 {
		t.Errorf("%d believed", forged)
	}
	testhost.Held(t, "6.8 forged records in kmsg", "%d of %d counted as the kernel's", forged, written)
}
