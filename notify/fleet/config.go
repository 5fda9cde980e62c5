package fleet

import (
	"time"

	"github.com/ctwarden/ctwarden/remediate"
)

// The defaults of a zero [Config].
const (
	defaultGroupWindow = 2 * time.Minute
	defaultGroupWait   = 5 * time.Second
	defaultUpdateEvery = 5 * time.Minute
	defaultTalkerHosts = 3
	defaultSilentAfter = 3 * time.Minute
	defaultSiteShare   = 0.5
	defaultWholeSite   = 15 * time.Minute
	defaultForgetAfter = 30 * 24 * time.Hour
)

// GroupBySite is the word in [Config.GroupBy] that means the site; any other is a label's name.
const GroupBySite = "site"

// Config is what an operator decides about grouping and paging.
type Config struct {
	// GroupWindow is how long after its last host began to refuse connections a group takes another one without waking
	// anybody, while it is open or quiet for less than GroupWait. 0: 2 minutes.
	GroupWindow time.Duration
	// GroupWait is how long the first page waits for more hosts, and how long a group is quiet before it counts as over.
	// 0: 5 seconds.
	GroupWait time.Duration
	// UpdateEvery is the least time between two updates of one group, doubled with each up to an hour. 0: 5 minutes.
	UpdateEvery time.Duration
	// GroupBy names what the incidents of one group have in common besides their cause: "site" and names of labels. Empty:
	// nothing, so that all hosts make one group. The engine's default is ["site"].
	GroupBy []string
	// TalkerHosts is on how many hosts the same top address makes one group across sites. 0: 3.
	TalkerHosts int
	// SilentAfter is how long after a host was last seen it counts as silent. 0: 3 minutes.
	SilentAfter time.Duration
	// SiteSilentShare is which share of a site's hosts, and at least 3, must fall silent within GroupWindow for the site to
	// count as silent. 0: a half.
	SiteSilentShare float64
	// WholeSiteAfter is for how long all hosts of a site must be silent, however few they are and one by one, for the site to
	// count as silent. Hosts that said goodbye are not among them. 0: 15 minutes.
	WholeSiteAfter time.Duration
	// ForgetAfter is how long a host that is silent or stopped stays known; its open incidents are ended then. 0: 30 days.
	ForgetAfter time.Duration
	// StepsPerHour is how many automatic steps the fleet may take in an hour before all are held. 0: any number.
	StepsPerHour int
	// Labels give hosts their labels. Where several rules set the same label, the last one counts.
	Labels []LabelRule
	// Routes say who is told. The first that matches counts, and the following ones too where it says Continue. Empty: one
	// route that tells all Senders of what is critical.
	Routes []Route
	// Senders are the names of all senders, for the route of last resort.
	Senders []string
	// Rollout lists the hosts that may act: those that match any. See [Fleet.Mode].
	Rollout []Selector
	// Link is the address of the hub's page; empty: there is none.
	Link string
}

// LabelRule gives labels to the hosts that it matches.
type LabelRule struct {
	// Site and Host say which: Host is a pattern as in [path.Match]; empty: any.
	Site, Host string
	Labels     map[string]string
}

// Selector selects hosts.
type Selector struct {
	// Site is a site's name; empty: any.
	Site string
	// Labels are what a host's labels must have, values as patterns as in [path.Match].
	Labels map[string]string
}

// Match selects groups, by the hosts whose incidents are open.
type Match struct {
	// Site and Labels select hosts; one is enough.
	Site   string
	Labels map[string]string
	// Severity is exactly this one; empty: any.
	Severity remediate.Severity
	// Kind is exactly this one; empty: any.
	Kind Kind
}

// Route says whom to tell of the groups that it matches.
type Route struct {
	// Name is shown with the pages that it makes.
	Name  string
	Match Match
	// Active are the times at which the route counts; empty: always.
	Active []Window
	// To are names of senders.
	To []string
	// Escalate tells others while nobody acknowledges.
	Escalate []Escalation
	// Continue has the routes behind this one looked at too.
	Continue bool
	// Resolve tells of the end too.
	Resolve bool
}

// Escalation is one stage.
type Escalation struct {
	// After is how long after the first page of its route nobody has acknowledged the group.
	After time.Duration
	To    []string
}

// Window is a time of day on some days.
type Window struct {
	// Days are the days on which it begins; empty: every day.
	Days []time.Weekday
	// From and To are times of day as shown by a clock in Location, since midnight, From included. A To that is not later
	// than From lies on the next day; both 0: the whole day.
	From, To time.Duration
	// Location is the time zone. Nil: UTC.
	Location *time.Location
}

// withDefaults fills in what is zero.
func (c Config) withDefaults() Config {
	set := func(d *time.Duration, value time.Duration) {
		if *d <= 0 {
			*d = value
		}
	}
	set(&c.GroupWindow, defaultGroupWindow)
	set(&c.GroupWait, defaultGroupWait)
	set(&c.UpdateEvery, defaultUpdateEvery)
	set(&c.SilentAfter, defaultSilentAfter)
	set(&c.WholeSiteAfter, defaultWholeSite)
	set(&c.ForgetAfter, defaultForgetAfter)
	if c.TalkerHosts <= 0 {
		c.TalkerHosts = defaultTalkerHosts
	}
	if c.SiteSilentShare <= 0 || c.SiteSilentShare > 1 {
		c.SiteSilentShare = defaultSiteShare
	}
	if len(c.Routes) == 0 && len(c.Senders) > 0 {
		c.Routes = []Route{{
			Name: "default", Match: Match{Severity: remediate.SeverityCritical}, To: c.Senders, Resolve: true,
		}}
	}
	return c
}
