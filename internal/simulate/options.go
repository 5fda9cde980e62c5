package simulate

import (
	"errors"
	"fmt"
	"time"

	"github.com/nats-io/nats.go"
)

// The bounds of what may be asked for.
const (
	maxHosts       = 1_000_000
	maxConnections = 50_000
)

// Options say what fleet to simulate.
type Options struct {
	// Connect makes one connection; Run closes it. It is called Connections times.
	Connect func() (*nats.Conn, error)
	// Hosts are shared out evenly over Sites and over Connections, neither of which may be more.
	Hosts, Sites, Connections int
	// Within is the time in which every host's table fills up; 0: all do at once.
	Within time.Duration
	// Lasts is after how much quiet an incident closes, as incident.close_after of an agent.
	Lasts time.Duration
	// Rate bounds the events a second of the whole fleet; what is above waits at the hosts. 0: no bound.
	Rate int
	// Version is what the hosts say they run.
	Version string
	// Progress is called once a second, and once at the end, from one goroutine at a time; it may be nil.
	Progress func(Report)
}

// Check says all that is wrong with the options.
func (o Options) Check() error {
	var errs []error
	within := func(name string, n, most int) {
		if n < 1 || n > most {
			errs = append(errs, fmt.Errorf("%s: %d; 1 to %d", name, n, most))
		}
	}
	within("hosts", o.Hosts, maxHosts)
	within("sites", o.Sites, max(o.Hosts, 1))
	within("connections", o.Connections, max(min(o.Hosts, maxConnections), 1))
	if o.Within < 0 || o.Within > 24*time.Hour {
		errs = append(errs, fmt.Errorf("within: %s; 0 to 24h", o.Within))
	}
	if o.Lasts < time.Second || o.Lasts > 24*time.Hour {
		errs = append(errs, fmt.Errorf("for: %s; 1s to 24h", o.Lasts))
	}
	if o.Rate < 0 {
		errs = append(errs, fmt.Errorf("rate: %d; events a second, or 0 for no bound", o.Rate))
	}
	return errors.Join(errs...)
}
