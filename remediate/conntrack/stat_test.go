package conntrack

import (
	"slices"
	"strings"
	"testing"

	"github.com/ctwarden/ctwarden/remediate"
)

// The headers of the kernel's table through its history (net/netfilter/nf_conntrack_standalone.c).
const (
	header2620 = "entries  searched found new invalid ignore delete delete_list insert insert_failed drop early_drop " +
		"icmp_error  expect_new expect_create expect_delete\n"
	header3 = "entries  searched found new invalid ignore delete delete_list insert insert_failed drop early_drop " +
		"icmp_error  expect_new expect_create expect_delete search_restart\n"
	header5 = "entries  clashres found new invalid ignore delete delete_list insert insert_failed drop early_drop " +
		"icmp_error  expect_new expect_create expect_delete search_restart\n"
	header6 = "entries  clashres found new invalid ignore delete chainlength insert insert_failed drop early_drop " +
		"icmp_error  expect_new expect_create expect_delete search_restart\n"

	row2620 = "00000abc  00000001 00000002 00000003 00000004 00000005 00000006 00000007 00000008 00000009 0000000a " +
		"0000000b 0000000c  0000000d 0000000e 0000000f\n"
	rowA = "00000abc  00000001 00000002 00000003 00000004 00000005 00000006 00000007 00000008 00000009 0000000a " +
		"0000000b 0000000c  0000000d 0000000e 0000000f 00000010\n"
	rowB = "00000abc  00000000 00000000 00000000 00000000 00000000 00000000 00000070 00000000 00000090 FFFFFFFF " +
		"000000b0 00000000  00000000 00000000 00000000 00000100\n"
)

func TestStatOfEachGeneration(t *testing.T) {
	for _, c := range []struct {
		name, text string
		want       remediate.Counters
	}{
		{"2.6.20", header2620 + row2620, remediate.Counters{Drop: 10, EarlyDrop: 11, InsertFailed: 9}},
		{"3.x", header3 + rowA, remediate.Counters{Drop: 10, EarlyDrop: 11, InsertFailed: 9, SearchRestart: 16}},
		{"5.x", header5 + rowA, remediate.Counters{Drop: 10, EarlyDrop: 11, InsertFailed: 9, SearchRestart: 16}},
		{"6.x", header6 + rowA, remediate.Counters{
			Drop: 10, EarlyDrop: 11, InsertFailed: 9, SearchRestart: 16, ChainLength: 7,
		}},
		{"two CPUs", header6 + rowA + rowB, remediate.Counters{
			Drop: 10 + 1<<32 - 1, EarlyDrop: 11 + 0xb0, InsertFailed: 9 + 0x90, SearchRestart: 16 + 0x100,
			ChainLength: 7 + 0x70,
		}},
		{"columns in another order", "drop entries\n00000003 00000abc\n", remediate.Counters{Drop: 3}},
		{"no newline at the end", "entries drop\n00000abc 00000003", remediate.Counters{Drop: 3}},
	} {
		t.Run(c.name, func(t *testing.T) {
			var s stat
			if err := s.parse([]byte(c.text)); err != nil {
				t.Fatal(err)
			}
			var m meter
			m.add(s.rows)
			if got := m.counters(); got != c.want {
				t.Errorf("counters = %+v, want %+v", got, c.want)
			}
			if has := strings.Contains(c.text, "chainlength"); s.chains != has || s.clone().chains != has {
				t.Errorf("a column of long chains: %v, want %v", s.chains, has)
			}
			if s.entries != 0xabc {
				t.Errorf("entries = %d, want %d", s.entries, 0xabc)
			}
		})
	}
}

func TestStatRefuses(t *testing.T) {
	for _, c := range []struct{ name, text, want string }{
		{"nothing", "", errNoDrop.Error()},
		{"no column drop", "entries early_drop\n00000001 00000002\n", errNoDrop.Error()},
		{"no row", header6, "no row"},
		{"a short row", "entries drop\n00000001\n", "row 0: 1 numbers under 2 names"},
		{"a long row", "entries drop\n1 2\n1 2 3\n", "row 1: 3 numbers under 2 names"},
		{"no number", "entries drop\n00000001 0000000g\n", `row 0: "0000000g" is not a hexadecimal number`},
		{"too wide", "entries drop\n00000001 100000000\n", `row 0: "100000000" is wider than 32 bits`},
	} {
		t.Run(c.name, func(t *testing.T) {
			var s stat
			if err := s.parse([]byte(c.text)); err == nil || err.Error() != c.want {
				t.Errorf("error = %v, want %s", err, c.want)
			}
		})
	}
}

func TestMeterGoesOnOverWraps(t *testing.T) {
	rows := func(drops ...uint32) []row {
		var out []row
		for _, d := range drops {
			out = append(out, row{drop: d})
		}
		return out
	}
	for _, c := range []struct {
		name     string
		readings [][]row
		want     uint64
	}{
		{"the first reading is what the kernel counted so far", [][]row{rows(5, 7)}, 12},
		{"growth", [][]row{rows(5, 7), rows(6, 9)}, 15},
		{"no growth", [][]row{rows(5, 7), rows(5, 7)}, 12},
		{"one CPU wraps", [][]row{rows(1<<32-2, 7), rows(3, 7)}, 1<<32 + 3 + 7},
		{"both wrap, twice", [][]row{
			rows(1<<32-1, 1<<32-1), rows(0, 0), rows(1<<31, 1<<31), rows(1<<32-1, 1<<32-1), rows(0, 0),
		}, 4 << 32},
		{"the module is loaded anew", [][]row{rows(500, 7), rows(3, 0), rows(4, 0)}, 511},
		{"from a high count", [][]row{rows(wrapsFrom - 1), rows(3)}, wrapsFrom + 2},
		{"from the last quarter to a count no wrap reaches", [][]row{rows(1<<32 - 1), rows(wrapsTo)}, 1<<32 - 1 + wrapsTo},
		{"a row appears", [][]row{rows(5), rows(5, 7)}, 12},
		{"a row disappears and comes back", [][]row{rows(5, 7), rows(6), rows(6, 8)}, 14},
	} {
		t.Run(c.name, func(t *testing.T) {
			var m meter
			for _, r := range c.readings {
				m.add(r)
			}
			if got := m.counters().Drop; got != c.want {
				t.Errorf("drops = %d, want %d", got, c.want)
			}
		})
	}
}

func FuzzStat(f *testing.F) {
	for _, seed := range []string{
		header2620 + row2620, header3 + rowA, header5 + rowA, header6 + rowA + rowB,
		header6, "drop\n0\n", "drop drop\n1 2\n", "entries drop\n00000001 0000000g\n", "\n\n", "drop\n\n1\n",
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		var s stat
		err := s.parse(text)
		if err != nil {
			return
		}
		if len(s.rows) == 0 {
			t.Error("accepted without a row")
		}
		header, _, _ := strings.Cut(string(text), "\n")
		if !slices.Contains(strings.Fields(header), "drop") {
			t.Error("accepted without a column drop")
		}
		again := stat{rows: make([]row, 3)} // what was in it before must not matter
		if err := again.parse(text); err != nil || !slices.Equal(again.rows, s.rows) || again.entries != s.entries {
			t.Errorf("a second time: %+v, %v; first %+v", again, err, s)
		}
	})
}
