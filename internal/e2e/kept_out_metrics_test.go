package e2e

import (
	"fmt"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"os/user"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/ctwarden/ctwarden/internal/testhost"
)

// metricsKeptOut has the agent serve its metrics over TCP, and asks as those who may and those who may not. It returns
// how many requests were refused, how many served, and what came of an ordinary user's attempt to take all places.
func metricsKeptOut(t *testing.T, a *agentProcess) (refused, served int, storm string) {
	t.Helper()
	if _, err := exec.LookPath("curl"); err != nil {
		testhost.Skip(t, "needs curl: "+err.Error())
	}
	a.stop(t, syscall.SIGTERM)
	port := testhost.Port(t)
	for _, listen := range []struct {
		address string
		to      []string
	}{
		{"127.0.0.1", []string{"127.0.0.1"}},
		{"", append([]string{"127.0.0.1", "127.1.2.3", "[::1]", "[::ffff:127.0.0.1]"}, ownAddresses(t)...)},
	} {
		a.configure(t, "control_group: daemon\nsources: {lookback: 0s, journal: {enabled: false}, syslog: {enabled: false}}\nremediate: {persist: false}")
		text, err := os.ReadFile(a.config)
		if err != nil {
			t.Fatal(err)
		}
		writeFile(t, a.config, strings.Replace(string(text), `metrics: {listen: ""}`,
			fmt.Sprintf("metrics: {listen: '%s:%d', users: [54322]}", listen.address, port), 1), 0o644)
		a.start(t)
		for _, to := range listen.to {
			no, yes := askForMetrics(t, fmt.Sprintf("http://%s:%d/metrics", to, port))
			refused, served = refused+no, served+yes
		}
		if storm == "" {
			storm = stormMetrics(t, port)
		}
		a.stop(t, syscall.SIGTERM)
	}
	return refused, served, storm
}

// stormMetrics has an ordinary user hold connections, more than the agent has places, and reopen each that is closed, and
// asks meanwhile as those who may: the agent is that of [askForMetrics].
func stormMetrics(t *testing.T, port int) string {
	t.Helper()
	const held = 70
	address := netip.AddrPortFrom(netip.AddrFrom4([4]byte{127, 0, 0, 1}), uint16(port))
	stop := testhost.Flood(t, address, held, "GET /metrics HTTP/1.1\r\nHost: agent\r\n\r\n")
	served, asked := 0, 0
	for range testhost.Amount(10, 300) {
		for _, as := range [][]string{nil, asUser(54322, 54322), asUser(userNumber(t, "daemon"), groupNumber(t, "daemon"))} {
			asked++
			if code, said := scrapeAs(t, as, fmt.Sprintf("http://%v/metrics", address)); code == "200" {
				served++
			} else {
				t.Errorf("%v: a scrape in the storm got %s %.200s", as, code, said)
			}
		}
	}
	opened := stop()
	if opened < 2*held {
		t.Errorf("%d connections of %d held were opened, so that this was no storm", opened, held)
	}
	return fmt.Sprintf("while an ordinary user held %d connections and opened %d, %d of %d scrapes were served", held, opened, served, asked)
}

// askForMetrics asks an agent with control_group: daemon and metrics.users: [54322].
func askForMetrics(t *testing.T, url string) (refused, served int) {
	t.Helper()
	gid := groupNumber(t, "daemon")
	for _, who := range []struct {
		as   []string
		want string
	}{
		{asUser(54321, 54321), "403 not permitted for user uid 54321"},
		{asUser(54321, gid), "403 not permitted for user uid 54321"}, // the user is not in the group, whatever the process is
		{asUser(testhost.Nobody, testhost.Nobody), "403 not permitted for user"},
		{asUser(54322, 54322), "200 # HELP ctwarden_"},
		{asUser(userNumber(t, "daemon"), gid), "200 # HELP ctwarden_"},
		{nil, "200 # HELP ctwarden_"},
	} {
		code, said := scrapeAs(t, who.as, url)
		switch {
		case !strings.HasPrefix(code+" "+said, who.want):
			t.Errorf("%v: %s got %s %.200s, want %s", who.as, url, code, said, who.want)
		case code == "403":
			refused++
		default:
			served++
		}
	}
	return refused, served
}

// scrapeAs reads the metrics with a program of a user's, and returns the code and the text.
func scrapeAs(t *testing.T, as []string, url string) (code, body string) {
	t.Helper()
	said, exit := runToEnd(t, append(slices.Clone(as), "curl", "-sS", "--noproxy", "*", "--max-time", "20", "-w", "%{http_code}", url)...)
	if exit != 0 || len(said) < 3 {
		t.Fatalf("%v: curl %s: exit code %d: %s", as, url, exit, said)
	}
	return said[len(said)-3:], said[:len(said)-3]
}

// ownAddresses are the first addresses of the machine that are not loopback.
func ownAddresses(t *testing.T) (hosts []string) {
	t.Helper()
	addrs, err := net.InterfaceAddrs()
	if err != nil {
		t.Fatal(err)
	}
	for _, a := range addrs {
		if n, ok := a.(*net.IPNet); ok && n.IP.IsGlobalUnicast() && n.IP.To4() != nil {
			hosts = append(hosts, n.IP.String())
		}
	}
	return hosts[:min(len(hosts), 3)]
}

// userNumber is the number of a user.
func userNumber(t *testing.T, name string) int {
	t.Helper()
	u, err := user.Lookup(name)
	if err != nil {
		testhost.Skip(t, err.Error())
	}
	uid, err := strconv.Atoi(u.Uid)
	if err != nil {
		t.Fatal(err)
	}
	return uid
}
