package remediate

import (
	"maps"
	"testing"
	"time"
)

func TestMatchesOfOneRecordInFourStreams(t *testing.T) {
	s := play(t)
	s.read(host, 300, 0, 0)
	s.at(sec(1)).read(host, 1000, 12, 0)
	for range 10 {
		s.lines(kmsg, journal, kernlog, syslog)
	}
	s.lines(kernlog) // an eleventh that the others have not delivered yet
	if i := s.incident(); i.Matches != 11 || !maps.Equal(i.PerSource, map[string]int{
		"kmsg": 10, "journal": 10, "syslog:/var/log/kern.log": 11, "syslog:/var/log/syslog": 10,
	}) {
		t.Errorf("matches %d of %v; want 11, the largest stream", i.Matches, i.PerSource)
	}
	s.at(sec(31)).expect("opened critical init drops=12", "updated critical init matches=11 drops=12")
}

func TestMatchesRepeated(t *testing.T) {
	s := play(t)
	s.read(host, 1000, 0, 0).at(sec(1)).read(host, 1000, 30, 0)
	s.lines(kernlog, repeated(9, kernlog), kmsg, kmsg)
	if i := s.incident(); i.Matches != 10 {
		t.Errorf("matches %d; want 10", i.Matches)
	}
	s.lines(repeated(-5, kernlog), repeated(1<<62, kernlog), repeated(1<<62, kernlog), repeated(1<<62, kernlog))
	if i := s.incident(); i.Matches != 10+3<<30 {
		t.Errorf("matches %d after counts that no kernel writes", i.Matches)
	}
}

func TestMatchesSuppressed(t *testing.T) {
	s := play(t)
	s.read(host, 300, 0, 0)
	s.at(sec(1)).lines(suppressed(5, kmsg)) // in 5 s before the first match: it counts
	s.at(sec(2)).lines(suppressed(7, kernlog), suppressed(2, syslog))
	s.at(sec(6)).read(host, 1000, 12, 0).lines(kmsg)
	if i := s.incident(); i.Suppressed != 5 {
		t.Errorf("suppressed %d; want the notice of 12:00:01", i.Suppressed)
	}
	s.at(sec(7.5)).read(host, 1000, 13, 0).lines(syslog, kernlog) // too late for the notices of 12:00:02
	s.lines(suppressed(30, kmsg), suppressed(40, kernlog))
	if i := s.incident(); i.Suppressed != 40 || i.Matches != 1 {
		t.Errorf("suppressed %d, matches %d; want 40, the largest stream, never the sum", i.Suppressed, i.Matches)
	}
	s.at(sec(8)).lines(suppressed(-9, kernlog), suppressed(6, kernlog))
	if i := s.incident(); i.Suppressed != 46 {
		t.Errorf("suppressed %d; want the sum of that stream's two notices", i.Suppressed)
	}
}

func TestMatchesSuppressedAlone(t *testing.T) {
	s := play(t)
	for n := range 1000 {
		m := kernlog
		m.Path += string(rune('a' + n))
		s.lines(suppressed(7, m))
	}
	s.at(minutes(5)).expect().quiet()
	if len(s.tr.notices) > mostStreams {
		t.Errorf("%d notices kept", len(s.tr.notices))
	}
}

