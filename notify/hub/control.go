package hub

import (
	"slices"
	"time"
)

// controlKey is the key of what is ordered, in the bucket of the fleet.
const controlKey = "control"

// control is what the fleet's hosts are ordered: the holds that stand, each with its reach.
type control struct {
	// Rev rises with each change, and is no less than the seconds from 1970 to it. Each order carries it, so that a host can
	// tell a newer one from an older, also where the bucket was made anew in between.
	Rev   uint64 `json:"rev"`
	Holds []hold `json:"holds,omitempty"`
	// Released is the hub's own hold that somebody released last; nil: none, or it would have ended by now.
	Released *released `json:"released,omitempty"`

	// dirty is true while there is something that was not saved.
	dirty bool
}

// hold keeps hosts from automatic steps.
type hold struct {
	// ID is the order's that was sent to all that it reaches.
	ID string `json:"id"`
	// Site and Host say whom it reaches: both empty all, Host empty a site.
	Site  string    `json:"site,omitempty"`
	Host  string    `json:"host,omitempty"`
	Since time.Time `json:"since"`
	// Until is when it ends by itself; zero: it does not.
	Until time.Time `json:"until,omitzero"`
	By    string    `json:"by"`
	Why   string    `json:"why,omitempty"`
	// Budget is the id of the fleet incident for which the hub holds by itself; empty: somebody asked for it.
	Budget string `json:"budget,omitempty"`
}

// released says of a hold of the hub's own that it is not ordered again for this incident of the fleet before it would have
// ended.
type released struct {
	Budget string    `json:"budget"`
	Until  time.Time `json:"until"`
}

func (h hold) reaches(site, host string) bool {
	return (h.Site == "" || h.Site == site) && (h.Host == "" || h.Host == host)
}

// over tells whether it has ended by itself.
func (h hold) over(now time.Time) bool { return !h.Until.IsZero() && !now.Before(h.Until) }

// outlasts tells whether h ends later than o.
func (h hold) outlasts(o hold) bool {
	return h.Until.IsZero() && !o.Until.IsZero() || !o.Until.IsZero() && h.Until.After(o.Until)
}

// add puts a hold in force. One of the same reach gives way, unless the hub and a person mean different things by them.
func (c *control) add(h hold, now time.Time) {
	c.Holds = slices.DeleteFunc(c.Holds, func(o hold) bool {
		return o.Site == h.Site && o.Host == h.Host && (o.Budget == "") == (h.Budget == "")
	})
	c.Holds = append(c.Holds, h)
	c.bump(now)
}

// release ends the hold of exactly this reach that somebody asked for; the hub's own stays. It tells whether there was any.
func (c *control) release(site, host string, now time.Time) bool {
	before := len(c.Holds)
	c.Holds = slices.DeleteFunc(c.Holds, func(o hold) bool { return o.Site == site && o.Host == host && o.Budget == "" })
	if len(c.Holds) == before {
		return false
	}
	c.bump(now)
	return true
}

// budget is the hub's own hold; nil: there is none.
func (c *control) budget(now time.Time) *hold {
	for i, h := range c.Holds {
		if h.Budget != "" && !h.over(now) {
			return &c.Holds[i]
		}
	}
	return nil
}

// releaseBudget ends the hub's own hold, and remembers that. It returns nil where there is none.
func (c *control) releaseBudget(now time.Time) *released {
	h := c.budget(now)
	if h == nil {
		return nil
	}
	c.Released = &released{h.Budget, h.Until}
	c.Holds = slices.DeleteFunc(c.Holds, func(o hold) bool { return o.Budget != "" })
	c.bump(now)
	return c.Released
}

func (c *control) bump(now time.Time) {
	c.Rev = max(c.Rev+1, seconds(now))
	c.dirty = true
}

// revSlack is by how much more than the seconds since 1970 a revision may be: several changes in a second, or a clock that
// was ahead.
const revSlack = 3600

// catchUp goes on from a revision that a host has heard, where that is higher: the bucket was made anew. A host may say
// anything, so one that no hub can have given by now counts for nothing; false.
func (c *control) catchUp(rev uint64, now time.Time) bool {
	if rev > seconds(now)+revSlack {
		return rev <= c.Rev
	}
	if rev > c.Rev {
		c.Rev, c.dirty = rev, true
	}
	return true
}

func seconds(now time.Time) uint64 { return uint64(max(now.Unix(), 0)) }

// expire forgets what has ended by itself.
func (c *control) expire(now time.Time) {
	before := len(c.Holds)
	c.Holds = slices.DeleteFunc(c.Holds, func(h hold) bool { return h.over(now) })
	c.dirty = c.dirty || len(c.Holds) != before
	if c.Released != nil && !now.Before(c.Released.Until) {
		c.Released, c.dirty = nil, true
	}
}

// wanted is the hold that is to be in force on a host: of those that reach it, the one that ends last. Nil: none.
func (c *control) wanted(site, host string, now time.Time) *hold {
	var best *hold
	for i, h := range c.Holds {
		if h.reaches(site, host) && !h.over(now) && (best == nil || h.outlasts(*best)) {
			best = &c.Holds[i]
		}
	}
	return best
}
