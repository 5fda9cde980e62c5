package remediate

// Reason is one of the fixed words that say why something was done or not done. The same word stands in events, logs,
// metrics and the status.
type Reason string

// Why a step was taken.
const (
	ReasonPressure    Reason = "pressure"    // the table is filling and rising
	ReasonFull        Reason = "full"        // the kernel is refusing connections
	ReasonForecast    Reason = "forecast"    // measured demand fills the table within the horizon
	ReasonManual      Reason = "manual"      // an operator asked
	ReasonBoot        Reason = "boot"        // the persisted limit, applied once per boot
	ReasonDecay       Reason = "decay"       // long below a quarter of the limit
	ReasonIneffective Reason = "ineffective" // the step did not help: it was undone, and no other is taken for this incident
)

// Why no step was taken.
const (
	ReasonNoPressure    Reason = "no_pressure"    // nothing asks for one
	ReasonObserveMode   Reason = "observe_mode"   // mode is observe
	ReasonHeld          Reason = "held"           // an operator holds all automatic writes
	ReasonUnverified    Reason = "unverified"     // no fresh reading of the counters bears it out
	ReasonAtCeiling     Reason = "at_ceiling"     // the limit is at the ceiling, or was found above it
	ReasonMemory        Reason = "memory"         // the table could outgrow its share of memory
	ReasonChainLimit    Reason = "chain_limit"    // the hash is too small for a higher limit
	ReasonCooldown      Reason = "cooldown"       // too soon after the last step
	ReasonBudget        Reason = "budget"         // the hour's steps are used up
	ReasonReadOnly      Reason = "read_only"      // the limit cannot be written from here
	ReasonForeignChange Reason = "foreign_change" // somebody else changed the limit: a short while ago, on purpose, or again and again
	ReasonFlood         Reason = "flood"          // the table is filled by a flood, which a higher limit feeds
)

// lasts tells whether a step that was asked for by trigger and refused for the reason will be for a while, whatever the table
// does.
func (r Reason) lasts(trigger Reason) bool {
	switch r {
	case ReasonObserveMode, ReasonHeld, ReasonReadOnly, ReasonAtCeiling, ReasonBudget, ReasonMemory, ReasonFlood:
		return true
	case ReasonChainLimit, ReasonForeignChange, ReasonIneffective: // refusals may be allowed what is not allowed before
		return trigger == ReasonFull
	}
	return false
}

// Text explains the reason in a few words, for a person.
func (r Reason) Text() string { return reasonText[r] }

var reasonText = map[Reason]string{
	ReasonPressure:      "the table is filling and rising",
	ReasonFull:          "the kernel is refusing connections",
	ReasonForecast:      "measured demand fills the table within the horizon",
	ReasonManual:        "an operator asked for it",
	ReasonBoot:          "the persisted limit, applied once per boot",
	ReasonDecay:         "long below a quarter of the limit",
	ReasonIneffective:   "the last step did not help",
	ReasonNoPressure:    "nothing asks for a step",
	ReasonObserveMode:   "mode is observe; set mode: remediate to let ctwarden raise the limit",
	ReasonHeld:          "automatic writes are held; ctwarden unhold releases them",
	ReasonUnverified:    "no fresh reading of the kernel's counters bears it out",
	ReasonAtCeiling:     "the limit is at or above remediate.ceiling",
	ReasonMemory:        "the table could outgrow remediate.memory_share or the memory available now",
	ReasonChainLimit:    "the hash has too few buckets for a higher limit",
	ReasonCooldown:      "remediate.cooldown has not passed since the last step",
	ReasonBudget:        "remediate.steps_per_hour are used up",
	ReasonReadOnly:      "the limit cannot be written from here; set it on the host",
	ReasonForeignChange: "somebody else changed the limit, and automatic steps keep still for a while",
	ReasonFlood:         "the table is filled by a flood; a higher limit would feed it",
}
