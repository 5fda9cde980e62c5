package main

import (
	"fmt"
	"path"
	"regexp"
	"slices"
	"time"

	"github.com/ctwarden/ctwarden/internal/config"
	"github.com/ctwarden/ctwarden/notify"
	"github.com/ctwarden/ctwarden/notify/fleet"
	"github.com/ctwarden/ctwarden/notify/hub"
)

// labelSettings give labels to hosts.
type labelSettings struct {
	Site   string            `yaml:"site"`
	Host   string            `yaml:"host"`
	Labels map[string]string `yaml:"labels"`
}

// rolloutSettings say which hosts are told to remediate.
type rolloutSettings struct {
	Remediate []selectorSettings `yaml:"remediate"`
}

type selectorSettings struct {
	Site   string            `yaml:"site"`
	Labels map[string]string `yaml:"labels"`
}

func (s settings) validateFleet(p *config.Problems) {
	for _, d := range []struct {
		key         string
		value       time.Duration
		least, most time.Duration
	}{
		{"group_window", s.GroupWindow, time.Second, 24 * time.Hour}, {"group_wait", s.GroupWait, 100 * time.Millisecond, 10 * time.Minute},
		{"update_every", s.UpdateEvery, 10 * time.Second, time.Hour},
	} {
		if d.value < d.least || d.value > d.most {
			p.Add(d.key, "must be from %s to %s", d.least, d.most)
		}
	}
	if s.StepsPerHour < 0 {
		p.Add("fleet_steps_per_hour", "must be 0, for any number, or more")
	}
	for name := range s.Sites {
		checkSite(p, "sites."+name, name)
	}
	for i, by := range s.GroupBy {
		if by != fleet.GroupBySite && !isLabel(by) || slices.Contains(s.GroupBy[:i], by) {
			p.Add(fmt.Sprintf("group_by[%d]", i), "must be site or the name of a label, each once; [] makes all hosts one group")
		}
	}
	for i, l := range s.Labels {
		key := fmt.Sprintf("labels[%d]", i)
		checkSite(p, key+".site", l.Site)
		checkGlob(p, key+".host", l.Host)
		checkLabels(p, key+".labels", l.Labels, false)
		if len(l.Labels) == 0 {
			p.Add(key+".labels", "must have at least one label, such as {rack: r12}")
		}
	}
	for i, m := range s.Rollout.Remediate {
		key := fmt.Sprintf("rollout.remediate[%d]", i)
		checkSite(p, key+".site", m.Site)
		checkLabels(p, key+".labels", m.Labels, true)
		if m.Site == "" && len(m.Labels) == 0 {
			p.Add(key, "would match every host; name a site or labels")
		}
	}
}

func checkSite(p *config.Problems, key, site string) {
	if site == "" {
		return
	}
	if err := notify.CheckSite(site); err != nil {
		p.Add(key, "%s", err)
	}
}

func checkGlob(p *config.Problems, key, pattern string) {
	if _, err := path.Match(pattern, ""); err != nil {
		p.Add(key, "must be a name or a pattern with * and ?, such as web-*")
	}
}

func checkLabels(p *config.Problems, key string, labels map[string]string, patterns bool) {
	for name, value := range labels {
		if !isLabel(name) {
			p.Add(key+"."+name, "must be the name of a label: letters, digits and _, not beginning with a digit, and not site")
		}
		if patterns {
			checkGlob(p, key+"."+name, value)
		}
	}
}

func isLabel(name string) bool {
	return regexp.MustCompile(`^[a-zA-Z_][a-zA-Z0-9_]{0,63}$`).MatchString(name) && name != fleet.GroupBySite
}

// hub is what the hub can be given anew while it runs.
func (s settings) hub() hub.Settings {
	c := fleet.Config{
		GroupWindow: s.GroupWindow, GroupWait: s.GroupWait, UpdateEvery: s.UpdateEvery, GroupBy: s.GroupBy,
		SilentAfter: hub.HostTTL, StepsPerHour: s.StepsPerHour, Link: s.Link,
	}
	for _, l := range s.Labels {
		c.Labels = append(c.Labels, fleet.LabelRule{Site: l.Site, Host: l.Host, Labels: l.Labels})
	}
	for _, m := range s.Rollout.Remediate {
		c.Rollout = append(c.Rollout, fleet.Selector{Site: m.Site, Labels: m.Labels})
	}
	for _, o := range s.OnCall {
		c.Senders = append(c.Senders, o.Name)
	}
	for _, r := range s.Routes {
		c.Routes = append(c.Routes, r.route())
	}
	return hub.Settings{Fleet: c, Senders: s.OnCall}
}
