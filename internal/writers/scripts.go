package writers

import (
	"cmp"
	"io/fs"
	"os"
	"path"
	"strings"

	"github.com/ctwarden/ctwarden/internal/confdir"
)

// Mention is a line of a file that something runs, which names the limit.
type Mention struct {
	File string
	Line int
	Text string
}

// startup are the directories and files of what runs at boot, when a network comes up, or from time to time. Firewall
// programs and container engines that set the limit would be found there too; docker and firewalld do not.
var startup = []string{
	"/etc/rc.local", "/etc/rc.d/rc.local", "/etc/rc.conf", "/etc/local.d", "/etc/crontab", "/etc/cron.d", "/etc/cron.hourly",
	"/etc/cron.daily", "/var/spool/cron", "/var/spool/cron/crontabs", "/etc/network/if-up.d", "/etc/network/if-pre-up.d",
	"/etc/NetworkManager/dispatcher.d", "/etc/systemd/system", "/etc/cloud/cloud.cfg", "/etc/cloud/cloud.cfg.d",
	"/var/lib/cloud/instance/user-data.txt", "/var/lib/cloud/scripts/per-boot", "/etc/ufw/sysctl.conf",
	"/etc/credstore/sysctl.extra", "/run/credstore/sysctl.extra", // read by systemd-sysctl after all files, since 252
}

// mentionsMost bounds how many mentions are told.
const mentionsMost = 20

// Scripts looks for lines that name the limit in what runs at boot. A comment is none. A file that several links lead to is
// told once.
func Scripts(root *os.Root) []Mention {
	var out []Mention
	seen := map[string]bool{}
	for _, place := range startup {
		for _, f := range filesAt(root, place) {
			if at := cmp.Or(f.Target, f.Path); !seen[at] {
				seen[at] = true
				out = append(out, mentions(f)...)
			}
		}
	}
	return out[:min(len(out), mentionsMost)]
}

// mentions are the lines of a file that name the limit.
func mentions(f confdir.File) (out []Mention) {
	n := 0
	for line := range strings.Lines(string(f.Data)) {
		n++
		line = strings.TrimSpace(line)
		if line != "" && line[0] != '#' && line[0] != ';' && strings.Contains(line, "nf_conntrack_max") {
			out = append(out, Mention{File: f.Path, Line: n, Text: line})
		}
	}
	return out
}

// filesAt is a file, or the files in a directory.
func filesAt(root *os.Root, place string) []confdir.File {
	real, err := confdir.Resolve(root, place)
	if err != nil {
		return nil
	}
	entries, err := fs.ReadDir(root.FS(), real)
	if err != nil {
		return []confdir.File{confdir.Read(root, place)}
	}
	var out []confdir.File
	for _, e := range entries {
		if !e.IsDir() {
			out = append(out, confdir.Read(root, path.Join(place, e.Name())))
		}
	}
	return out
}
