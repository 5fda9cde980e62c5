package main

import (
	"encoding/json"
	"fmt"
	"io"

	"github.com/ctwarden/ctwarden/internal/simulate"
)

// reports prints how a simulation goes.
type reports struct {
	out  io.Writer
	json bool
	said bool
}

// say is for people; it stays out of JSON.
func (p *reports) say(format string, args ...any) {
	if !p.json {
		fmt.Fprintf(p.out, format+"\n", args...)
	}
}

// print writes one report. A terminal that has gone ends nothing: the hosts are to say goodbye.
func (p *reports) print(r simulate.Report) {
	if p.json {
		line, err := json.Marshal(r)
		if err == nil {
			_, _ = p.out.Write(append(line, '\n'))
		}
		return
	}
	if !p.said {
		p.said = true
		how := "one for each"
		if r.Multiplexed {
			how = "multiplexed"
		}
		p.say("%d hosts at %d sites over %d connections (%s)", r.Hosts, r.Sites, r.Connections, how)
	}
	if r.Phase != "done" {
		p.say("%6.1f s  %-8s incidents %d opened, %d closed  events %d published, %d acknowledged, %d not, %.0f/s",
			r.Elapsed, r.Phase, r.Opened, r.Closed, r.Published, r.Acknowledged, r.NotAcknowledged, r.Rate)
		return
	}
	p.say("events:    %d published, %d acknowledged, %d not acknowledged; %d sent again, %d of these were there already",
		r.Published, r.Acknowledged, r.NotAcknowledged, r.Again, r.Duplicates)
	p.say("rate:      %.0f events/s over all, %.0f in the fullest second", r.Rate, r.PeakRate)
	p.say("incidents: %d opened, all within %s (all acknowledged after %s); %d closed, the last after %s",
		r.Opened, seconds(r.OpenedAll), seconds(r.Stored), r.Closed, seconds(r.ClosedAll))
	p.say("states:    %d acknowledged, %d not", r.States, r.StatesFailed)
	p.say("time:      %s; longest between two readings of a host %s", seconds(r.Elapsed), seconds(r.LongestUnread))
	if r.Problem != "" {
		p.say("last error of a publication: %s", r.Problem)
	}
}

// seconds is a time after the storm began; none: it has not come to that.
func seconds(s float64) string {
	if s <= 0 {
		return "(never)"
	}
	return fmt.Sprintf("%.1f s", s)
}
