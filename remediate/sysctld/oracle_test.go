package sysctld

import (
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/ctwarden/ctwarden/internal/testhost"
)

// oracleKeys are settings that each network namespace has of its own, take any small number and move no other:
// the kernel copies what is written to default only to devices that nobody has set yet, so the script sets all first.
var oracleKeys = []string{
	"net.ipv4.conf.all.medium_id", "net.ipv4.conf.all.tag", "net.ipv4.conf.default.medium_id",
	"net.ipv4.conf.default.tag", "net.ipv4.conf.eth9/100.medium_id", "net.ipv4.conf.eth9/100.tag",
	"net.ipv4.conf.lo.medium_id", "net.ipv4.conf.lo.tag",
}

// prepareKeys gives the keys a value that no tree has.
const prepareKeys = `ip link add eth9.100 type veth peer name p9; for key; do echo 7 > "$key"; done`

// oracle runs the real programs on a scratch root, in a mount namespace and a network namespace of their own.
type oracle struct {
	*testhost.Sysctl
	systemd, procps Loader // which they are
}

// run has the loader apply the tree below root. It gives the program's output and the values before and after.
func (o *oracle) run(t *testing.T, root string, l Loader) (output string, before, after []string) {
	t.Helper()
	r := testhost.SysctlRun{
		Root: root, Systemd: l.systemd(), Namespace: true,
		Prepare: prepareKeys,
	}
	for _, k := range oracleKeys {
		r.Keys = append(r.Keys, normalize(k))
	}
	return o.Run(t, r)
}

// wrote extracts from a loader's output what it wrote to the oracle's keys, in order.
func wrote(output string, l Loader) []string {
	re := regexp.MustCompile(`(?m)^Setting '(?:/proc/sys/)?(\S+)' to '(.*)'\.?$`)
	if !l.systemd() {
		re = regexp.MustCompile(`(?m)^(\S+) = (.*)$`)
	}
	var out []string
	for _, m := range re.FindAllStringSubmatch(output, -1) {
		// procps prints the name as it was written, so that "net..x" comes out with both dots.
		if key := dotted(normalize(m[1])); slices.Contains(oracleKeys, key) {
			out = append(out, key+"="+m[2])
		}
	}
	return out
}

// compare runs both programs on the tree below root and holds their writes and the values against ours.
func (o *oracle) compare(t *testing.T, root string) {
	t.Helper()
	for _, l := range []Loader{o.systemd, o.procps} {
		tree := load(t, root)
		output, before, after := o.run(t, root, l)
		if got, want := writes(tree, l), wrote(output, l); !slices.Equal(got, want) {
			t.Errorf("%v wrote\n\t%q, we say\n\t%q\n%s", l, want, got, output)
		}
		for i, k := range oracleKeys {
			want := before[i]
			if s, ok := lastNumber(tree.Writes(l, k)); ok {
				want = s.Value
			}
			if after[i] != want {
				t.Errorf("%v left %s at %s, we say %s\n%s", l, k, after[i], want, output)
			}
		}
	}
}

// writes lists what we say the loader writes and, with procps, prints: it is silent about what the kernel refused.
func writes(tree *Tree, l Loader) []string {
	var out []string
	for _, s := range tree.Writes(l, oracleKeys...) {
		if _, ok := s.Number(); ok || l.systemd() {
			out = append(out, s.Key+"="+s.Value)
		}
	}
	return out
}

func lastNumber(all []Setting) (Setting, bool) {
	for _, s := range slices.Backward(all) {
		if _, ok := s.Number(); ok {
			return s, true
		}
	}
	return Setting{}, false
}

// Trees drawn by a fixed seed from the forms that matter are read as the real programs read them.
func TestAsTheRealProgramsDo(t *testing.T) {
	compareTrees(t, "/")
}

// TestAsOtherReleasesDo is the same with the programs of other releases, whose roots CTWARDEN_OTHER_ROOTS names, with a
// colon between two: make test-loaders.
func TestAsOtherReleasesDo(t *testing.T) {
	roots := os.Getenv("CTWARDEN_OTHER_ROOTS")
	if roots == "" {
		t.Skip("CTWARDEN_OTHER_ROOTS names no roots of other releases")
	}
	for _, base := range strings.Split(roots, ":") {
		t.Run(filepath.Base(base), func(t *testing.T) { compareTrees(t, base) })
	}
}

