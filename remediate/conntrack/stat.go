package conntrack

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
)

// column is one of the kernel's counters that matter here.
type column int

const (
	drop column = iota
	earlyDrop
	insertFailed
	chainLength
	searchRestart
	columns // their number
)

// columnNames are the names in the header. Columns came, went and were renamed between kernels (searched became
// clashres, delete_list became chainlength), so their places say nothing.
var columnNames = [columns]string{"drop", "early_drop", "insert_failed", "chainlength", "search_restart"}

var errNoDrop = errors.New("the kernel's table has no column \"drop\"")

// row is one CPU's counters. The kernel's are 32 bits wide and wrap.
type row [columns]uint32

// stat is the content of /proc/net/stat/nf_conntrack: a header, and a row of hexadecimal numbers per possible CPU.
type stat struct {
	// entries is the count of the namespace, which the kernel repeats in each row.
	entries uint64
	// chains tells that the kernel has the column chainlength: it refuses an insert on a long hash chain.
	chains bool
	rows   []row
}

// clone is a copy that a later reading does not change.
func (s *stat) clone() stat { return stat{s.entries, s.chains, slices.Clone(s.rows)} }

// parse reads the table into s, reusing its memory. A column that this kernel has not is zero; but without the column
// "drop" nothing can be verified, which is an error.
func (s *stat) parse(text []byte) error {
	header, text, _ := bytes.Cut(text, []byte("\n"))
	places, err := findColumns(header)
	if err != nil {
		return err
	}
	s.entries, s.chains, s.rows = 0, slices.Contains(places, chainLength), s.rows[:0]
	for len(text) > 0 {
		var line []byte
		line, text, _ = bytes.Cut(text, []byte("\n"))
		if len(line) == 0 {
			continue
		}
		if err := s.parseRow(line, places); err != nil {
			return fmt.Errorf("row %d: %w", len(s.rows), err)
		}
	}
	if len(s.rows) == 0 {
		return errors.New("no row")
	}
	return nil
}

// places says which counter stands at each place of a row; -1: none of ours, -2: the number of entries.
type places []column

func findColumns(header []byte) (places, error) {
	var found places
	ok := false
	for name := range bytes.FieldsSeq(header) {
		at := column(-1)
		if string(name) == "entries" {
			at = -2
		}
		for c, want := range columnNames {
			if string(name) == want {
				at = column(c)
			}
		}
		ok = ok || at == drop
		found = append(found, at)
	}
	if !ok {
		return nil, errNoDrop
	}
	return found, nil
}

func (s *stat) parseRow(line []byte, places places) error {
	var r row
	at := 0
	for field := range bytes.FieldsSeq(line) {
		n, err := parseHex(field)
		if err != nil {
			return err
		}
		if at < len(places) {
			switch c := places[at]; {
			case c == -2:
				s.entries = uint64(n)
			case c >= 0:
				r[c] = n
			}
		}
		at++
	}
	if at != len(places) {
		return fmt.Errorf("%d numbers under %d names", at, len(places))
	}
	s.rows = append(s.rows, r)
	return nil
}

// parseHex reads a number of at most 32 bits. It is strconv.ParseUint without its allocation.
func parseHex(field []byte) (uint32, error) {
	if len(field) > 8 {
		return 0, fmt.Errorf("%q is wider than 32 bits", field)
	}
	var n uint32
	for _, c := range field {
		switch {
		case '0' <= c && c <= '9':
			c -= '0'
		case 'a' <= c && c <= 'f':
			c -= 'a' - 10
		case 'A' <= c && c <= 'F':
			c -= 'A' - 10
		default:
			return 0, fmt.Errorf("%q is not a hexadecimal number", field)
		}
		n = n<<4 | uint32(c)
	}
	return n, nil
}
