package main

import (
	"reflect"
	"slices"
	"strings"

	"go.uber.org/zap"

	"github.com/ctwarden/ctwarden/notify/hub"
	"github.com/ctwarden/ctwarden/notify/hub/web"
)

// reload takes over a changed configuration. One with mistakes leaves the running one in force.
func (v *service) reload(h *hub.Hub, page *web.Handler) {
	s, err := v.load()
	if err == nil && page != nil {
		err = page.Configure(s.access())
	}
	if err != nil {
		v.log.Error("configuration_not_reloaded", zap.Error(err), zap.String("in_force", "the running configuration"))
		return
	}
	s.logDoubts(v.log)
	h.Configure(s.hub())
	if keys := v.settings.restart(s); len(keys) > 0 {
		v.log.Warn("changes_wait_for_restart", zap.String("keys", strings.Join(keys, ", ")))
	}
	v.log.Info("configuration_reloaded")
}

// restart names the keys whose changes take effect at the next start.
func (s settings) restart(changed settings) []string {
	var keys []string
	for key, same := range map[string]bool{
		"nats": reflect.DeepEqual(s.NATS, changed.NATS), "embedded": s.Embedded == changed.Embedded,
		"state": s.State == changed.State, "listen": s.Listen == changed.Listen,
	} {
		if !same {
			keys = append(keys, key)
		}
	}
	slices.Sort(keys)
	return keys
}
