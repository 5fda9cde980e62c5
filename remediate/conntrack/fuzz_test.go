package conntrack

import (
	"cmp"
	"encoding/binary"
	"fmt"
	"math"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"unicode"

	"golang.org/x/sys/unix"

	"github.com/ctwarden/ctwarden/remediate"
)

// FuzzParseNumber holds the settings' parser against fmt's.
func FuzzParseNumber(f *testing.F) {
	for _, seed := range []string{"65536\n", "0\n", "-1\n", "-2147483648", " 7 ", "9223372036854775807", "", "\n", "0x10", "1 2", "+5"} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		n, err := parseNumber(text)
		if err != nil {
			return
		}
		var want int64
		if _, err := fmt.Sscanf(strings.TrimSpace(string(text)), "%d", &want); err != nil {
			t.Fatalf("%q is %d, which fmt does not read: %v", text, n, err)
		}
		if want < 0 {
			want = int64(uint32(want))
		}
		if n != uint64(want) || n > math.MaxInt64 {
			t.Fatalf("%q is %d, want %d", text, n, want)
		}
	})
}

// FuzzParseMeminfo: the two sizes are found whatever stands around them.
func FuzzParseMeminfo(f *testing.F) {
	f.Add(uint64(49_000_000), uint64(12_000_000), []byte("MemFree:  1 kB\nBuffers: 2 kB\n"))
	f.Add(uint64(1), uint64(0), []byte("MemTotal:\nMemAvailable 5\n\xff:\x00"))
	f.Add(uint64(1), uint64(1), []byte("MemTotal: 99999999999999999999 kB\nHugePages_Total:       0\n"))
	f.Fuzz(func(t *testing.T, total, available uint64, noise []byte) {
		alone := parseMeminfo(noise)
		if alone.Available > 3<<60 {
			t.Fatalf("%q: %+v", noise, alone)
		}
		total, available = total%(1<<49), available%(1<<49)
		text := fmt.Sprintf("%s\nMemTotal:       %d kB\nMemAvailable:   %d kB\n", noise, total, available)
		want := remediate.Memory{Total: total * 1024, Available: available * 1024}
		if got := parseMeminfo([]byte(text)); got != want {
			t.Fatalf("%q: %+v, want %+v", text, got, want)
		}
	})
}

// FuzzParseMounts writes a mount as the kernel does and finds it among whatever else stands there.
func FuzzParseMounts(f *testing.F) {
	f.Add(uint64(4026532177), "/run/netns/blue", []byte("36 35 98:0 / /mnt rw - ext3 /dev/root rw\n"))
	f.Add(uint64(1), "/a b\\\n\t#/\xff", []byte("1 2 3 net:[4] /x rw - nsfs nsfs rw\n"))
	f.Add(uint64(9), "/", []byte(" - nsfs \n - nsfs a b c net:[x] d\n"))
	f.Fuzz(func(t *testing.T, inode uint64, at string, noise []byte) {
		if at == "" || inode == 0 || strings.ContainsFunc(at, func(r rune) bool { return unicode.IsSpace(r) && !strings.ContainsRune(" \t\n", r) }) {
			return // the kernel escapes blanks, tabs and newlines alone; bytes that Go takes for blanks are cut at
		}
		others := len(parseMounts(append(noise, '\n')))
		line := fmt.Sprintf("1045 30 0:4 net:[%d] %s rw shared:1 - nsfs nsfs rw\n", inode, escapeMount(at))
		found := parseMounts([]byte(string(noise) + "\n" + line))
		if len(found) != others+1 {
			t.Fatalf("%d mounts in %q with %q", len(found), noise, line)
		}
		want := mount{id: "1045", inode: inode, path: at}
		if got := found[others]; got != want {
			t.Fatalf("%q: %+v, want %+v", line, got, want)
		}
	})
}

