package kernels

import (
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/ctwarden/ctwarden/internal/testvm"
	"github.com/ctwarden/ctwarden/remediate"
)

// reportEnv names the file that gets a line for each kernel; without it nothing is booted. make e2e-kernels sets it.
const reportEnv = "CTWARDEN_KERNELS"

// memory is what each machine has, in MB. The kernel's default limit depends on it.
const memory = 512

// config is the agent's. A host that expects few new connections reads its table once a second. The incident is to be open
// still when it is looked at.
const config = `
mode: remediate
incident: {close_after: 1h}
remediate:
  max_insert_rate: 200
  memory_share: 0.25
sources: {kmsg: {enabled: true}, journal: {enabled: false}, syslog: {enabled: false}}
metrics: {listen: ""}
`

// machineID is the guests' own, which the persisted file has in it.
const machineID = "6374776172646e0000000000000000e2"

// releases are Debian's, with the series of their kernels; sid's is whichever is newest.
var releases = []release{
	{"11 bullseye", "5.10"},
	{"12 bookworm", "6.1"},
	{"13 trixie", "6.12"},
	{"sid", ""},
}

// release is one, with its number as far as it has one.
type release struct{ name, series string }

// suite is what apt calls it.
func (r release) suite() string { return r.name[strings.Index(r.name, " ")+1:] }

// scene is one kernel and what was seen of it in three boots.
type scene struct {
	release string // as uname says
	image   testvm.Image
	// first and other are what the kernel prints where the first namespace's table is full, and another's.
	first, other string
	defaults     settings
	// step is the one after the refusal in the first boot, boot the one to the persisted limit in the second boot, and
	// again the one after the refusal there.
	step, boot, again remediate.Step
	took              []time.Duration
}

func TestKernels(t *testing.T) {
	report := os.Getenv(reportEnv)
	if report == "" {
		t.Skip("make e2e-kernels runs it: it boots four kernels")
	}
	programs := testvm.Build(t, "cmd/ctwarden", "testdata/flood")
	for _, r := range releases {
		t.Run(r.suite(), func(t *testing.T) {
			t.Parallel() // a machine takes one processor, and as many run as this host has
			s := newScene(t, r, programs)
			s.take(t, s.firstBoot)
			s.take(t, s.secondBoot)
			s.take(t, s.thirdBoot)
			if t.Failed() {
				return
			}
			add(t, report, s.line(r))
			wantDocumented(t, r, s)
		})
	}
}

func newScene(t *testing.T, r release, programs []string) *scene {
	t.Helper()
	kernel := testvm.DebianKernel(t, r.suite())
	if r.series != "" && !strings.HasPrefix(kernel.Release, r.series+".") {
		t.Fatalf("%s has Linux %s, want %s", r.name, kernel.Release, r.series)
	}
	return &scene{release: kernel.Release, image: testvm.NewImage(t, testvm.Contents{
		Kernel:  kernel,
		Modules: []string{"nf_conntrack", "nf_conntrack_netlink", "nft_ct", "veth", "crc32c_generic"},
		Programs: append([]string{
			"nft", "ip", "/lib/systemd/systemd-modules-load", "/lib/systemd/systemd-sysctl",
		}, programs...),
		Files: map[string]string{"etc/ctwarden/ctwarden.yaml": config, "etc/machine-id": machineID + "\n"},
	})}
}

// take runs one boot and notes how long it took.
func (s *scene) take(t *testing.T, boot func(*testing.T)) {
	t.Helper()
	begin := time.Now()
	boot(t)
	s.took = append(s.took, time.Since(begin))
}

// row is the kernel's row in the README's table.
func (s *scene) row(r release) string {
	series := r.series
	if series == "" {
		series = strings.Join(strings.SplitN(s.release, ".", 3)[:2], ".")
	}
	return fmt.Sprintf("| %s | %s | `%s` | `%s` | %d / %d |",
		r.name, series, s.first, s.other, s.defaults.max, s.defaults.buckets)
}

// line is that row, and what was seen besides.
func (s *scene) line(r release) string {
	var took []string
	for _, d := range s.took {
		took = append(took, d.Round(100*time.Millisecond).String())
	}
	return s.row(r) + fmt.Sprintf(" %s; said while there was no module; %d → %d (%s), both keys read back, persisted; "+
		"boot 2: systemd-sysctl too early, %d → %d (%s) by the agent in %d µs, once, then %d → %d (%s); "+
		"boot 3: modules-load.d in time, %d without the agent; the boots took %s |",
		s.release, s.step.From, s.step.To, s.step.Reason, s.boot.From, s.boot.To, s.boot.Reason, s.boot.TookUS,
		s.again.From, s.again.To, s.again.Reason, s.again.To, strings.Join(took, ", "))
}

// add adds a line to a file.
func add(t *testing.T, path, line string) {
	t.Helper()
	t.Log(line)
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_APPEND|os.O_CREATE, 0o644)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if _, err := f.WriteString(line + "\n"); err != nil {
		t.Fatal(err)
	}
}
