package writers

import (
	"bytes"
	"io"
	"os"
	"strings"

	"github.com/ctwarden/ctwarden/internal/confdir"
)

// maxRead bounds what is read of a file that may name a value, in bytes.
const maxRead = 256 << 10

// start reads the beginning of one of the kernel's files, or of another that is no link.
func start(root *os.Root, name string) (string, error) {
	f, err := root.Open(name)
	if err != nil {
		return "", err
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, maxRead))
	return string(b), err
}

// startOf is start through links, of which absolute ones stay below the root.
func startOf(root *os.Root, name string) (string, error) {
	real, err := confdir.Resolve(root, name)
	if err != nil {
		return "", err
	}
	return start(root, real)
}

// Cores is how many processors the machine has; 0: it does not tell.
func Cores(root *os.Root) uint64 {
	stat, err := start(root, "proc/stat")
	if err != nil {
		return 0
	}
	var n uint64
	for line := range strings.Lines(stat) {
		if len(line) > 3 && strings.HasPrefix(line, "cpu") && line[3] >= '0' && line[3] <= '9' {
			n++
		}
	}
	return n
}

// commandLine splits what /proc has of a process' arguments.
func commandLine(text string) []string {
	var out []string
	for _, arg := range bytes.Split([]byte(text), []byte{0}) {
		out = append(out, string(arg))
	}
	return out
}
