package e2e

import (
	"fmt"
	"testing"

	"github.com/ctwarden/ctwarden/internal/testvm"
)

// guestConfig has every time so short that the test need not wait for long, and a budget and a pause of which a jump of
// the clock could make too much or too little. A host that expects few new connections reads its table once a second, so that
// a burst is refused before a step is taken.
const guestConfig = `
mode: remediate
incident: {close_after: 6s, pressure: 0.97}
remediate:
  ceiling: 400000
  max_insert_rate: 200
  step: 1.5
  max_step: 1.5
  memory_share: 0.5
  steps_per_hour: 5
  foreign_pause: 14s
  persist_file: /etc/sysctl.d/99-zz-ctwarden.conf
sources: {lookback: 0s, kmsg: {enabled: true}, journal: {enabled: false}, syslog: {enabled: false}}
metrics: {listen: ""}
state_dir: /var/lib/ctwarden
runtime_dir: /run/ctwarden
`

// guest is a machine of its own, emulated, with an agent in it. Its console has the agent's log.
type guest struct {
	*testvm.Machine
	limit uint64 // that the agent has left
}

// bootGuest boots one with Debian's kernel of bookworm and starts the agent. The table takes a thousand entries.
func bootGuest(t *testing.T) *guest {
	t.Helper()
	kernel := testvm.DebianKernel(t, "bookworm")
	image := testvm.NewImage(t, testvm.Contents{
		Kernel:   kernel,
		Modules:  []string{"nf_conntrack", "nf_conntrack_netlink", "nft_ct", "veth"},
		Programs: append([]string{"nft", "ip"}, testvm.Build(t, "cmd/ctwarden", "testdata/flood")...),
		Files:    map[string]string{"etc/ctwarden.yaml": guestConfig},
	})
	g := &guest{Machine: testvm.Boot(t, image, 512), limit: 1000}
	g.Run(t, "modprobe nf_conntrack")
	g.Run(t, fmt.Sprintf("echo %d >/proc/sys/net/netfilter/nf_conntrack_max", g.limit))
	g.Run(t, "ctwarden run --config /etc/ctwarden.yaml >/dev/console 2>&1 & agent=$!")
	g.Says(t, 0, "agent ready")
	g.Says(t, 0, "agent.started: ") // in either order
	return g
}
