package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/ctwarden/ctwarden/internal/doctor"
	"github.com/ctwarden/ctwarden/internal/testhost"
	"github.com/ctwarden/ctwarden/internal/testkernel"
)

const (
	// oracleTrees is how many trees are drawn; 30 are promised.
	oracleTrees = 36
	// The limits before a loader runs, which no line of a tree has.
	baseMax     = 99_999
	baseBuckets = 2048
)

// oracleTree is a tree of sysctl.d files in which each value stands once, so that the value that stays tells the line.
type oracleTree struct {
	files map[string]string
	at    map[uint64]string // file:line, by value
	rand  *rand.Rand
}

// TestDoctorAsTheLoadersDo has the real systemd-sysctl and the real "sysctl --system" apply trees to the kernel's own
// conntrack settings, and compares the values that stay, and the lines that they are from, with what the command says.
func TestDoctorAsTheLoadersDo(t *testing.T) {
	loaders := testhost.NewSysctl(t, "/")
	testkernel.Hold(t)
	set := 0
	for seed := range uint64(oracleTrees) {
		t.Run(fmt.Sprint("seed ", seed), func(t *testing.T) {
			tree := drawOracleTree(seed)
			root := t.TempDir()
			tree.plant(t, root)
			t.Logf("%s", tree)
			report := doctorReport(t, root)
			for _, systemd := range []bool{true, false} {
				said := report.AtBoot.Procps
				if systemd {
					said = report.AtBoot.Systemd
				}
				output, after := applyTree(t, loaders, root, systemd)
				if want := orElse64(said.Max, baseMax); after[0] != want || after[1] != want {
					t.Errorf("systemd %v left the limit at %v, doctor says %d\n%s", systemd, after[:2], want, output)
				}
				if want := orElse64(said.Buckets, baseBuckets); after[2] != want {
					t.Errorf("systemd %v left the buckets at %d, doctor says %d\n%s", systemd, after[2], want, output)
				}
				for n, by := range map[uint64]string{said.Max: said.By, said.Buckets: said.BucketsBy} {
					if n != 0 && tree.real(by) != tree.at[n] {
						t.Errorf("doctor says %d is from %q, it is from %q", n, by, tree.at[n])
					}
				}
				if said.Max != 0 {
					set++
				}
			}
			if own := report.AtBoot.Systemd; own.Max != 0 && (report.AtBoot.Max != own.Max || report.AtBoot.By != own.By) {
				t.Errorf("the next boot is said to have %d by %q, systemd-sysctl ends with %d by %q", report.AtBoot.Max, report.AtBoot.By, own.Max, own.By)
			}
		})
	}
	if set < oracleTrees {
		t.Errorf("of %d runs only %d set the limit: the trees show too little", 2*oracleTrees, set)
	}
}

// doctorReport is what the command says of the tree, as JSON.
func doctorReport(t *testing.T, root string) doctor.Report {
	t.Helper()
	var out, errs bytes.Buffer
	code := run(t.Context(), []string{"doctor", "-o", "json", "--root", root}, stdio{in: strings.NewReader(""), out: &out, err: &errs})
	var report doctor.Report
	if err := json.Unmarshal(out.Bytes(), &report); err != nil {
		t.Fatalf("%v: exit code %d, %s%s", err, code, out.String(), errs.String())
	}
	if want := min(len(report.Findings), 1); code != want {
		t.Errorf("exit code %d with %d findings", code, len(report.Findings))
	}
	return report
}

// applyTree has a loader apply the tree to the first network namespace's settings, from a known state.
func applyTree(t *testing.T, loaders *testhost.Sysctl, root string, systemd bool) (output string, after [3]uint64) {
	t.Helper()
	output, _, values := loaders.Run(t, testhost.SysctlRun{
		Root: root, Systemd: systemd,
		Prepare: fmt.Sprintf("echo %d > /proc/sys/net/netfilter/nf_conntrack_max; echo %d > /proc/sys/net/netfilter/nf_conntrack_buckets", baseMax, baseBuckets),
		Keys:    []string{"net/netfilter/nf_conntrack_max", "net/nf_conntrack_max", "net/netfilter/nf_conntrack_buckets"},
	})
	if len(values) != len(after) {
		t.Fatalf("values %q\n%s", values, output)
	}
	for i, v := range values {
		n, err := strconv.ParseUint(v, 10, 64)
		if err != nil {
			t.Fatal(err)
		}
		after[i] = n
	}
	return output, after
}