func TestMatchesOfNamespaces(t *testing.T) {
	for _, c := range []struct {
		name              string
		host, pod, router uint64 // what each has refused at 12:00:01
		line              Match
		want              string // whose the line is
	}{
		{"unnamed, the first refuses", 1, 0, 0, kmsg, "init"},
		{"unnamed, all refuse", 1, 1, 1, kmsg, "init"},
		{"unnamed, another refuses", 0, 1, 0, kmsg, "pod"},
		{"unnamed, two others refuse", 0, 1, 1, kmsg, "router"}, // read last, so it refused last
		{"named, all refuse", 1, 1, 1, in(pod, kmsg), "pod"},
		{"named from a file", 1, 1, 1, in(router, kernlog), "router"},
		{"named, only the first refuses", 1, 0, 0, in(pod, kmsg), "unverified"},
		{"named, unknown to all but a file", 1, 1, 1, in(NetNS{Inode: 99}, kernlog), "unverified"},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := play(t)
			s.read(host, 1000, 0, 0).read(pod, 1000, 0, 0).read(router, 1000, 0, 0)
			s.at(sec(1)).read(host, 1000, c.host, 0).read(pod, 1000, c.pod, 0)
			s.at(sec(1.1)).read(router, 1000, c.router, 0)
			s.fresh = nil
			s.lines(c.line)
			got := ""
			for _, i := range s.tr.Open() {
				if i.Matches > 0 {
					got += i.NetNS.Name
				}
			}
			if len(s.fresh) > 0 {
				got += short(s.fresh[0])[:len("unverified")]
			}
			if got != c.want {
				t.Errorf("booked to %q; want %q", got, c.want)
			}
		})
	}
}

func TestMatchesTimes(t *testing.T) {
	// The table refused from 12:00:10 to 12:00:20.
	for _, c := range []struct {
		name string
		at   time.Duration
		want int
	}{
		{"just within the slack before", sec(5), 1},
		{"before", sec(4.9), 0},
		{"in between", sec(15), 1},
		{"just within the slack after", sec(25), 1},
		{"after", sec(25.1), 0},
	} {
		s := play(t)
		s.read(host, 300, 0, 0).at(sec(10)).read(host, 1000, 5, 0).at(sec(20)).read(host, 1000, 9, 0)
		s.at(sec(30)).lines(written(after(c.at), kernlog))
		if i := s.incident(); i.Matches != c.want {
			t.Errorf("%s: matches %d; want %d", c.name, i.Matches, c.want)
		}
	}
	s := play(t)
	s.read(host, 1000, 0, 0).at(sec(10)).read(host, 1000, 5, 0)
	m := kernlog
	s.take(s.tr.Match(s.now, m)) // a record without a time was written now
	if i := s.incident(); i.Matches != 1 {
		t.Errorf("a record without a time: matches %d", i.Matches)
	}
}

func TestMatchesThatComeAfterTheEnd(t *testing.T) {
	s := play(t)
	s.read(host, 300, 0, 0).at(sec(1)).read(host, 1000, 12, 0).lines(kmsg)
	s.at(sec(2)).read(host, 500, 12, 0)
	s.at(minutes(3))
	s.expect("opened critical init drops=12", "updated critical init matches=1 drops=12",
		"closed critical init matches=1 drops=12")
	s.lines(written(after(sec(1.2)), kernlog), written(after(sec(1)), syslog), written(after(sec(1)), suppressed(4, syslog)))
	s.at(minutes(10)).expect().quiet()
	s.lines(written(after(minutes(9)), kernlog)).expect("unverified 1")
}

func TestMatchesOfAHiddenNamespace(t *testing.T) {
	hidden := NetNS{Inode: 4026533000}
	s := play(t)
	s.read(host, 300, 0, 0)
	s.at(sec(1)).lines(suppressed(3, kmsg), in(hidden, kmsg)).
		expect("opened critical unverified 4026533000 matches=1 suppressed=3")
	s.lines(in(hidden, journal), in(hidden, kernlog), in(hidden, kernlog)).expect()
	s.lines(kmsg).expect("unverified 1") // which may mean any but this one
	s.asks()
	if s.tr.Critical(hidden.Inode) {
		t.Error("what nobody can see keeps sampling fast")
	}
	s.at(sec(100)).lines(in(hidden, kmsg))
	s.at(sec(101)).lines(in(hidden, kernlog)) // a file keeps nothing open
	s.at(sec(219.9))
	if i := s.incident(); i.Verified || i.Severity != SeverityCritical || i.Matches != 3 {
		t.Errorf("incident %+v", i)
	}
	s.fresh = nil
	s.at(sec(220)).expect("closed critical unverified 4026533000 matches=3 suppressed=3").quiet()
	if len(s.tr.tables) != 1 {
		t.Errorf("%d tables kept; want the first namespace's", len(s.tr.tables))
	}
	s.at(sec(221)).lines(in(hidden, kmsg)).expect("opened critical unverified 4026533000 matches=1")
}

