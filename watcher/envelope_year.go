package watcher

import "time"

const (
	// futureSlack is how far behind Now a line may lie: clocks differ, and so do time zones.
	futureSlack = 24 * time.Hour
	// orderSlack is how far a line may lie before the one before it, in the same year of the file.
	orderSlack = 31 * 24 * time.Hour
	// leapGap is the longest run of years without a 29th of February.
	leapGap = 8
)

// time makes a line's time of its stamp; zero where the line has none.
func (p *LineParser) time(s stamp) time.Time {
	if s.month == 0 {
		return time.Time{}
	}
	if s.zone == nil {
		s.zone = p.cfg.Location
	}
	nsec := time.Duration(s.nsec)
	s.nsec = 0
	if s != p.second.stamp {
		p.second = parsedSecond{s, p.start(s)}
	}
	t := p.second.start.Add(nsec)
	if s.year == 0 && p.cfg.Now.IsZero() {
		p.second = parsedSecond{} // the clock goes on, and so may the year
	}
	return t
}

// parsedSecond is when the second of a stamp began.
type parsedSecond struct {
	stamp
	start time.Time
}

// start is when the second of a stamp began.
func (p *LineParser) start(s stamp) time.Time {
	if s.year != 0 {
		return s.in(s.year)
	}
	p.last = p.inYear(s)
	return p.last
}

// inYear finds the year of a stamp that does not say it: the latest that is not in the future. A file may hold several
// years if the first one's year is given; then a month that comes before the last line's is the next year's.
func (p *LineParser) inYear(s stamp) time.Time {
	now := p.cfg.Now
	if now.IsZero() {
		now = time.Now()
	}
	latest := latestYear(s, now.In(s.zone))
	if p.cfg.Year == 0 {
		return latest
	}
	if p.last.IsZero() {
		return s.in(p.cfg.Year)
	}
	for year := p.last.Year() - 1; year <= p.last.Year()+1; year++ {
		if t := s.in(year); t.After(p.last.Add(-orderSlack)) {
			if t.After(now.Add(futureSlack)) {
				return s.in(p.last.Year())
			}
			return t
		}
	}
	return s.in(p.last.Year())
}

// latestYear is the latest time that s can stand for.
func latestYear(s stamp, now time.Time) time.Time {
	latest := now.Add(futureSlack)
	for year := latest.Year(); year > now.Year()-leapGap; year-- {
		t := s.in(year)
		if t.Month() == s.month && !t.After(latest) {
			return t
		}
	}
	return s.in(now.Year())
}

// in is the time in the given year.
func (s stamp) in(year int) time.Time {
	return time.Date(year, s.month, s.day, s.hour, s.min, s.sec, s.nsec, s.zone)
}
