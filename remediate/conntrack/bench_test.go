package conntrack

import (
	"os/exec"
	"testing"
	"time"

	"github.com/ctwarden/ctwarden/internal/testkernel"
)

func BenchmarkReadOwn(b *testing.B) {
	testkernel.Require(b)
	table := open(b, "/")
	inode := table.Own().Inode
	benchmarkRead(b, table, inode)
}

func BenchmarkReadOther(b *testing.B) {
	ns := testkernel.Scratch(b)
	table := open(b, "/")
	discover(b, table)
	benchmarkRead(b, table, ns.Inode)
}

func benchmarkRead(b *testing.B, table *Table, inode uint64) {
	for _, c := range []struct {
		name     string
		counters bool
	}{{"count", false}, {"counters", true}} {
		b.Run(c.name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if r, err := table.Read(inode, c.counters); err != nil || r.Blind {
					b.Fatal(r, err)
				}
			}
		})
	}
}

func BenchmarkReadByProcess(b *testing.B) {
	testkernel.Require(b)
	sleep := unshared(b)
	table := open(b, "/")
	discover(b, table)
	inode := inodeOf(b, sleep.Process.Pid)
	b.ReportAllocs()
	for b.Loop() {
		if err := table.readByProcess(inode, sleep.Process.Pid); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkDiscover looks around among 300 processes, 50 of them in namespaces of their own.
func BenchmarkDiscover(b *testing.B) {
	testkernel.Require(b)
	for range 250 {
		start(b, exec.Command("sleep", "300"))
	}
	for range 50 {
		unshared(b)
	}
	table := open(b, "/")
	begin := time.Now()
	discover(b, table)
	b.Logf("the first look: %v", time.Since(begin))
	b.ReportAllocs()
	for b.Loop() {
		discover(b, table)
	}
}

// BenchmarkRoom is what is read in the place of the counts of all namespaces that hold little.
func BenchmarkRoom(b *testing.B) {
	table := open(b, "/")
	for b.Loop() {
		if _, err := table.Room(); err != nil {
			b.Fatal(err)
		}
	}
}
