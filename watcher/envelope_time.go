package watcher

import (
	"bytes"
	"time"
)

// stamp is a time of day as a line gives it. Year 0: the line does not say. A nil zone: the reader's own. The zero stamp
// is no time at all.
type stamp struct {
	year                      int
	month                     time.Month
	day, hour, min, sec, nsec int
	zone                      *time.Location
}

// stampText is a stamp, with what only its writing tells.
type stampText struct {
	stamp
	comma bool // a decimal comma
}

// valid tells whether the fields are in their ranges. The 29th of February and a leap second are.
func (s stamp) valid() bool {
	return s.month >= time.January && s.month <= time.December && s.day >= 1 && s.day <= 31 &&
		s.hour <= 23 && s.min <= 59 && s.sec <= 60
}

// cut takes a time in any of the known forms and the blanks behind it off the front of b, into the zero stampText:
//
//	Jan  4 23:14:44[.123456] [2023]           RFC 3164, journalctl short and short-precise
//	Sat Sep  9 16:28:18 2017                  OpenWrt, dmesg -T
//	2019-02-25T03:45:03.778502+00:00          rsyslog, journalctl short-iso, dmesg --time-format iso
//	Tue 2018-11-20 22:30:22 CET               journalctl short-full
//	1542749422.123456                         journalctl short-unix
//
// Where it is false, at is of no use.
func (at *stampText) cut(b []byte) (rest []byte, ok bool) {
	if len(b) > 0 && isDigit(b[0]) {
		if rest, ok = at.cutISO(b); !ok {
			*at = stampText{}
			rest, ok = at.cutUnix(b)
		}
		return at.end(rest, ok)
	}
	if day, ok := cutWeekday(b); ok {
		if rest, ok := at.cutISO(day); ok {
			return at.end(at.cutZoneName(rest), true)
		}
		*at = stampText{}
		b = day
	}
	rest, ok = at.cutRFC3164(b)
	return at.end(rest, ok)
}

// end wants a blank or the end behind a time.
func (at *stampText) end(rest []byte, ok bool) ([]byte, bool) {
	after, blank := cutBlank(rest)
	if !ok || !blank || !at.valid() {
		return rest, false
	}
	return bytes.TrimLeft(after, " "), true
}

// cutRFC3164 reads "Jan  4 23:14:44", with decimals or not, and with the year before or behind the time of day, as
// network devices and ctime write it.
func (at *stampText) cutRFC3164(b []byte) (rest []byte, ok bool) {
	month, rest, ok := cutMonth(b)
	if !ok || len(rest) < 2 || rest[0] != ' ' {
		return b, false
	}
	at.month = month
	rest = bytes.TrimLeft(rest, " ")
	n := countDigits(rest)
	if n == 0 || n > 2 || len(rest) <= n || rest[n] != ' ' {
		return b, false
	}
	at.day, rest = atoi(rest[:n]), rest[n+1:]
	if year, after, ok := cutYear(rest); ok && len(after) > 0 {
		at.year, rest = year, after[1:]
	}
	if rest, ok = at.cutClock(rest); !ok {
		return b, false
	}
	if at.year == 0 && len(rest) > 1 && rest[0] == ' ' {
		if year, after, ok := cutYear(rest[1:]); ok {
			at.year, rest = year, after
		}
	}
	return rest, true
}

// cutYear takes four digits that end there off the front of b.
func cutYear(b []byte) (year int, rest []byte, ok bool) {
	if countDigits(b) != 4 || len(b) > 4 && b[4] != ' ' {
		return 0, b, false
	}
	return atoi(b[:4]), b[4:], true
}

// cutISO reads "2019-02-25T03:45:03.778502+00:00", with a blank for the T or before the zone, a comma for the point, and
// with or without decimals and zone.
func (at *stampText) cutISO(b []byte) (rest []byte, ok bool) {
	if len(b) < 19 || countDigits(b) != 4 || b[4] != '-' || countDigits(b[5:]) != 2 || b[7] != '-' ||
		countDigits(b[8:]) != 2 || b[10] != 'T' && b[10] != ' ' {
		return b, false
	}
	at.year, at.month, at.day = atoi(b[:4]), time.Month(atoi(b[5:7])), atoi(b[8:10])
	if rest, ok = at.cutClock(b[11:]); !ok {
		return b, false
	}
	at.comma = len(b) > 19 && b[19] == ','
	if zone, after, ok := cutOffset(rest); ok {
		at.zone, rest = zone, after
	} else if hasPrefix(rest, " +") || hasPrefix(rest, " -") {
		if zone, after, ok := cutOffset(rest[1:]); ok && hasPrefix(after, " ") {
			at.zone, rest = zone, after
		}
	}
	return rest, at.valid()
}

