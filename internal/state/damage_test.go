package state

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	bolt "go.etcd.io/bbolt"
	"golang.org/x/sys/unix"

	"github.com/ctwarden/ctwarden/internal/testhost"
	"github.com/ctwarden/ctwarden/notify"
	"github.com/ctwarden/ctwarden/remediate"
)

// childEnv makes this test binary a process that commits until it is killed.
const childEnv = "CTWARDEN_STATE_CHILD"

func TestMain(m *testing.M) {
	if path := os.Getenv(childEnv); path != "" {
		os.Exit(commitUntilKilled(path))
	}
	os.Exit(m.Run())
}

// commitUntilKilled writes the same number into every part of each change and prints it once the commit returned.
func commitUntilKilled(path string) int {
	s, found, err := Open(path, Options{})
	if err != nil || found.SetAside != "" {
		fmt.Println("open", found, err)
		return 1
	}
	snap, err := s.Load()
	if err != nil {
		fmt.Println("load", err)
		return 1
	}
	n, _ := strconv.Atoi(string(snap.Positions["kmsg"]))
	for {
		n++
		v := []byte(strconv.Itoa(n))
		if _, err := s.Commit(Change{
			Positions: map[string][]byte{"kmsg": v}, Tracker: v, Meta: map[string][]byte{"n": v},
			Steps:  []Record{{string(v), v}},
			Events: []notify.Outgoing{event(string(v), remediate.EventStepApplied)},
		}); err != nil {
			fmt.Println("commit", err)
			return 1
		}
		if n%3 == 0 {
			if err := s.Ack([]uint64{uint64(n - 2)}); err != nil {
				fmt.Println("ack", err)
				return 1
			}
		}
		fmt.Println(n)
	}
}

func TestKilledWhileCommitting(t *testing.T) {
	path := filepath.Join(t.TempDir(), "s")
	for round := range 20 {
		said := killedChild(t, path, 1+rand.IntN(30))
		s, found, err := Open(path, Options{})
		if err != nil || found.SetAside != "" {
			t.Fatalf("round %d: %+v, %v", round, found, err)
		}
		snap, err := s.Load()
		if err != nil {
			t.Fatal(err)
		}
		n, _ := strconv.Atoi(string(snap.Positions["kmsg"]))
		// What was said to be done is there; one more may be, whose commit returned to nobody.
		if n < said || n > said+1 {
			t.Errorf("round %d: %d commits returned, the file has %d", round, said, n)
		}
		events, err := s.Peek(0, 1<<20)
		if err != nil || len(events) == 0 {
			t.Fatalf("round %d: %d events, %v", round, len(events), err)
		}
		last, step := events[len(events)-1], snap.Steps[len(snap.Steps)-1]
		if string(snap.Tracker) != strconv.Itoa(n) || string(snap.Meta["n"]) != string(snap.Tracker) ||
			last.ID != strconv.Itoa(n) || last.Seq != uint64(n) || step.ID != last.ID {
			t.Errorf("round %d: the parts disagree: %d, %s, %s, %s, %s", round, n, snap.Tracker, snap.Meta["n"], last.ID, step.ID)
		}
		s.Close()
	}
}

// killedChild runs a child until it has committed lines times, kills it and returns the last number that it printed.
func killedChild(t *testing.T, path string, lines int) (last int) {
	t.Helper()
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), childEnv+"="+path)
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	r := bufio.NewScanner(out)
	for i := 0; r.Scan(); i++ {
		if last, err = strconv.Atoi(r.Text()); err != nil {
			t.Fatalf("the child said %q", r.Text())
		}
		if i == lines {
			cmd.Process.Kill() // and read on: it may have said more
		}
	}
	cmd.Wait()
	return last
}

