package notify_test

import (
	"crypto/tls"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/ctwarden/ctwarden/internal/testhost"
	"github.com/ctwarden/ctwarden/notify"
)

// fault is one way in which NATS fails. All go through the same assertions, as often as the form of the suite wants.
type fault struct {
	name string
	// prepare sets the stage before the server starts.
	prepare func(s *stage)
	// fail makes it fail, mend ends that.
	fail, mend func(s *stage)
	// atStart has it fail before the publisher starts.
	atStart bool
	problem notify.Problem
	words   string
	// reorders: the server refuses events one by one, so that it may take one whose predecessor it has refused.
	reorders bool
}

func (s *stage) stop()  { s.lab.stop() }
func (s *stage) start() { s.lab.start() }

// restarted is a server with other options in the same place.
func (s *stage) restarted(change func(*server.Options)) {
	s.Helper()
	s.lab.stop()
	change(&s.lab.opts)
	s.lab.start()
}

// updated changes the stream.
func (s *stage) updated(change func(*jetstream.StreamConfig)) {
	s.Helper()
	nc, js := s.lab.connect(s.admin...)
	defer nc.Close()
	stream, err := js.Stream(s.Context(), notify.StreamName)
	if err != nil {
		s.Fatal(err)
	}
	cfg := stream.CachedInfo().Config
	change(&cfg)
	if _, err := js.UpdateStream(s.Context(), cfg); err != nil {
		s.Fatal(err)
	}
}

// used is how much is in the stream.
func (s *stage) used() jetstream.StreamState {
	s.Helper()
	nc, js := s.lab.connect(s.admin...)
	defer nc.Close()
	stream, err := js.Stream(s.Context(), notify.StreamName)
	if err != nil {
		s.Fatal(err)
	}
	return stream.CachedInfo().State
}

func (s *stage) removed() {
	s.Helper()
	s.before = append(s.before, s.lab.stored(s.admin...)...)
	nc, js := s.lab.connect(s.admin...)
	defer nc.Close()
	if err := js.DeleteStream(s.Context(), notify.StreamName); err != nil {
		s.Fatal(err)
	}
}

func (s *stage) write(path string, content []byte, mode os.FileMode) {
	s.Helper()
	if err := os.WriteFile(path, content, mode); err != nil {
		s.Fatal(err)
	}
	if err := os.Chmod(path, mode); err != nil {
		s.Fatal(err)
	}
}

func awayFaults() []fault {
	return []fault{
		{name: "away at start", atStart: true, fail: (*stage).stop, mend: (*stage).start,
			problem: notify.ProblemUnreachable, words: "nothing listens there"},
		{name: "stopped and started", fail: (*stage).stop, mend: (*stage).start,
			problem: notify.ProblemUnreachable, words: "nothing listens there"},
		{name: "lame duck", prepare: func(s *stage) {
			s.lab.opts.LameDuckDuration, s.lab.opts.LameDuckGracePeriod = 100*time.Millisecond, -10*time.Millisecond
		}, fail: func(s *stage) { s.lab.ns.LameDuckShutdown(); s.lab.stop() }, mend: (*stage).start,
			problem: notify.ProblemUnreachable, words: "nothing listens there"},
		{name: "a name that does not resolve", prepare: func(s *stage) {
			s.dial.Servers = append(s.dial.Servers, "nats://nats.invalid:4222")
		}, fail: (*stage).stop, mend: (*stage).start,
			problem: notify.ProblemName, words: "the name nats.invalid does not resolve"},
		wired(fault{name: "falls silent", problem: notify.ProblemNoAnswer, words: "no acknowledgement"}, 0),
		wired(fault{name: "slow", problem: notify.ProblemNoAnswer, words: "the server is slow"}, 4<<10),
		wired(fault{name: "silent from the start", atStart: true, problem: notify.ProblemUnreachable, words: "no answer within 2s"}, 0),
	}
}

// wired has a proxy before the server that passes on so many bytes a second while the fault lasts.
func wired(f fault, rate int) fault {
	var mu sync.Mutex
	proxies := map[*stage]*wire{}
	of := func(s *stage) *wire {
		mu.Lock()
		defer mu.Unlock()
		return proxies[s]
	}
	f.prepare = func(s *stage) {
		w := newWire(s.T, s.lab.listen)
		s.dial.Servers = []string{"nats://" + w.address()}
		mu.Lock()
		defer mu.Unlock()
		proxies[s] = w
	}
	f.fail = func(s *stage) { of(s).slow(rate) }
	f.mend = func(s *stage) { of(s).fast() }
	return f
}

