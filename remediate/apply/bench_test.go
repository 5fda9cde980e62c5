package apply

import (
	"fmt"
	"slices"
	"testing"

	"github.com/ctwarden/ctwarden/internal/testkernel"
	"github.com/ctwarden/ctwarden/remediate"
)

// BenchmarkResize resizes the real kernel's hash again and again, to 512 buckets more each time, and reports medians: how
// long the write took, for how long of that it kept a CPU busy, which is about how long packets stand still, and the
// latter for each entry.
func BenchmarkResize(b *testing.B) {
	for _, flows := range []int{10_000, 100_000, 500_000} {
		b.Run(fmt.Sprintf("entries=%d", flows), func(b *testing.B) { benchmarkResize(b, flows) })
	}
}

func benchmarkResize(b *testing.B, flows int) {
	lock := testkernel.Hold(b)
	ns := testkernel.Scratch(b)
	if err := lock.SetMax(1 << 20); err != nil {
		b.Fatal(err)
	}
	if _, err := ns.Send(b.Context(), testkernel.Traffic{Kind: testkernel.Established, Flows: flows}); err != nil {
		b.Fatal(err)
	}
	a, err := onHost(b.TempDir())
	if err != nil {
		b.Fatal(err)
	}
	defer a.Close()
	var took, busy []float64
	a.cfg.Resized = func(r remediate.Resize, err error) {
		if err != nil {
			b.Fatal(err)
		}
		took, busy = append(took, float64(r.TookUS)/1000), append(busy, float64(r.BusyUS)/1000)
	}
	for buckets := lock.Saved().Buckets; b.Loop(); {
		if buckets += 512; a.resize(buckets-512, buckets) != nil {
			b.Fatal("not resized")
		}
	}
	median := func(of []float64) float64 { slices.Sort(of); return of[len(of)/2] }
	b.ReportMetric(median(took), "ms/write")
	b.ReportMetric(median(busy), "ms/busy")
	b.ReportMetric(median(busy)*1e6/float64(flows), "ns/entry")
	b.ReportMetric(0, "ns/op")
}
