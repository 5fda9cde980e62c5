package conntrack

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"slices"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/ctwarden/ctwarden/remediate"
)

// message is one of netlink's.
func message(kind, flags uint16, payload []byte) []byte {
	msg := binary.NativeEndian.AppendUint32(nil, uint32(unix.NLMSG_HDRLEN+len(payload)))
	msg = binary.NativeEndian.AppendUint16(msg, kind)
	msg = binary.NativeEndian.AppendUint16(msg, flags)
	msg = append(append(msg, make([]byte, 8)...), payload...)
	return append(msg, make([]byte, align(len(msg))-len(msg))...)
}

// attr is one attribute.
func attr(kind uint16, content ...byte) []byte {
	a := binary.NativeEndian.AppendUint16(nil, uint16(unix.SizeofNlAttr+len(content)))
	a = append(binary.NativeEndian.AppendUint16(a, kind), content...)
	return append(a, make([]byte, align(len(a))-len(a))...)
}

// entry is what the kernel tells of one, as far as it matters, behind other attributes.
func entry(from string, before ...byte) []byte {
	at := netip.MustParseAddr(from)
	kind, family := uint16(ctIPv4Source), byte(unix.AF_INET)
	if at.Is6() {
		kind, family = ctIPv6Source, unix.AF_INET6
	}
	ip := attr(ctTupleIP|unix.NLA_F_NESTED, slices.Concat(attr(kind, at.AsSlice()...), attr(kind+1, at.AsSlice()...))...)
	tuple := attr(ctTupleOrig|unix.NLA_F_NESTED, slices.Concat(attr(2, 1, 2, 3), ip)...)
	return message(ctNew, unix.NLM_F_MULTI, slices.Concat([]byte{family, 0, 0, 0}, before, tuple))
}

var (
	interrupted = uint16(unix.NLM_F_MULTI | unix.NLM_F_DUMP_INTR)
	doneMessage = message(unix.NLMSG_DONE, unix.NLM_F_MULTI, make([]byte, 4))
)

// failed is the kernel's word of an error.
func failed(kind uint16, code int32) []byte {
	return message(kind, 0, binary.NativeEndian.AppendUint32(nil, uint32(-code)))
}

func TestDumpTakesWhatTheKernelGives(t *testing.T) {
	a, b, six := entry("192.0.2.1"), entry("192.0.2.2"), entry("2001:db8::7", attr(3, 9, 9)...)
	torn := slices.Clone(b)
	binary.NativeEndian.PutUint16(torn[6:], interrupted)
	noSource := message(ctNew, 0, slices.Concat([]byte{unix.AF_INET, 0, 0, 0}, attr(ctTupleOrig, attr(2, 1)...)))
	for _, c := range []struct {
		name    string
		answers []any // an answer, or an error
		want    string
		err     error
	}{
		{"all of it", []any{slices.Concat(a, b), slices.Concat(a, six, doneMessage)}, "[{192.0.2.1 2} {192.0.2.2 1} {2001:db8::7 1}]", nil},
		{"a part, of eight entries", []any{slices.Concat(a, a), b, unix.EAGAIN}, "[{192.0.2.1 5} {192.0.2.2 2}]", nil},
		{"interrupted", []any{unix.EINTR, a, unix.EINTR, doneMessage}, "[{192.0.2.1 1}]", nil},
		{"no room for an answer", []any{a, unix.ENOBUFS, b, doneMessage}, "[{192.0.2.1 4} {192.0.2.2 4}]", nil},
		{"the hash was resized meanwhile", []any{slices.Concat(a, torn, doneMessage)}, "[{192.0.2.1 4} {192.0.2.2 4}]", nil},
		{"overrun", []any{a, message(unix.NLMSG_OVERRUN, 0, nil), doneMessage}, "[{192.0.2.1 8}]", nil},
		{"cut off", []any{slices.Concat(a, b)[:len(a)+30], doneMessage}, "[{192.0.2.1 8}]", nil},
		{"of a source that is not told", []any{a, noSource, doneMessage}, "[{192.0.2.1 1}]", nil},
		{"others' messages", []any{message(unix.NLMSG_NOOP, 0, a), message(77, 0, a), failed(unix.NLMSG_ERROR, 0), a, doneMessage}, "[{192.0.2.1 1}]", nil},
		{"nothing", []any{doneMessage}, "[]", nil},
		{"not permitted", []any{failed(unix.NLMSG_ERROR, int32(unix.EPERM))}, "", fs.ErrPermission},
		{"an error at the end", []any{a, failed(unix.NLMSG_DONE, int32(unix.ENOMEM))}, "", unix.ENOMEM},
		{"a broken socket", []any{unix.EBADF}, "", unix.EBADF},
	} {
		t.Run(c.name, func(t *testing.T) {
			var d dump
			err := d.run(func(to []byte) (int, error) {
				next := c.answers[0]
				if c.answers = c.answers[1:]; len(c.answers) == 0 {
					c.answers = []any{errors.New("read on behind the end")}
				}
				if err, ok := next.(error); ok {
					return -1, err
				}
				return copy(to, next.([]byte)), nil
			}, time.Now().Add(time.Minute))
			if !errors.Is(err, c.err) {
				t.Fatalf("error %v, want %v", err, c.err)
			}
			if got := fmt.Sprint(d.top(8)); err == nil && got != c.want {
				t.Errorf("%s, want %s", got, c.want)
			}
		})
	}
}

// TestDumpIsBounded has a table without an end: it stops at so many entries, or when its time is over.
func TestDumpIsBounded(t *testing.T) {
	var d dump
	one := entry("192.0.2.1")
	endless := func(to []byte) (n int, _ error) {
		for len(to)-n >= len(one) {
			n += copy(to[n:], one)
		}
		return n, nil
	}
	if err := d.run(endless, time.Now().Add(time.Hour)); err != nil || d.entries != sampleEntries {
		t.Errorf("%d entries, %v", d.entries, err)
	}
	d = dump{}
	if err := d.run(endless, time.Now().Add(-time.Second)); err != nil || d.entries != 0 {
		t.Errorf("%d entries after the time was over, %v", d.entries, err)
	}
	silent := func([]byte) (int, error) { return -1, unix.EINTR }
	if err := d.run(silent, time.Now().Add(20*time.Millisecond)); err != nil {
		t.Error(err)
	}
}

func TestTopIsTheFiveLargest(t *testing.T) {
	d := dump{done: true}
	for i := range 40 { // 192.0.2.n has n entries, but for the last, which has as many as the one before
		at := netip.MustParseAddr(fmt.Sprintf("192.0.2.%d", i)).As16()
		for range min(i, 38) {
			d.add(entry("192.0.2.0")[unix.NLMSG_HDRLEN:])
			d.sources[len(d.sources)-1] = at
		}
	}
	want := []remediate.Talker{{Address: "192.0.2.38", Entries: 38}, {Address: "192.0.2.39", Entries: 38}, {Address: "192.0.2.37", Entries: 37},
		{Address: "192.0.2.36", Entries: 36}, {Address: "192.0.2.35", Entries: 35}}
	if got := d.top(1); !slices.Equal(got, want) {
		t.Errorf("%v, want %v", got, want)
	}
}
