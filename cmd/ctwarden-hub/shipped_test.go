package main

import (
	"reflect"
	"testing"

	"github.com/ctwarden/ctwarden/internal/config"
	"github.com/ctwarden/ctwarden/notify/oncall"
)

// TestShippedFile holds packaging/hub.yaml to the program: it names every key, and each with its default.
func TestShippedFile(t *testing.T) {
	s := defaults()
	file, err := config.Load("../../packaging/hub.yaml", &s)
	if err != nil {
		t.Fatal(err)
	}
	want := defaults()
	// What the file has as an empty list or table is that, and none in the defaults.
	want.NATS.Servers, want.Users, want.TrustedHeader.From = []string{}, []userSettings{}, []string{}
	want.Sites, want.Labels, want.Routes, want.OnCall = map[string]string{}, []labelSettings{}, []routeSettings{}, []oncall.Config{}
	want.Rollout.Remediate = []selectorSettings{}
	if !reflect.DeepEqual(s, want) {
		t.Errorf("the shipped file gives\n%+v\nthe defaults are\n%+v", s, want)
	}
	for _, key := range config.Keys(settings{}) {
		if !file.Has(key) {
			t.Errorf("%s is not in the shipped file", key)
		}
	}
}