func refusingFaults() []fault {
	const subject = "ctwarden.v1.ev.gva.hv1.>"
	return []fault{
		{name: "publishing forbidden", prepare: func(s *stage) {
			s.lab.opts.Users = users(subject)
			s.admin, s.secrets = []nats.Option{nats.UserInfo("admin", "a")}, []string{"hunter2"}
			s.dial.Servers = []string{"nats://hv1:hunter2@" + s.lab.listen}
		}, fail: func(s *stage) { s.reload(users("ctwarden.v1.ev.gva.hv2.>")) }, mend: func(s *stage) { s.reload(users(subject)) },
			problem: notify.ProblemForbidden, words: `forbid publish to "ctwarden.v1.ev.gva.hv1.limit.changed"; allow it`, reorders: true},
		{name: "stream full of messages", fail: func(s *stage) {
			s.updated(func(c *jetstream.StreamConfig) { c.MaxMsgs, c.Discard = int64(s.used().Msgs)+10, jetstream.DiscardNew })
		}, mend: func(s *stage) { s.updated(func(c *jetstream.StreamConfig) { c.MaxMsgs = -1 }) },
			problem: notify.ProblemFull, words: "is full", reorders: true},
		{name: "stream full of bytes", fail: func(s *stage) {
			s.updated(func(c *jetstream.StreamConfig) {
				c.MaxBytes, c.Discard = int64(s.used().Bytes)+5000, jetstream.DiscardNew
			})
		}, mend: func(s *stage) { s.updated(func(c *jetstream.StreamConfig) { c.MaxBytes = 64 << 20 }) },
			problem: notify.ProblemFull, words: "is full", reorders: true},
		{name: "stream missing", fail: (*stage).removed, mend: func(s *stage) { s.lab.setup(s.admin...) },
			problem: notify.ProblemNoStream, words: "create it with ctwarden-hub init", reorders: true},
		{name: "JetStream off", fail: func(s *stage) { s.restarted(func(o *server.Options) { o.JetStream = false }) },
			mend:    func(s *stage) { s.restarted(func(o *server.Options) { o.JetStream = true }) },
			problem: notify.ProblemNoStream, words: "JetStream is off or the stream is missing", reorders: true},
		{name: "larger than max_payload", fail: func(s *stage) { s.restarted(func(o *server.Options) { o.MaxPayload = 200 }) },
			mend:    func(s *stage) { s.restarted(func(o *server.Options) { o.MaxPayload = 1 << 20 }) },
			problem: notify.ProblemTooLarge, words: "larger than the server's max_payload"},
	}
}

// users are an administrator and the host, which may publish to a subject.
func users(subject string) []*server.User {
	return []*server.User{{Username: "admin", Password: "a"}, {Username: "hv1", Password: "hunter2", Permissions: &server.Permissions{
		Publish:   &server.SubjectPermission{Allow: []string{subject}},
		Subscribe: &server.SubjectPermission{Allow: []string{notify.InboxPrefix("gva", "hv1") + ".>"}},
	}}}
}

// reload has the server take over other users while it runs.
func (s *stage) reload(users []*server.User) {
	s.Helper()
	s.lab.opts.Users = users
	opts := s.lab.opts
	if err := s.lab.ns.ReloadOptions(&opts); err != nil {
		s.Fatal(err)
	}
}

func secretFaults() []fault {
	password := func(p string) func(*stage) {
		return func(s *stage) { s.restarted(func(o *server.Options) { o.Password = p }) }
	}
	return []fault{
		{name: "wrong token", prepare: func(s *stage) {
			s.lab.opts.Authorization = "hunter2"
			s.admin, s.secrets = []nats.Option{nats.Token("hunter2")}, []string{"hunter2"}
			s.dial.Servers = []string{"nats://hunter2@" + s.lab.listen}
		}, fail: func(s *stage) { s.restarted(func(o *server.Options) { o.Authorization = "hunter3" }) },
			mend:    func(s *stage) { s.restarted(func(o *server.Options) { o.Authorization = "hunter2" }) },
			problem: notify.ProblemCredentials, words: "does not let this host in"},
		{name: "wrong password", prepare: func(s *stage) {
			s.lab.opts.Username, s.lab.opts.Password = "u", "hunter2"
			s.admin, s.secrets = []nats.Option{nats.UserInfo("u", "hunter2")}, []string{"hunter2"}
			s.dial.Servers = []string{"nats://u:hunter2@" + s.lab.listen}
		}, fail: password("hunter3"), mend: password("hunter2"),
			problem: notify.ProblemCredentials, words: "does not let this host in"},
		credentials(fault{name: "expired credentials", problem: notify.ProblemCredentials, words: "credentials expired at 20"},
			func(s *stage, a *authority) {
				s.give(a, time.Now().Add(-time.Minute), 0o600)
			}),
		credentials(fault{name: "credentials of another account", problem: notify.ProblemCredentials, words: "does not let this host in"},
			func(s *stage, _ *authority) {
				s.give(newAuthority(s.T), time.Time{}, 0o600)
			}),
		credentials(fault{name: "credentials missing", atStart: true, problem: notify.ProblemFile, words: "no such file"},
			func(s *stage, _ *authority) { _ = os.Remove(s.dial.Credentials) }),
		credentials(fault{name: "credentials for everybody to read", problem: notify.ProblemFile, words: "can be read by every user"},
			func(s *stage, a *authority) { s.give(a, time.Time{}, 0o644) }),
		authorities("wrong certificate authority", false),
		authorities("certificate expired", true),
	}
}

