package fleet

import (
	"maps"
	"path"
	"slices"
	"strings"
)

// class is a site with a set of labels: all hosts of one class are grouped and routed alike.
type class struct {
	site   *site
	labels map[string]string
	// by has the values of group_by, key is the same as one text.
	by  map[string]string
	key string
}

// classOf is the class of a host, known or not.
func (f *Fleet) classOf(siteName, name string) *class {
	if h := f.hosts[hostKey{siteName, name}]; h != nil {
		return h.class
	}
	return &class{site: &site{name: siteName}, labels: f.labelsOf(siteName, name)}
}

// labelsOf are the labels that the rules give a host; nil: none.
func (f *Fleet) labelsOf(siteName, name string) map[string]string {
	var labels map[string]string
	for _, r := range f.cfg.Labels {
		if (r.Site == "" || r.Site == siteName) && matches(r.Host, name) {
			if labels == nil {
				labels = map[string]string{}
			}
			maps.Copy(labels, r.Labels)
		}
	}
	return labels
}

// classify finds the class that the label rules put a host into.
func (f *Fleet) classify(s *site, name string) *class {
	labels := f.labelsOf(s.name, name)
	id := classID(s.name, labels)
	c := f.classes[id]
	if c == nil {
		c = &class{site: s, labels: labels}
		c.by, c.key = f.byValues(s, labels)
		f.classes[id] = c
	}
	return c
}

func classID(siteName string, labels map[string]string) string {
	if len(labels) == 0 {
		return siteName
	}
	var b strings.Builder
	b.WriteString(siteName)
	for _, k := range slices.Sorted(maps.Keys(labels)) {
		b.WriteString("\x00" + k + "\x01" + labels[k])
	}
	return b.String()
}

// byValues are what the hosts of a group have in common. A label that a host does not have is a value of its own.
func (f *Fleet) byValues(s *site, labels map[string]string) (map[string]string, string) {
	by := make(map[string]string, len(f.cfg.GroupBy))
	var key strings.Builder
	for _, name := range f.cfg.GroupBy {
		value := labels[name]
		if name == GroupBySite {
			value = s.name
		}
		by[name] = value
		key.WriteString("\x00" + value)
	}
	return by, key.String()
}

// matches tells whether a pattern matches a name. An empty pattern matches all, a broken one none but itself.
func matches(pattern, name string) bool {
	if pattern == "" || pattern == name {
		return true
	}
	ok, err := path.Match(pattern, name)
	return ok && err == nil
}

// hasLabels tells whether labels have all that is wanted.
func hasLabels(labels, want map[string]string) bool {
	for k, pattern := range want {
		value, ok := labels[k]
		if !ok || pattern != "" && !matches(pattern, value) {
			return false
		}
	}
	return true
}
