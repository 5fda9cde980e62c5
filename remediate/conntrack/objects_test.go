package conntrack

import (
	"testing"

	"github.com/ctwarden/ctwarden/internal/testkernel"
)

func TestObjects(t *testing.T) {
	const slabinfo = "slabinfo - version: 2.1\n# name <active_objs> <num_objs>\nnf_conntrack_expect 5 9 232 17 1\n" +
		"nf_conntrack        2100   5120    256   16    1 : tunables    0    0    0\n"
	for _, c := range []struct {
		name  string
		files map[string]string
		want  uint64 // 0: an error
	}{
		{"in sysfs", without(nil, map[string]string{objectsFile: "1338 N0=1000 N1=338\n", slabinfoFile: slabinfo}), 1338},
		{"in slabinfo", without(nil, map[string]string{slabinfoFile: slabinfo}), 2100},
		{"nonsense in sysfs", without(nil, map[string]string{objectsFile: "\n", slabinfoFile: slabinfo}), 2100},
		{"not in slabinfo", without(nil, map[string]string{slabinfoFile: "nf_conntrack_expect 5 9 232 17 1\n\n"}), 0},
		{"nonsense in slabinfo", without(nil, map[string]string{slabinfoFile: "nf_conntrack\n"}), 0},
		{"nowhere", host(), 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			got, err := open(t, tree(t, c.files)).Objects()
			if got != c.want || (err == nil) != (c.want > 0) {
				t.Errorf("objects = %d, %v; want %d", got, err, c.want)
			}
		})
	}
}

// TestObjectsOfTheKernel fills a namespace: its entries are among the kernel's, whoever else has some.
func TestObjectsOfTheKernel(t *testing.T) {
	ns := testkernel.Scratch(t)
	table := open(t, "/")
	if _, err := ns.Burst(t.Context(), 5000); err != nil {
		t.Fatal(err)
	}
	n, err := table.Objects()
	if err != nil {
		t.Fatal(err)
	}
	count, err := ns.Count()
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("%d objects, %d entries of the namespace", n, count)
	if n < count || count < 4000 {
		t.Errorf("%d objects, fewer than the %d entries of one namespace", n, count)
	}
}