// give puts a new user's credentials where the publisher looks for them.
func (s *stage) give(a *authority, expires time.Time, mode os.FileMode) {
	s.Helper()
	text := a.user(s.T, expires)
	for line := range strings.Lines(string(text)) { // the token and the seed
		if line = strings.TrimSpace(line); len(line) > 50 && !strings.Contains(line, " ") {
			s.secrets = append(s.secrets, line)
		}
	}
	s.write(s.dial.Credentials, text, mode)
}

// credentials has the server ask for a user of an account, whose file is spoilt on the disk while the server restarts,
// and put right again under the running publisher.
func credentials(f fault, spoil func(*stage, *authority)) fault {
	var mu sync.Mutex
	all := map[*stage]*authority{}
	of := func(s *stage) *authority {
		mu.Lock()
		defer mu.Unlock()
		return all[s]
	}
	f.prepare = func(s *stage) {
		a := newAuthority(s.T)
		mu.Lock()
		all[s] = a
		mu.Unlock()
		a.guard(s.T, &s.lab.opts)
		dir := s.TempDir()
		s.dial.Credentials = dir + "/agent.creds"
		s.give(a, time.Time{}, 0o600)
		s.write(dir+"/admin.creds", a.user(s.T, time.Time{}), 0o600)
		s.admin = []nats.Option{nats.UserCredentials(dir + "/admin.creds")}
	}
	f.fail = func(s *stage) { spoil(s, of(s)); s.restarted(func(*server.Options) {}) }
	f.mend = func(s *stage) { s.give(of(s), time.Time{}, 0o600) }
	return f
}

// authorities has a server with a certificate that the publisher does not accept: by another authority, which is then
// put into the publisher's file, or one that has expired, which is then replaced at the server.
func authorities(name string, expired bool) fault {
	with := func(s *stage, cert, key string) {
		mine, err := tls.LoadX509KeyPair(cert, key)
		if err != nil {
			s.Fatal(err)
		}
		s.restarted(func(o *server.Options) { o.TLS, o.TLSConfig = true, &tls.Config{Certificates: []tls.Certificate{mine}} })
		s.admin = []nats.Option{nats.Secure(&tls.Config{InsecureSkipVerify: true})} // the test looks at another matter
	}
	trust := func(s *stage, cert string) {
		text, err := os.ReadFile(cert)
		if err != nil {
			s.Fatal(err)
		}
		s.write(s.dial.TLS.CA, text, 0o644)
	}
	f := fault{name: name, problem: notify.ProblemTLS, words: "TLS does not come about", prepare: func(s *stage) {
		cert, key := pair(s.T)
		s.dial.Servers, s.dial.TLS.CA = []string{"tls://" + s.lab.listen}, s.TempDir()+"/ca.pem"
		trust(s, cert)
		with(s, cert, key)
		s.lab.stop()
	}}
	var mu sync.Mutex
	next := map[*stage]string{}
	f.fail = func(s *stage) {
		lifetime := time.Hour
		if expired {
			lifetime = -time.Minute
		}
		cert, key := pairFor(s.T, lifetime)
		with(s, cert, key)
		if expired {
			trust(s, cert)
		}
		mu.Lock()
		defer mu.Unlock()
		next[s] = cert
	}
	f.mend = func(s *stage) {
		mu.Lock()
		cert := next[s]
		mu.Unlock()
		if expired {
			var key string
			cert, key = pair(s.T)
			with(s, cert, key)
		}
		trust(s, cert)
	}
	return f
}

// TestPromiseFaults has the server fail in every way, before the publisher starts or under it, and come back.
func TestPromiseFaults(t *testing.T) {
	faults := append(append(awayFaults(), refusingFaults()...), secretFaults()...)
	const rounds = 2 // the second time over the same connection, where the fault leaves that
	each := testhost.Amount(120, 3000)
	var sum tally
	t.Run("all", func(t *testing.T) {
		var g sync.WaitGroup // not t.Parallel, which would run as many at once as there are processors: most of this is waiting
		for _, f := range faults {
			g.Go(func() {
				t.Run(f.name, func(t *testing.T) {
					s := newStage(t, f)
					for round := range rounds {
						if !f.atStart || round > 0 {
							s.commit(10)
							s.waitFor("the first events arrive", func() bool { return s.store.Len() == 0 })
							f.fail(s)
						}
						s.commit(each)
						s.noticed(f)
						s.commit(20)
						f.mend(s)
						s.recovered(f)
					}
					sum.add(s)
				})
			})
		}
		g.Wait()
	})
	testhost.Held(t, "4.1 every way in which NATS fails", "%d faults, each %d times; %d events, lost 0, twice 0; the reason was told within %.1f s at the slowest",
		sum.faults, rounds, sum.events, sum.slowest.Seconds())
}

// tally adds up what the stages of one test saw.
type tally struct {
	mu      sync.Mutex
	faults  int
	events  int
	slowest time.Duration
}

func (y *tally) add(s *stage) {
	y.mu.Lock()
	defer y.mu.Unlock()
	y.faults++
	y.events += s.committed
	y.slowest = max(y.slowest, s.slowest)
}