// filled makes a state file with several levels of pages, free pages and all kinds of content, and returns it.
func filled(t testing.TB, path string, events int) []byte {
	t.Helper()
	s := open(t, path, Options{})
	var acks []uint64
	for i := range events {
		commit(t, s, Change{
			Positions: map[string][]byte{fmt.Sprint("stream", i%7): []byte(fmt.Sprint(i))}, Tracker: make([]byte, 5000),
			Steps:  []Record{{fmt.Sprint(i), []byte(`{}`)}},
			Events: []notify.Outgoing{event(fmt.Sprint("e", i), remediate.EventIncidentUpdated), event(fmt.Sprint("o", i), remediate.EventIncidentOpened)},
		})
		if i%2 == 0 {
			acks = append(acks, uint64(i+1))
		}
	}
	if err := s.Ack(acks); err != nil {
		t.Fatal(err)
	}
	s.Close()
	whole, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return whole
}

// damaged opens a file that was tampered with. It must open, and then either hold what it held or say that it does
// not; and be usable.
func damaged(t *testing.T, path, what string) (found Opened) {
	t.Helper()
	found, _ = damagedContent(t, path, what)
	return found
}

// damagedContent also returns what was read before anything was written.
func damagedContent(t *testing.T, path, what string) (found Opened, held content) {
	t.Helper()
	at := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	s, found, err := Open(path, Options{Now: func() time.Time { return at }})
	if err != nil {
		t.Fatalf("%s: %v", what, err)
	}
	defer s.Close()
	if found.Fresh != (found.SetAside != "") || found.Fresh && found.Problem == "" {
		t.Errorf("%s: %+v", what, found)
	}
	held = read(t, s)
	for i := range 3 {
		if _, err := s.Commit(Change{
			Positions: map[string][]byte{"after": []byte(fmt.Sprint(i))},
			Events:    []notify.Outgoing{event(fmt.Sprint("after", i), remediate.EventStepApplied)},
		}); err != nil {
			t.Fatalf("%s: %v", what, err)
		}
	}
	if _, err := s.Load(); err != nil {
		t.Fatalf("%s: %v", what, err)
	}
	return found, held
}

// content is all that a store holds.
type content struct {
	snapshot Snapshot
	events   []notify.Outgoing
}

func read(t *testing.T, s *Store) (c content) {
	t.Helper()
	var err error
	if c.snapshot, err = s.Load(); err != nil {
		t.Fatal(err)
	}
	if c.events, err = s.Peek(0, 1<<20); err != nil {
		t.Fatal(err)
	}
	return c
}

func TestDamagedFiles(t *testing.T) {
	dir := t.TempDir()
	good := filepath.Join(dir, "good")
	whole := filled(t, good, 60)
	foreign := filepath.Join(dir, "foreign")
	db, err := bolt.Open(foreign, 0o600, nil)
	if err != nil {
		t.Fatal(err)
	}
	db.Close()
	other, err := os.ReadFile(foreign)
	if err != nil {
		t.Fatal(err)
	}
	for name, content := range map[string][]byte{
		"empty": {}, "one byte": {1}, "text": []byte(strings.Repeat("hello\n", 9999)), "zeros": make([]byte, 1<<16),
		"half": whole[:len(whole)/2], "one page": whole[:4096], "odd": whole[:len(whole)-len(whole)/2-17],
		"another program's": other,
	} {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, content, 0o600); err != nil {
			t.Fatal(err)
		}
		found := damaged(t, path, name)
		if found.SetAside != path+".damaged-20260102T030405Z" {
			t.Errorf("%s: %+v", name, found)
		}
		if kept, err := os.ReadFile(found.SetAside); err != nil || !bytes.Equal(kept, content) {
			t.Errorf("%s: what was set aside is not what was there: %v", name, err)
		}
		if found := damaged(t, path, name+" again"); found.Fresh {
			t.Errorf("%s: not usable after it was set aside: %+v", name, found)
		}
	}
}

func TestSetAsideKeepsBoth(t *testing.T) {
	path := filepath.Join(t.TempDir(), "s")
	for _, want := range []string{"20260102T030405Z", "20260102T030405Z-2", "20260102T030405Z-3"} {
		if err := os.WriteFile(path, []byte("x"), 0o600); err != nil {
			t.Fatal(err)
		}
		if found := damaged(t, path, want); found.SetAside != path+".damaged-"+want {
			t.Errorf("%+v, want %s", found, want)
		}
	}
}

