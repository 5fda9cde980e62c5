// Package release says which version a program is of.
package release

import "runtime/debug"

// Version is the version that the linker set; where that is empty, what the Go tool noted about the source.
func Version(linked string) string {
	if linked != "" {
		return linked
	}
	if info, ok := debug.ReadBuildInfo(); ok && info.Main.Version != "" {
		return info.Main.Version
	}
	return "(devel)"
}
