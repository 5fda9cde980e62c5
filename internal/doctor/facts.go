package doctor

import (
	"time"

	"github.com/ctwarden/ctwarden/internal/writers"
	"github.com/ctwarden/ctwarden/remediate"
	"github.com/ctwarden/ctwarden/remediate/apply"
	"github.com/ctwarden/ctwarden/remediate/sysctld"
)

// Config is what the caller knows: where to look, and what the agent on this host is set up to do.
type Config struct {
	// Root is the directory that stands for "/".
	Root string
	// User is the effective user id of this process.
	User int
	Now  time.Time
	// File is the agent's configuration. Mistakes are those in it, for which the agent does not start; Policy and
	// PersistFile are then the defaults, as they are where Unread says why it may not be read.
	File     string
	Mistakes []string
	Unread   string
	Policy   remediate.Policy
	// AwaitFleet is true where the configuration leaves the mode to the fleet (remediate.await_fleet), Running is the mode in
	// which the agent is now; empty: it does not answer.
	AwaitFleet bool
	Running    remediate.Mode
	// PersistFile is the sysctl.d file that is the agent's own.
	PersistFile string
	// StateDir and RuntimeDir are the agent's directories; empty: they are not looked at.
	StateDir, RuntimeDir string
	// Hold is the operator's hold; nil: none. HoldUnread says why it is not known.
	Hold       *remediate.Hold
	HoldUnread string
}

// known tells whether the configuration is the one that the agent runs with.
func (c Config) known() bool { return c.Unread == "" && len(c.Mistakes) == 0 }

// awaits tells whether the agent observes until the fleet has it act.
func (c Config) awaits() bool {
	return c.known() && c.Policy.Mode == remediate.ModeRemediate && c.AwaitFleet && c.Running != remediate.ModeRemediate
}

// Facts are what was found on a host.
type Facts struct {
	Config
	// Kernel is its release; empty: unknown. Chains is on how long a hash chain it refuses an insert.
	Kernel string
	Chains remediate.Chains
	// Table tells whether there is a table; then Limits are its settings.
	Table  bool
	Limits remediate.Limits
	// Inside is true where this is not the first network namespace, whose limit alone can be set.
	Inside bool
	// Memory is zero where it is unknown.
	Memory remediate.Memory
	Fills  []Fill
	// Cores is the number of processors; 0: unknown.
	Cores uint64
	// Tree are the sysctl.d files; Systemd tells whether systemd applies them at boot, SystemdSysctl and Procps which
	// programs are there.
	Tree          *sysctld.Tree
	Systemd       bool
	SystemdSysctl sysctld.Loader
	Procps        sysctld.Loader
	Module        Module
	// Kube and Tuned are nil where they are not there.
	Kube     *writers.KubeProxy
	Tuned    *writers.Profile
	Mentions []writers.Mention
	// Managed has, for files that say that a configuration tool writes them, its name.
	Managed map[string]string
	// Persisted is what our sysctl.d file says, where HasPersisted; PersistErr is what is wrong with it.
	Persisted    apply.Persisted
	HasPersisted bool
	PersistErr   error
	Unit         Unit
	// Dirs are the agent's own directories.
	Dirs    []Dir
	Unknown []Unknown
}

// Fill is how full one namespace's table is.
type Fill struct {
	Name  string
	Count uint64
	Init  bool
}

// Unknown is something that could not be read.
type Unknown struct {
	What string `json:"what"`
	Why  string `json:"why"`
}

// ModuleState is where nf_conntrack is.
type ModuleState string

// The states of the module.
const (
	ModuleBuiltIn ModuleState = "built_in"
	ModuleLoaded  ModuleState = "loaded"
	ModuleAbsent  ModuleState = "not_loaded"
	ModuleUnknown ModuleState = "unknown"
)

// Module is the kernel's module nf_conntrack, and what will load it.
type Module struct {
	State ModuleState
	// Early is the place, as file:line, that has it loaded before the sysctl.d files are applied, by itself or by way of
	// the module Via that needs it. Empty: nothing does.
	Early, Via string
	// Blocked is the line that keeps it from being loaded there; then Early is empty.
	Blocked string
	// Race is a service that may load it just before or just after the sysctl.d files are applied; empty: none is known.
	Race string
	// Replay is the line of a udev rule that has systemd-sysctl apply the settings below Prefixes once it is loaded.
	Replay   string
	Prefixes []string
	// Hash is the number of buckets that HashBy asks for at its loading; 0: the kernel chooses.
	Hash   uint64
	HashBy string
	// Param is the limit that the kernel itself sets from its command line, ParamBy; 0: none.
	Param   uint64
	ParamBy string
	// Unsure says what could not be read of what loads it; empty: nothing.
	Unsure string
}

// late tells whether the sysctl.d files are applied before the module is there. Where that is not known, it is said, and
// the module supposed to be there.
func (m Module) late() bool { return m.State != ModuleBuiltIn && m.Early == "" && m.Unsure == "" }

// Unit is the agent's service as systemd finds it.
type Unit struct {
	// File is the unit's file; empty: it is not installed.
	File string
	// Enabled is true where it is started at boot; Masked is the file that keeps it from being started at all.
	Enabled bool
	Masked  string
	// Lacks is what it would need to write the limit; empty: nothing. Persists is true where it can have a limit written
	// to the sysctl.d file.
	Lacks    string
	Persists bool
	// Confined is true where it may write below no other directories than Writable, which are free of links. Covered are
	// those that it does not see as they are, Bound those that BindPaths= puts there for it.
	Confined bool
	Writable []string
	Bound    []string
	Covered  []Cover
	// SystemdRuns is true where systemd is this system's first process. Active is true where the service runs, PID is its
	// process where that is seen, and PIDWriter whether that has the capability.
	SystemdRuns bool
	Active      bool
	PID         int
	PIDWriter   bool
}

// Dir is a directory of the agent's own, as Key of its configuration names it.
type Dir struct {
	Key, Path string
	real      string // free of links
}

// Cover is a directory over which a setting of the unit puts another one.
type Cover struct {
	Setting, Dir string
	real         string // free of links
	// sealed is true where BindPaths= shows nothing there either.
	sealed bool
}
