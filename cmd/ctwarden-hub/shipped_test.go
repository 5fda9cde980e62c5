package main

import (
	"reflect"
	"testing"

	"github.com/ctwarden/ctwarden/internal/config"
)

// TestShippedFile holds packaging/hub.yaml to the program: it names every key, and each with its default.
func TestShippedFile(t *testing.T) {
	s := defaults()
	file, err := config.Load("../../packaging/hub.yaml", &s)
	if err != nil {
		t.Fatal(err)
	}
	want := defaults()
	want.NATS.Servers = []string{}
	if !reflect.DeepEqual(s, want) {
		t.Errorf("the shipped file gives\n%+v\nthe defaults are\n%+v", s, want)
	}
	for _, key := range config.Keys(settings{}) {
		if !file.Has(key) {
			t.Errorf("%s is not in the shipped file", key)
		}
	}
}