func TestMatchesOfABlindNamespace(t *testing.T) {
	s := play(t)
	s.blind(pod, 0).at(sec(1)).blind(pod, 950).expect("opened warning unverified pod").asks()
	s.at(sec(2)).lines(in(pod, kmsg)).expect("updated critical unverified pod matches=1").asks()
	if len(s.tr.Open()) != 1 {
		t.Fatalf("%d incidents of one namespace", len(s.tr.Open()))
	}
	s.at(sec(3)).lines(in(pod, kernlog)).expect() // the same record in a file
	s.at(sec(4)).read(pod, 1000, 5000, 9)         // it can be seen after all: what was counted before is not its own
	if i := s.incident(); !i.Verified || i.Drops != 0 || i.Matches != 1 {
		t.Errorf("incident %+v", i)
	}
	s.at(sec(5)).read(pod, 1000, 5001, 9).expect("updated critical pod matches=1 drops=1").asks("full pod")
}

func TestMatchesOfABlindHost(t *testing.T) {
	s := play(t)
	s.blind(host, 300).lines(kernlog).expect("unverified 1")
	s.lines(kmsg).expect("opened critical unverified init matches=1").asks()
	s.at(sec(1)).lines(journal).lines(kmsg)
	if i := s.incident(); i.Matches != 2 {
		t.Errorf("matches %d; want 2", i.Matches)
	}
}

func TestMatchesOfANamespaceThatWentBlind(t *testing.T) {
	s := play(t)
	s.read(pod, 1000, 0, 0).at(sec(1)).read(pod, 1000, 4, 0)
	s.at(sec(2)).blind(pod, 1000).asks()
	s.at(sec(60)).blind(pod, 100)
	s.at(sec(100)).lines(in(pod, kmsg))
	if i := s.incident(); i.Matches != 1 {
		t.Errorf("matches %d; want 1", i.Matches)
	}
	s.at(sec(219.9))
	s.incident() // the line kept it open
	s.at(sec(220)).quiet()
}

// TestMatchesLateFor closes an incident of the pod's that refused from 12:00:10 to 12:00:20, and one of the router's
// that was at 95% only.
func TestMatchesLateFor(t *testing.T) {
	otherBoot := kmsg
	otherBoot.BootID = "b0"
	for _, c := range []struct {
		name string
		line Match
		at   time.Duration
		want string // "" where it is absorbed
	}{
		{"unnamed", kernlog, sec(15), ""},
		{"named", in(pod, kernlog), sec(15), ""},
		{"of the same boot", in(pod, kmsg), sec(15), ""},
		{"of another namespace", in(host, kernlog), sec(15), "unverified 1"},
		{"of one that filled and refused nothing", in(router, kernlog), sec(15), "unverified 1"},
		{"of another boot", otherBoot, sec(15), "opened critical unverified historical init matches=1"},
		{"just within the slack before", kernlog, sec(5), ""},
		{"before", kernlog, sec(4.9), "unverified 1"},
		{"just within the slack after", kernlog, sec(145), ""},
		{"after", kernlog, sec(145.1), "unverified 1"},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := play(t)
			s.tr.CaughtUp()
			s.read(pod, 10, 0, 0).read(router, 10, 0, 0)
			s.at(sec(10)).read(pod, 1000, 5, 0).read(router, 950, 0, 0)
			s.at(sec(20)).read(pod, 1000, 9, 0).read(router, 10, 0, 0)
			s.at(sec(140)).quiet().read(pod, 10, 9, 0)
			s.fresh = nil
			s.at(sec(150)).lines(written(after(c.at), c.line)).at(sec(160))
			got := ""
			if len(s.fresh) > 0 {
				got = short(s.fresh[0])
			}
			if got != c.want {
				t.Errorf("got %q; want %q", got, c.want)
			}
		})
	}
}