// TestPrefixAsTheRealProgramDoes holds that of the settings below a prefix the same line has the last word as of all.
func TestPrefixAsTheRealProgramDoes(t *testing.T) {
	programs := testhost.NewSysctl(t, "/")
	const prefix = "/net/ipv4/conf/lo"
	for seed := range uint64(20) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			root := t.TempDir()
			testhost.Plant(t, root, drawTree(rand.New(rand.NewPCG(seed, 13)), false))
			r := testhost.SysctlRun{Root: root, Systemd: true, Namespace: true, Prefix: prefix, Prepare: prepareKeys}
			for _, k := range oracleKeys {
				r.Keys = append(r.Keys, normalize(k))
			}
			output, before, after := programs.Run(t, r)
			tree := load(t, root)
			for i, k := range oracleKeys {
				want := before[i]
				s, ok := lastNumber(tree.Writes(Systemd, k))
				if ok && strings.HasPrefix("/"+normalize(k), prefix+"/") {
					want = s.Value
				}
				if after[i] != want {
					t.Errorf("%s is left at %s, we say %s\n%s", k, after[i], want, output)
				}
			}
		})
	}
}

// compareTrees holds what we say against the programs of the system below base.
func compareTrees(t *testing.T, base string) {
	root, err := os.OpenRoot(base)
	if err != nil {
		t.Fatal(err)
	}
	defer root.Close()
	o := &oracle{Sysctl: testhost.NewSysctl(t, base), systemd: SystemdBelow(root), procps: ProcpsBelow(root)}
	split := !mergedOnly(base)
	const trees = 60
	for seed := range uint64(trees) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			root := t.TempDir()
			testhost.Plant(t, root, drawTree(rand.New(rand.NewPCG(seed, 7)), split))
			o.compare(t, root)
			if t.Failed() {
				listing, _ := exec.Command("sh", "-c", `cd "$1" && find etc run usr lib -name '*.conf' | while read f; do
					echo "== $f $(readlink $f)"; cat "$f"; done`, "sh", root).CombinedOutput()
				t.Logf("%s", listing)
			}
		})
	}
}

// mergedOnly tells whether the systemd below base is one of those (255 and later) that only know systems whose /lib is
// /usr/lib, and so do not look into /lib/sysctl.d.
func mergedOnly(base string) bool {
	for _, pattern := range []string{"usr/lib/systemd", "lib/systemd", "usr/lib/*/systemd"} {
		found, _ := filepath.Glob(filepath.Join(base, pattern, "libsystemd-shared-*.so"))
		for _, name := range found {
			var version int
			if _, err := fmt.Sscanf(filepath.Base(name), "libsystemd-shared-%d", &version); err == nil && version >= 255 {
				return true
			}
		}
	}
	return false
}

// drawTree makes up the files of one tree; split: of a system whose /lib may be a directory of its own.
func drawTree(r *rand.Rand, split bool) map[string]string {
	pick := func(of ...string) string { return of[r.IntN(len(of))] }
	files := map[string]string{}
	usrMerge := r.IntN(2) == 0 || !split
	if usrMerge {
		files["lib"] = "-> " + pick("usr/lib", "/usr/lib")
		files["usr/lib/sysctl.d"] = "dir/"
	}
	for range 4 + r.IntN(8) {
		dir := pick("etc", "run", "usr/local/lib", "usr/lib", "lib")
		if dir == "lib" && usrMerge {
			continue
		}
		name := dir + "/sysctl.d/" + pick("10-a", "10-B", "20-c", "9-d", "_e", "é", ".f", "99-zz") + ".conf"
		switch r.IntN(12) {
		case 0:
			files[name] = "-> " + pick("/dev/null", "nowhere", "/nowhere", "../sysctl.conf", "/etc/sysctl.conf")
		case 1:
			files[name] = pick("", "dir/", "\xef\xbb\xbf")
		default:
			files[name] = drawLines(r, pick)
		}
	}
	if r.IntN(3) > 0 {
		files["etc/sysctl.conf"] = drawLines(r, pick)
	}
	return files
}

// drawLines makes up the lines of one file.
func drawLines(r *rand.Rand, pick func(...string) string) string {
	var b strings.Builder
	for range 1 + r.IntN(6) {
		dev, key := pick("all", "default", "lo", "eth9/100", "eth9.100"), pick("medium_id", "tag")
		if r.IntN(4) == 0 {
			dev = pick("*", "[dl]*", "[!a]*", "???", "a*", "e*", "eth9?100")
		}
		name := pick("", "", "", "", "-", "- ", " -", "#", " ;") + "net.ipv4.conf." + dev + "." + key
		switch r.IntN(8) {
		case 0:
			name = "net/ipv4/conf/" + dev + "/" + key
		case 1:
			name = pick("/net/ipv4/conf/", ".net.ipv4/conf.", "net.ipv4.conf/", "net/ipv4.conf.") + dev + "/" + key
		}
		value := fmt.Sprint(1 + r.IntN(5))
		b.WriteString(name + pick("=", "=", "=", " = ", "\t=\t", "==", "", " : ") + value + pick("", "", "", " ", "\r", "\x00x"))
		b.WriteString(pick("\n", "\n", "\n\n", "\r\n"))
	}
	return b.String()
}
