package agent

import (
	"time"

	"go.uber.org/zap"

	"github.com/ctwarden/ctwarden/notify"
	"github.com/ctwarden/ctwarden/remediate"
	"github.com/ctwarden/ctwarden/remediate/apply"
)

// Switch says whether a source is to be used.
type Switch string

// The positions of a switch.
const (
	SwitchAuto Switch = "auto"  // used where it can be read, else said once
	SwitchOn   Switch = "true"  // an error where it cannot be read
	SwitchOff  Switch = "false" // not used
)

// Config is all that an agent is told.
type Config struct {
	Version string
	// Host is the host's name, as events carry it.
	Host string
	Site string
	// Root is the root of the file system: "/", or a scratch directory in a test.
	Root   string
	Policy remediate.Policy
	// AwaitFleet has a host in remediate mode observe until the fleet says remediate.
	AwaitFleet  bool
	CloseAfter  time.Duration
	UpdateEvery time.Duration
	Sources     SourcesConfig
	// NATS without servers: events stay in the local log and the outbox is off.
	NATS notify.Dial
	// Oncall are the senders that this host uses itself.
	Oncall        []Oncall
	OutboxMax     int
	MetricsListen string // empty: no listener
	// MetricsUsers may read the metrics over TCP besides those that the control socket is for.
	MetricsUsers []string
	StateDir     string
	RuntimeDir   string
	ControlGroup string
	PersistFile  string
	// ModuleFile is the modules-load.d file that comes and goes with PersistFile; empty: none.
	ModuleFile string
	// PersistSocket is where root's helper is asked to write PersistFile, where the agent may not; empty: nowhere.
	PersistSocket string
	Log           *zap.Logger
	// Fail is called at the stages of what must survive a crash. It is nil but in tests, which end the program there.
	Fail func(stage string)
}

func (c Config) fleetHoldPlaces() apply.HoldPlaces {
	return apply.HoldPlaces{StateDir: c.StateDir, RuntimeDir: c.RuntimeDir, Fleet: true}
}

func (c Config) holdPlaces() apply.HoldPlaces {
	return apply.HoldPlaces{StateDir: c.StateDir, RuntimeDir: c.RuntimeDir}
}

// SourcesConfig says where kernel records are read from.
type SourcesConfig struct {
	// Lookback is how far back the very first start reads.
	Lookback time.Duration
	// LateAfter is how long a source may give no sign of life, or lack what another one has delivered, before it counts
	// as degraded. Zero: 30 s.
	LateAfter        time.Duration
	Kmsg             Switch
	KmsgPath         string // empty: /dev/kmsg
	Journal          Switch
	JournalDirectory string // empty: the host's journal
	Syslog           Switch
	SyslogFiles      []string
}