// drawOracleTree makes up the files of one tree, always the same for a seed.
func drawOracleTree(seed uint64) *oracleTree {
	o := &oracleTree{files: map[string]string{"run/systemd/system/x": ""}, at: map[uint64]string{}, rand: rand.New(rand.NewPCG(seed, 11))}
	for range 3 + o.rand.IntN(7) {
		dir := o.pick("etc", "run", "usr/local/lib", "usr/lib")
		name := dir + "/sysctl.d/" + o.pick("10-a", "10-B", "50-ct", "99-sysctl", "99-zz-ctwarden", "99-zzz", ".h") + ".conf"
		switch o.rand.IntN(10) {
		case 0:
			o.files[name] = "-> " + o.pick("/dev/null", "nowhere", "/etc/sysctl.conf", "/etc/sysctl.conf")
		case 1:
			o.files[name] = ""
		default:
			o.files[name] = o.lines("/" + name)
		}
	}
	if o.rand.IntN(4) == 0 {
		o.files["etc/sysctl.d/99-sysctl.conf"] = "-> ../sysctl.conf"
	}
	if o.rand.IntN(3) > 0 {
		o.files["etc/sysctl.conf"] = o.lines("/etc/sysctl.conf")
	}
	return o
}

// real is a place in a link as the place in the file that it leads to.
func (o *oracleTree) real(place string) string {
	file, line, _ := strings.Cut(place, ":")
	if strings.HasSuffix(o.files[strings.TrimPrefix(file, "/")], "sysctl.conf") && strings.HasPrefix(o.files[strings.TrimPrefix(file, "/")], "-> ") {
		return "/etc/sysctl.conf:" + line
	}
	return place
}

func (o *oracleTree) pick(of ...string) string { return of[o.rand.IntN(len(of))] }

// lines makes up the lines of one file, and notes the values.
func (o *oracleTree) lines(file string) string {
	var b strings.Builder
	for line := 1; line <= 1+o.rand.IntN(5); line++ {
		key := o.pick("net.netfilter.nf_conntrack_max", "net.nf_conntrack_max", "net/netfilter/nf_conntrack_max", "net/nf_conntrack_max",
			"/net/netfilter/nf_conntrack_max", "net.netfilter/nf_conntrack_max", "net.netfilter.nf_conntrack_buckets",
			"net.*.nf_conntrack_max", "net.netfilter.nf_conntrack_m?x", "net.nf_conntrack_[m]ax", "net/*/nf_conntrack_buckets", "net.*max")
		n := uint64(100_000 + 512*o.rand.IntN(400))
		if strings.HasSuffix(key, "buckets") {
			n = uint64(512 * (8 + o.rand.IntN(180)))
		}
		if o.at[n] != "" {
			n += 512 * uint64(len(o.at)+1) // each value once
		}
		prefix := o.pick("", "", "", "", "-", "- ", "#", "; ", " ")
		switch o.rand.IntN(12) {
		case 0:
			b.WriteString(prefix + key + o.pick(" = 12k", "=", " 131072", "=0b11", " = 99999999999") + "\n")
			continue
		case 1:
			b.WriteString("-" + key + "\n")
			continue
		case 2:
			fmt.Fprintf(&b, "%s%s = 0x%x\n", prefix, key, n)
		default:
			fmt.Fprintf(&b, "%s%s%s%d%s\n", prefix, key, o.pick("=", " = ", "\t=\t"), n, o.pick("", "", " ", " # why"))
		}
		o.at[n] = fmt.Sprintf("%s:%d", file, line)
	}
	return b.String()
}

func (o *oracleTree) plant(t *testing.T, root string) {
	t.Helper()
	for name, content := range o.files {
		path := filepath.Join(root, name)
		err := os.MkdirAll(filepath.Dir(path), 0o755)
		if target, ok := strings.CutPrefix(content, "-> "); err == nil && ok {
			err = os.Symlink(target, path)
		} else if err == nil {
			err = os.WriteFile(path, []byte(content), 0o644)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
}

// String shows the tree.
func (o *oracleTree) String() string {
	var b strings.Builder
	for _, name := range slices.Sorted(maps.Keys(o.files)) {
		fmt.Fprintf(&b, "== /%s\n%s\n", name, regexp.MustCompile(`\n$`).ReplaceAllString(o.files[name], ""))
	}
	return b.String()
}

func orElse64(n, other uint64) uint64 {
	if n == 0 {
		return other
	}
	return n
}