// cutClock takes "23:14:44" and decimals off the front of b.
func (s *stamp) cutClock(b []byte) ([]byte, bool) {
	if len(b) < 8 || countDigits(b) != 2 || b[2] != ':' || countDigits(b[3:]) != 2 || b[5] != ':' ||
		countDigits(b[6:]) != 2 {
		return b, false
	}
	s.hour, s.min, s.sec = atoi(b[:2]), atoi(b[3:5]), atoi(b[6:8])
	b = b[8:]
	if len(b) > 1 && (b[0] == '.' || b[0] == ',') {
		nsec, rest, ok := cutFraction(b[1:])
		if !ok {
			return b, false
		}
		s.nsec, b = nsec, rest
	}
	return b, true
}

// cutOffset takes a zone in digits off the front of b: Z, +01:00, +0100 or +01.
func cutOffset(b []byte) (*time.Location, []byte, bool) {
	if len(b) > 0 && b[0] == 'Z' {
		return time.UTC, b[1:], true
	}
	if len(b) < 3 || b[0] != '+' && b[0] != '-' {
		return nil, b, false
	}
	sign, rest := 1, b[1:]
	if b[0] == '-' {
		sign = -1
	}
	hours, minutes := 0, 0
	switch n := countDigits(rest); {
	case n == 4:
		hours, minutes, rest = atoi(rest[:2]), atoi(rest[2:4]), rest[4:]
	case n == 2 && len(rest) >= 5 && rest[2] == ':' && countDigits(rest[3:]) == 2:
		hours, minutes, rest = atoi(rest[:2]), atoi(rest[3:5]), rest[5:]
	case n == 2:
		hours, rest = atoi(rest[:2]), rest[2:]
	default:
		return nil, b, false
	}
	if hours == 0 && minutes == 0 {
		return time.UTC, rest, true
	}
	return time.FixedZone("", sign*(hours*3600+minutes*60)), rest, hours < 24 && minutes < 60
}

// cutZoneName takes the zone off the front of rest that journalctl's short-full ends a time with. An abbreviation other
// than UTC's is taken for the reader's own zone, since it names none by itself.
func (at *stampText) cutZoneName(rest []byte) []byte {
	after := bytes.TrimPrefix(rest, []byte(" "))
	n := bytes.IndexByte(after, ' ')
	if n <= 0 || n > len("+05:30") {
		return rest
	}
	word, after := after[:n], after[n:]
	if zone, tail, ok := cutOffset(word); ok && len(tail) == 0 {
		at.zone = zone
	} else if s := string(word); s == "UTC" || s == "GMT" {
		at.zone = time.UTC
	} else if bytes.ContainsFunc(word, func(r rune) bool { return r < 'A' || r > 'Z' }) {
		return rest
	}
	return after
}

// cutUnix reads "1542749422.123456".
func (at *stampText) cutUnix(b []byte) (rest []byte, ok bool) {
	n := countDigits(b)
	if n < 9 || n > 11 || len(b) <= n || b[n] != '.' {
		return b, false
	}
	nsec, rest, ok := cutFraction(b[n+1:])
	if !ok {
		return b, false
	}
	t := time.Unix(int64(atoi(b[:n])), int64(nsec)).UTC()
	at.stamp = stamp{
		year: t.Year(), month: t.Month(), day: t.Day(), hour: t.Hour(), min: t.Minute(), sec: t.Second(),
		nsec: nsec, zone: time.UTC,
	}
	return rest, true
}

const (
	monthNames   = "JanFebMarAprMayJunJulAugSepOctNovDec"
	weekdayNames = "SunMonTueWedThuFriSat"
)

func cutMonth(b []byte) (time.Month, []byte, bool) {
	i, ok := cutName(b, monthNames)
	if !ok {
		return 0, b, false
	}
	return time.Month(i + 1), b[3:], true
}

func cutWeekday(b []byte) ([]byte, bool) {
	if _, ok := cutName(b, weekdayNames); !ok || len(b) < 4 || b[3] != ' ' {
		return b, false
	}
	return b[4:], true
}

// cutName finds the three letters that b starts with in a list of such names.
func cutName(b []byte, names string) (index int, ok bool) {
	if len(b) < 3 {
		return 0, false
	}
	for i := 0; i < len(names); i += 3 {
		if string(b[:3]) == names[i:i+3] {
			return i / 3, true
		}
	}
	return 0, false
}