// escapeMount is the kernel's mangle() for what mountinfo shows.
func escapeMount(text string) string {
	return strings.NewReplacer(" ", `\040`, "\t", `\011`, "\n", `\012`, `\`, `\134`).Replace(text)
}

// FuzzNamespaceName: a namespace's name may come from what any user can choose (a process's name, a cgroup's), and is
// shown on terminals.
func FuzzNamespaceName(f *testing.F) {
	f.Add("0::/kubepods/pod1/"+strings.Repeat("0a", 32), "pause", "/run/netns/blue")
	f.Add("12:cpu:/lxc/\x1b[31mred\n", "", "")
	f.Add("0::/system.slice/ssh.service\n1:name=systemd:/docker/"+strings.Repeat("f", 64), "x\x1b]0;title\a", "/proc/7/ns/net")
	f.Add("::\n0::", "\u202e\n", "/run/netns/\x7f")
	root := tree(f, without(nil, map[string]string{"proc/7/comm": ""}))
	table := open(f, root)
	f.Fuzz(func(t *testing.T, cgroup, comm, at string) {
		for name, text := range map[string]string{"cgroup": cgroup, "comm": comm} {
			if err := os.WriteFile(filepath.Join(root, "proc/7", name), []byte(text), 0o600); err != nil {
				t.Fatal(err)
			}
		}
		for _, seen := range []sighting{{pids: []int{7}}, {mounts: []mount{{"1", 9, at}}}, {mounts: []mount{{"1", 9, at}}, pids: []int{7}}, {}} {
			ns, _ := table.name(9, &seen)
			if ns.Name == "" || strings.ContainsFunc(ns.Name, func(r rune) bool { return !unicode.IsPrint(r) }) || len(ns.Name) > 300 {
				t.Fatalf("cgroup %q, comm %q, mount %q: %q", cgroup, comm, at, ns.Name)
			}
			if !slices.Contains([]string{ownerNetns, ownerContainer, ownerUnit, ownerProcess}, ns.Owner) || ns.Inode != 9 {
				t.Fatalf("%+v", ns)
			}
		}
		if name, owner := cgroupName(cgroup); owner == ownerContainer && !strings.Contains(cgroup, name) {
			t.Fatalf("%q: %q of %q", cgroup, name, owner)
		}
	})
}

// FuzzDump: whatever a dump's answer looks like, it is bounded and in order; an entry that the kernel wrote is found behind
// attributes that nobody knows.
func FuzzDump(f *testing.F) {
	f.Add(slices.Concat(entry("192.0.2.1"), entry("2001:db8::1"), doneMessage), uint32(9), []byte("mark"))
	f.Add(entry("192.0.2.1")[:50], uint32(1<<31), []byte{})
	f.Add(failed(unix.NLMSG_ERROR, int32(unix.EPERM)), uint32(0), []byte{0xff, 0xff, 1, 0})
	f.Add(failed(unix.NLMSG_DONE, math.MinInt32), uint32(0), []byte(nil))
	f.Add(message(ctNew, interrupted, []byte{2, 0}), uint32(7), []byte{4, 0, 1, 0x80})
	f.Fuzz(func(t *testing.T, answer []byte, v4 uint32, unknown []byte) {
		var d dump
		_ = d.take(answer) // the kernel's own error
		if d.entries > uint64(len(answer)) || uint64(len(d.sources)) > d.entries {
			t.Fatalf("%d entries and %d sources of %d bytes", d.entries, len(d.sources), len(answer))
		}
		top := d.top(uint64(v4))
		falling := slices.IsSortedFunc(top, func(a, b remediate.Talker) int { return cmp.Compare(b.Entries, a.Entries) })
		if !falling || len(top) > mostTalkers {
			t.Fatalf("%v", top)
		}
		for _, who := range top {
			if at, err := netip.ParseAddr(who.Address); err != nil || at.String() != who.Address || who.Entries == 0 {
				t.Fatalf("%+v", who)
			}
		}
		from := netip.AddrFrom4([4]byte(binary.BigEndian.AppendUint32(nil, v4)))
		d = dump{}
		err := d.take(append(entry(from.String(), attr(99, unknown[:min(len(unknown), 4096)]...)...), doneMessage...))
		if got := d.top(1); err != nil || !d.done || len(got) != 1 || got[0] != (remediate.Talker{Address: from.String(), Entries: 1}) {
			t.Fatalf("%v: %v, %v", from, got, err)
		}
	})
}
