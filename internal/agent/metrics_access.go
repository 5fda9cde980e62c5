package agent

import (
	"fmt"
	"math"
	"net"
	"net/http"
	"os"
	"os/user"
	"slices"
	"strconv"
	"strings"

	"github.com/ctwarden/ctwarden/internal/tcppeer"
)

// EveryUser in metrics.users stands for every user of the host.
const EveryUser = "*"

// metricsAccess says who may read the metrics: whom the control socket is for, and over TCP also the users named for
// that, and other hosts, whose reach is a matter of the address listened on and of the firewall.
type metricsAccess struct {
	access
	tcp   bool
	every bool // every user of this host
	users []uint32
}

func newMetricsAccess(cfg MetricsConfig) (metricsAccess, error) {
	gid, err := groupID(cfg.Group)
	if err != nil {
		return metricsAccess{}, err
	}
	a := metricsAccess{access: access{own: uint32(os.Geteuid()), group: cfg.Group, gid: gid}}
	if _, ok := MetricsSocket(cfg.Listen); ok {
		return a, nil
	}
	a.tcp = true
	for _, name := range cfg.Users {
		if name == EveryUser {
			a.every = true
			continue
		}
		uid, err := MetricsUser(name)
		if err != nil {
			return metricsAccess{}, fmt.Errorf("metrics.users: %w", err)
		}
		a.users = append(a.users, uid)
	}
	return a, nil
}

// MetricsUser is the number of a user that metrics.users names, by name or by number. A number need not have a name.
func MetricsUser(name string) (uint32, error) {
	if uid, err := strconv.ParseUint(name, 10, 32); err == nil && uid != math.MaxUint32 { // the last one means nobody
		return uint32(uid), nil
	}
	u, err := user.Lookup(name)
	if err != nil {
		return 0, fmt.Errorf("there is no user %q here", name)
	}
	uid, err := strconv.ParseUint(u.Uid, 10, 32)
	return uint32(uid), err
}

// check fails unless the peer may read the metrics; the error says what to set.
func (a metricsAccess) check(p peer) error {
	if a.named(p) {
		return nil
	}
	err := a.access.check(p)
	switch {
	case err == nil || !a.tcp:
		return err
	case p.err != nil:
		return fmt.Errorf("%w; metrics.users: [\"*\"] lets every user in, and metrics.listen: unix:/path needs no look-up", err)
	}
	return fmt.Errorf("%w; metrics.users: [%s] lets this user read the metrics, metrics.listen: unix:/path the group", err,
		strings.TrimPrefix(userName(p.uid), "uid "))
}

// named tells whether the peer may read for what is said of TCP alone.
func (a metricsAccess) named(p peer) bool {
	return a.tcp && (a.every || p.elsewhere || p.err == nil && slices.Contains(a.users, p.uid))
}

// guard lets only those through that may read the metrics.
func (m *Metrics) guard(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if err := m.access.check(peerOf(r.Context())); err != nil {
			w.Header().Set("Connection", "close") // it is of no use, and leaves its place to others
			http.Error(w, err.Error(), http.StatusForbidden)
			return
		}
		next.ServeHTTP(w, r)
	})
}

// noGroup is no group's number.
const noGroup = math.MaxUint32

// tcpPeer is who is at the other end of a TCP connection. Of the groups that the client's process is in the kernel says
// nothing: those of its user count.
func tcpPeer(conn *net.TCPConn) peer {
	p, err := tcppeer.Of(conn)
	return peer{uid: p.UID, gid: noGroup, elsewhere: p.Elsewhere, err: err}
}
