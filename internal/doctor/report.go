package doctor

// Severity says what a finding asks for.
type Severity string

// The severities.
const (
	Problem Severity = "problem" // the limit is or will be another than is wanted, or connections are at risk
	Advice  Severity = "advice"  // worth changing
	Unclear Severity = "unknown" // the answer rests on something that could not be read
)

// ID is the stable word of a finding.
type ID string

// The findings.
const (
	IDNotPersistent ID = "not_persistent"        // the limit in force is lost at the next boot
	IDBootHigher    ID = "boot_higher"           // the next boot brings a higher one
	IDOverridden    ID = "overridden"            // another file has the last word over ctwarden's
	IDSysctlSystem  ID = "sysctl_system"         // sysctl --system would lower it
	IDKeysDisagree  ID = "keys_disagree"         // the two names of the limit are set to different values
	IDBadValue      ID = "bad_value"             // a value that the kernel refuses
	IDBadLine       ID = "bad_line"              // a line that both loaders pass over
	IDZero          ID = "limit_zero"            // a limit of 0
	IDMasked        ID = "masked"                // the file that sets it is hidden
	IDDamaged       ID = "persist_damaged"       // ctwarden's file cannot be understood
	IDOtherMachine  ID = "persist_other_machine" // it was written on another machine
	IDNotOurs       ID = "persist_not_ours"      // somebody else's file has its name
	IDPersistUnread ID = "persist_dir"           // nothing reads the directory that it is in
	IDModuleLate    ID = "module_late"           // the module is loaded after the limit is set
	IDKubeProxy     ID = "kube_proxy"            // kube-proxy lowers it
	IDTuned         ID = "tuned"                 // tuned lowers it
	IDScript        ID = "script"                // something that runs at boot names the limit
	IDChain         ID = "chain_length"          // too few buckets for the limit
	IDWaste         ID = "buckets_wasted"        // far more buckets than the limit needs
	IDMemory        ID = "memory_at_ceiling"     // the ceiling does not fit the memory
	IDCeiling       ID = "ceiling_below_limit"   // no step will ever be taken
	IDReadOnly      ID = "read_only"             // the limit cannot be written
	IDInside        ID = "inside"                // this is a container: the limit is the host's
	IDNoCapability  ID = "no_capability"         // the service may not write it
	IDNoHelper      ID = "no_persist_helper"     // nothing can write the sysctl.d file for the service
	IDReadOnlyDir   ID = "directory_read_only"   // the service may not write to a directory of its own
	IDNotEnabled    ID = "agent_not_enabled"     // the service is not started at boot
	IDNotRunning    ID = "agent_not_running"     // it should run and does not
	IDAwaitsFleet   ID = "awaits_fleet"          // the agent observes until the hub has it act
	IDHeld          ID = "held"                  // a hold without an end
	IDConfig        ID = "config"                // the agent does not start with its configuration
	IDTableHigh     ID = "table_high"            // a table is nearly full
	IDUnreadable    ID = "unreadable"            // a file that may set the limit could not be read
)

// Finding is one thing to change.
type Finding struct {
	ID       ID       `json:"id"`
	Severity Severity `json:"severity"`
	// What is the case, and why it matters.
	What string `json:"what"`
	Why  string `json:"why,omitempty"`
	// Where is a place, as file:line, a file or a process; empty: the host.
	Where string `json:"where,omitempty"`
	// Fix is what to do: command lines, or lines to write and where.
	Fix string `json:"fix"`
}

// Line is a line of a file that sets something.
type Line struct {
	Value string `json:"value"`
	// By is file:line.
	By string `json:"by"`
}

// Outcome is what one program makes of the sysctl.d files, where the module is there.
type Outcome struct {
	// Max is the limit that it ends with and By the line that has the last word, as file:line; 0: it sets none.
	Max uint64 `json:"max"`
	By  string `json:"by,omitempty"`
	// Buckets is the same of net.netfilter.nf_conntrack_buckets.
	Buckets   uint64 `json:"buckets,omitempty"`
	BucketsBy string `json:"buckets_by,omitempty"`
	// Keys has the last line for each name, whether the kernel takes its value or not.
	Keys map[string]Line `json:"keys"`
}

// AtBoot is what the next boot brings.
type AtBoot struct {
	// Max is the limit once everything that is known to set it has done so, and By who does it last: a line as file:line,
	// a program, or the kernel's default. 0: it cannot be told.
	Max uint64 `json:"max"`
	By  string `json:"by,omitempty"`
	// Buckets is the size of the hash, and BucketsBy who sets it; 0: it cannot be told.
	Buckets   uint64  `json:"buckets"`
	BucketsBy string  `json:"buckets_by,omitempty"`
	Systemd   Outcome `json:"systemd"`
	Procps    Outcome `json:"procps"`
}

// ModuleReport is the module as the report tells of it.
type ModuleReport struct {
	State ModuleState `json:"state"`
	// Early is true where it is there before the sysctl.d files are applied, By what loads it then; nil: that could not be
	// read.
	Early *bool  `json:"early,omitempty"`
	By    string `json:"by,omitempty"`
	// Hash is what a hashsize option asks for.
	Hash   uint64 `json:"hashsize,omitempty"`
	HashBy string `json:"hashsize_by,omitempty"`
}

// Report is what doctor says. Its JSON names are part of the contract.
type Report struct {
	// Verdict is the answer in one line.
	Verdict string `json:"verdict"`
	// Survives tells whether the limit in force is what the next boot has; absent where that cannot be told, or there is
	// no table yet.
	Survives *bool `json:"survives,omitempty"`
	// Limit and Buckets are in force now; 0: there is no table yet.
	Limit    uint64       `json:"limit"`
	Buckets  uint64       `json:"buckets"`
	AtBoot   AtBoot       `json:"at_boot"`
	Module   ModuleReport `json:"module"`
	Findings []Finding    `json:"findings"`
	// Notes are things worth knowing that ask for nothing.
	Notes   []string  `json:"notes"`
	Unknown []Unknown `json:"unknown"`
}

func (r *Report) add(f Finding) { r.Findings = append(r.Findings, f) }

func (r *Report) has(id ID) bool {
	for _, f := range r.Findings {
		if f.ID == id {
			return true
		}
	}
	return false
}