func TestBitFlips(t *testing.T) {
	trials := testhost.Amount(250, 5000) // package agent has more of them
	dir := t.TempDir()
	good := filepath.Join(dir, "good")
	whole := filled(t, good, 60)
	s := open(t, good, Options{})
	want := read(t, s)
	s.Close()
	r := testhost.Rand(t)
	aside := 0
	for i := range trials {
		bad := bytes.Clone(whole)
		switch i % 4 {
		case 0: // one bit anywhere
			flip(bad, r.IntN(len(bad)), r)
		case 1: // one bit in the header of a page or in its elements
			flip(bad, r.IntN(len(bad)/4096)*4096+r.IntN(64), r)
		case 2: // a burst
			at := r.IntN(len(bad) - 64)
			for j := range 64 {
				bad[at+j] = byte(r.Uint32())
			}
		case 3: // a page in the place of another
			from, to := r.IntN(len(bad)/4096), r.IntN(len(bad)/4096)
			copy(bad[to*4096:(to+1)*4096], bad[from*4096:])
		}
		path := filepath.Join(dir, "s")
		if err := os.WriteFile(path, bad, 0o600); err != nil {
			t.Fatal(err)
		}
		found, held := damagedContent(t, path, fmt.Sprint("trial ", i))
		if found.SetAside != "" {
			aside++
			os.Remove(found.SetAside)
		} else if found.Problem == "" && !reflect.DeepEqual(held, want) {
			t.Errorf("trial %d: the content changed and nothing was said", i)
		}
		os.Remove(path)
	}
	t.Logf("%d of %d set aside; the rest hit what is not in use", aside, trials)
}

func flip(b []byte, at int, r *rand.Rand) { b[at] ^= 1 << r.IntN(8) }

func TestDamageWhileOpen(t *testing.T) {
	path := filepath.Join(t.TempDir(), "s")
	filled(t, path, 60)
	s := open(t, path, Options{})
	if err := os.Truncate(path, 8192); err != nil { // bbolt's mapping now faults behind the second page
		t.Fatal(err)
	}
	if _, err := s.Load(); !errors.Is(err, ErrDamaged) {
		t.Errorf("got %v", err)
	}
	if _, err := s.Commit(Change{Tracker: []byte("x")}); !errors.Is(err, ErrDamaged) {
		t.Errorf("got %v", err)
	}
	if err := s.Ack([]uint64{1}); !errors.Is(err, ErrDamaged) {
		t.Errorf("got %v", err)
	}
	if err := s.Close(); err != nil {
		t.Errorf("close: %v", err)
	}
	if found := damaged(t, path, "open again"); found.SetAside == "" {
		t.Errorf("got %+v", found)
	}
}

// TestDamagedLengthWhileOpen gives the list of free pages a length that no file has, in a small file and in a large one.
// bbolt would give up that many pages in the next commit, one by one.
func TestDamagedLengthWhileOpen(t *testing.T) {
	for _, events := range []int{60, 4000} {
		path := filepath.Join(t.TempDir(), "s")
		whole := filled(t, path, events)
		s := open(t, path, Options{})
		m, _, err := newestMeta(bytes.NewReader(whole), int64(len(whole)))
		if err != nil {
			t.Fatal(err)
		}
		file, err := os.OpenFile(path, os.O_WRONLY, 0)
		if err != nil {
			t.Fatal(err)
		}
		defer file.Close()
		if _, err := file.WriteAt([]byte{0, 0, 0, 0xff}, int64(m.freelist*m.pageSize)+12); err != nil {
			t.Fatal(err)
		}
		for range 2 {
			if _, err := s.Commit(Change{Tracker: []byte("{}")}); !errors.Is(err, ErrDamaged) {
				t.Errorf("%d events, %d bytes: commit: %v", events, len(whole), err)
			}
		}
		s.Close()
	}
}

