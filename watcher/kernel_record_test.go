package watcher

import "testing"

func TestPacketLog(t *testing.T) {
	for text, want := range map[string]bool{
		"4,7,9,-;[UFW BLOCK] IN=eth0 OUT= MAC=00 SRC=192.0.2.1":      true,
		"4,7,9,-;DROP: IN= OUT=eth0 SRC=192.0.2.1":                   true,
		"4,7,9,-;nf_conntrack: table full, dropping packet":          false,
		"4,7,9,-;MAIN=1 is no interface":                             false,
		"4,7,9,-; OUT= stands before IN= here and describes nothing": false,
	} {
		if got := packetLog([]byte(text)); got != want {
			t.Errorf("%q: %v, want %v", text, got, want)
		}
	}
}