func TestDiskFull(t *testing.T) {
	testhost.NeedRoot(t)
	dir := t.TempDir()
	if err := unix.Mount("tmpfs", dir, "tmpfs", 0, "size=512k"); err != nil {
		testhost.Skip(t, "mount a small tmpfs: "+err.Error())
	}
	t.Cleanup(func() { unix.Unmount(dir, unix.MNT_DETACH) })
	s := open(t, filepath.Join(dir, "s"), Options{})
	committed := 0
	for ; ; committed++ {
		ev := event(fmt.Sprint(committed), remediate.EventStepApplied)
		ev.Body = make([]byte, 10000)
		_, err := s.Commit(Change{Positions: map[string][]byte{"p": []byte(ev.ID)}, Events: []notify.Outgoing{ev}})
		if errors.Is(err, syscall.ENOSPC) {
			break
		}
		if err != nil || committed > 100 {
			t.Fatalf("after %d: %v", committed, err)
		}
	}
	if s.Len() != committed {
		t.Errorf("%d were committed, the outbox has %d", committed, s.Len())
	}
	s.Close()
	s = open(t, filepath.Join(dir, "s"), Options{})
	snap, err := s.Load()
	if err != nil || string(snap.Positions["p"]) != fmt.Sprint(committed-1) || s.Len() != committed {
		t.Errorf("after %d commits: %q, %d, %v", committed, snap.Positions["p"], s.Len(), err)
	}
}

func FuzzCheckPages(f *testing.F) {
	path := filepath.Join(f.TempDir(), "s")
	whole := filled(f, path, 5)
	f.Add(whole, 0, byte(0))
	f.Fuzz(func(t *testing.T, content []byte, at int, x byte) {
		if at >= 0 && at < len(content) {
			content = bytes.Clone(content)
			content[at] ^= x
		}
		_, _ = checkPages(bytes.NewReader(content), int64(len(content)), nil)
		_, _ = checkPages(bytes.NewReader(content), int64(len(content)), &small{})
	})
}

// TestMissingPair: a pair that is gone, or that is the one of before, leaves no broken seal behind. It is noticed.
func TestMissingPair(t *testing.T) {
	dir := t.TempDir()
	good := filepath.Join(dir, "good")
	filled(t, good, 60)
	s := open(t, good, Options{})
	commit(t, s, Change{Meta: map[string][]byte{"lost": []byte("9")}})
	s.Close()
	whole, err := os.ReadFile(good)
	if err != nil {
		t.Fatal(err)
	}
	b := names()
	for _, name := range [][]byte{b.positions, b.tracker, b.agent, b.steps} {
		for what, tamper := range map[string]func(b *bolt.Bucket, k []byte) error{
			"gone":   func(b *bolt.Bucket, k []byte) error { return b.Delete(k) },
			"before": func(b *bolt.Bucket, k []byte) error { return b.Put(k, seal(name, k, []byte(`{"id":"0"}`))) },
		} {
			path := filepath.Join(dir, "s")
			if err := os.WriteFile(path, whole, 0o600); err != nil {
				t.Fatal(err)
			}
			db, err := bolt.Open(path, 0o600, nil)
			if err != nil {
				t.Fatal(err)
			}
			err = db.Update(func(tx *bolt.Tx) error {
				k, _ := tx.Bucket(name).Cursor().First()
				return tamper(tx.Bucket(name), bytes.Clone(k))
			})
			if err != nil {
				t.Fatal(err)
			}
			db.Close()
			o, err := Begin(path, Options{})
			if err != nil {
				t.Fatal(err)
			}
			if o.Sound {
				t.Errorf("%s %s: called sound", name, what)
			}
			s, found, err := o.Finish()
			if err != nil || found.SetAside == "" {
				t.Fatalf("%s %s: %+v, %v", name, what, found, err)
			}
			s.Close()
			os.Remove(path)
		}
	}
}
