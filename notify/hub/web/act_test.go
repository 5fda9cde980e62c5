package web

import (
	"errors"
	"fmt"
	"net/http"
	"net/netip"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/ctwarden/ctwarden/notify/fleet"
)

// actions are all requests that act, each with what the hub is to be asked for.
var actions = []struct {
	name, method, path string
	body               any
	want               Action
}{
	{"acknowledge", "POST", "/api/v1/incidents/g1/acknowledge", struct{}{}, Action{Verb: VerbAcknowledge, Incident: "g1"}},
	{"resolve", "POST", "/api/v1/incidents/g1/resolve", struct{}{}, Action{Verb: VerbResolve, Incident: "g1"}},
	{"silence", "POST", "/api/v1/silences", newSilence{Site: "gva", Host: "k8s-*", Seconds: 3600, Comment: "upgrade"},
		Action{Verb: VerbSilence, Silence: fleet.Silence{Site: "gva", Host: "k8s-*", Comment: "upgrade"}}},
	{"unsilence", "DELETE", "/api/v1/silences/s1", nil, Action{Verb: VerbUnsilence, Silence: fleet.Silence{ID: "s1"}}},
	{"hold a site", "POST", "/api/v1/hold", scope{Site: "gva", Seconds: 60, Why: "work"}, Action{Verb: VerbHold, Site: "gva", Why: "work"}},
	{"hold all", "POST", "/api/v1/hold", scope{All: true}, Action{Verb: VerbHold}},
	{"release the hub's own", "POST", "/api/v1/unhold", scope{Budget: true}, Action{Verb: VerbUnhold, Budget: true}},
	{"release a host", "POST", "/api/v1/unhold", scope{Site: "gva", Host: "h"}, Action{Verb: VerbUnhold, Site: "gva", Host: "h"}},
}

func sceneHub() *fakeHub {
	hub := newFakeHub()
	fillScene(hub, 50, time.Now())
	return hub
}

// same compares an action but for the times and the user, which the caller looks at.
func same(got, want Action) bool {
	g, w := got.Silence, want.Silence
	return got.Verb == want.Verb && got.Incident == want.Incident && got.Site == want.Site && got.Host == want.Host && got.Why == want.Why &&
		got.Budget == want.Budget &&
		g.ID == w.ID && g.Site == w.Site && g.Host == w.Host && g.Cause == w.Cause && g.Comment == w.Comment
}

// TestActingNeedsUser: without a user nothing is asked of the hub, with one everything, in his name.
func TestActingNeedsUser(t *testing.T) {
	for _, c := range actions {
		t.Run(c.name, func(t *testing.T) {
			hub := sceneHub()
			s := serve(t, hub, Access{Users: []User{mira(t)}})
			r := s.reader(t)
			r.send(c.method, c.path, c.body).want(t, http.StatusUnauthorized, "log in first")
			r.login()
			r.send(c.method, c.path, c.body).want(t, http.StatusOK, "")
			asked := hub.actions()
			if len(asked) != 1 || asked[0].By != "mira" || !same(asked[0], c.want) {
				t.Fatalf("asked %+v, want %+v", asked, c.want)
			}
			r.send("DELETE", "/api/v1/session", nil).want(t, http.StatusOK, `"user":""`)
			r.send(c.method, c.path, c.body).want(t, http.StatusUnauthorized, "log in first")
			if n := len(hub.actions()); n != 1 {
				t.Errorf("%d actions", n)
			}
		})
	}
	r := serve(t, sceneHub(), Access{}).reader(t)
	r.send("POST", "/api/v1/hold", scope{All: true}).want(t, http.StatusForbidden, "for reading only")
	r.send("POST", "/api/v1/session", credentials{"mira", "x"}).want(t, http.StatusForbidden, "no users")
}

// TestOtherSitesActNot: what another site's page makes a browser send is refused, whoever is logged in.
func TestOtherSitesActNot(t *testing.T) {
	hub := sceneHub()
	s := serve(t, hub, Access{Users: []User{mira(t)}, Link: "https://hub.example/fleet"})
	r := s.reader(t)
	r.login()
	for _, c := range []struct {
		name, fetchSite, origin string
		code                    int
	}{
		{"another site", "cross-site", "https://evil.example", 403}, {"a sister site", "same-site", "https://b.example", 403},
		{"an old browser, another site", "", "https://evil.example", 403}, {"an old browser, no origin known", "", "null", 403},
		{"the page", "same-origin", "", 200}, {"an old browser on the page", "", s.url, 200}, {"behind a proxy", "", "https://hub.example", 200},
		{"a program", "", "", 200}, {"typed by the user", "none", "", 200},
	} {
		t.Run(c.name, func(t *testing.T) {
			before := len(hub.actions())
			r.header = http.Header{}
			if c.fetchSite != "" {
				r.header.Set("Sec-Fetch-Site", c.fetchSite)
			}
			if c.origin != "" {
				r.header.Set("Origin", c.origin)
			}
			a := r.send("POST", "/api/v1/hold", scope{All: true})
			if asked := len(hub.actions()) - before; a.code != c.code || (asked == 1) != (c.code == 200) {
				t.Errorf("got %d %s, %d actions", a.code, a.body, asked)
			}
		})
	}
}

func TestBodiesRefused(t *testing.T) {
	hub := sceneHub()
	r := serve(t, hub, Access{Users: []User{mira(t)}}).reader(t)
	r.login()
	long := strings.Repeat("x", maxBody)
	for _, c := range []struct {
		name, path string
		body       any
		code       int
		want       string
	}{
		{"too long", "/api/v1/hold", scope{All: true, Why: long}, 413, "16 KiB"},
		{"unknown field", "/api/v1/hold", map[string]any{"all": true, "hosts": 1}, 400, "unknown field"},
		{"another type", "/api/v1/hold", []int{1}, 400, "cannot unmarshal"},
		{"nobody", "/api/v1/hold", scope{}, 400, "say whom"},
		{"all and one", "/api/v1/hold", scope{All: true, Site: "gva"}, 400, "say whom"},
		{"host without site", "/api/v1/hold", scope{Host: "h"}, 400, "a host goes with its site"},
		{"the hub's own hold", "/api/v1/hold", scope{Budget: true}, 400, "orders this hold by itself"},
		{"the hub's own and all", "/api/v1/unhold", scope{Budget: true, All: true}, 400, "released by itself"},
		{"an end in the past", "/api/v1/hold", scope{All: true, Seconds: -1}, 400, "seconds: "},
		{"too far an end", "/api/v1/hold", scope{All: true, Seconds: 90*86400 + 1}, 400, "seconds: "},
		{"silence nothing", "/api/v1/silences", newSilence{Seconds: 60}, 400, "say what to silence"},
		{"silence for ever", "/api/v1/silences", newSilence{Site: "gva"}, 400, "seconds: "},
	} {
		t.Run(c.name, func(t *testing.T) { r.send("POST", c.path, c.body).want(t, c.code, c.want) })
	}
	t.Run("a form", func(t *testing.T) {
		r.header.Set("Content-Type", "text/plain")
		r.send("POST", "/api/v1/hold", scope{All: true}).want(t, http.StatusUnsupportedMediaType, "application/json")
	})
	if n := len(hub.actions()); n != 0 {
		t.Errorf("%d actions were asked for", n)
	}
}

func TestRefusalsOfTheHub(t *testing.T) {
	for _, c := range []struct {
		err  error
		code int
	}{
		{ErrNotFound, 404}, {fleet.ErrUnknown, 404}, {ErrConflict, 409}, {fleet.ErrOver, 409}, {ErrInvalid, 400}, {ErrNoLeader, 503}, {errors.New("broken"), 502},
	} {
		t.Run(c.err.Error(), func(t *testing.T) {
			hub := sceneHub()
			hub.err = fmt.Errorf("silence s1: %w", c.err)
			r := serve(t, hub, Access{Users: []User{mira(t)}}).reader(t)
			r.login()
			r.send("DELETE", "/api/v1/silences/s1", nil).want(t, c.code, "silence s1: "+c.err.Error())
		})
	}
}

func TestLogin(t *testing.T) {
	r := serve(t, sceneHub(), Access{Users: []User{mira(t)}}).reader(t)
	for _, c := range []credentials{{"mira", "wrong"}, {"nobody", mirasPassword}, {"nobody", "nobody"}, {"", ""}} {
		r.send("POST", "/api/v1/session", c).want(t, http.StatusUnauthorized, "wrong user or password")
	}
	a := r.send("POST", "/api/v1/session", credentials{"mira", mirasPassword}).want(t, http.StatusOK, "")
	cookie := a.header.Get("Set-Cookie")
	for _, part := range []string{"HttpOnly", "SameSite=Strict", "Path=/", "Max-Age=43200"} {
		if !strings.Contains(cookie, part) {
			t.Errorf("%q lacks %s", cookie, part)
		}
	}
	if strings.Contains(cookie, "Secure") {
		t.Errorf("%q could not be sent back over HTTP", cookie)
	}
	// That was five at once: the sixth attempt has to wait, even with the right password.
	a = r.send("POST", "/api/v1/session", credentials{"mira", mirasPassword}).want(t, http.StatusTooManyRequests, "wait")
	if a.header.Get("Retry-After") != "10" {
		t.Errorf("got %v", a.header)
	}
}

func TestCookieSecureBehindTLS(t *testing.T) {
	r := serve(t, sceneHub(), Access{Users: []User{mira(t)}}).reader(t)
	r.header.Set("X-Forwarded-Proto", "https")
	a := r.send("POST", "/api/v1/session", credentials{"mira", mirasPassword})
	if cookie := a.header.Get("Set-Cookie"); !strings.Contains(cookie, "; Secure") {
		t.Errorf("got %q", cookie)
	}
}

// TestReloadEndsSessions: who is no user any more, or has another password, is logged out.
func TestReloadEndsSessions(t *testing.T) {
	first, second := mira(t), mira(t) // the same password, hashed twice
	for _, c := range []struct {
		name  string
		users []User
		want  string
	}{
		{"the same", []User{first}, "mira"}, {"another hash", []User{second}, ""}, {"no user", nil, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := serve(t, sceneHub(), Access{Users: []User{first}})
			r := s.reader(t)
			r.login()
			if err := s.Configure(Access{Users: []User{{Name: "x"}}}); err == nil || !strings.Contains(err.Error(), "users[0].password_hash") {
				t.Errorf("a bad file: %v", err)
			}
			if got := into[sessionInfo](t, r.get("/api/v1/session")).User; got != "mira" {
				t.Errorf("after a bad file: %q", got)
			}
			if err := s.Configure(Access{Users: c.users}); err != nil {
				t.Fatal(err)
			}
			if got := into[sessionInfo](t, r.get("/api/v1/session")).User; got != c.want {
				t.Errorf("got %q, want %q", got, c.want)
			}
		})
	}
}

func prefixes(t *testing.T, texts ...string) (all []netip.Prefix) {
	t.Helper()
	for _, text := range texts {
		all = append(all, netip.MustParsePrefix(text))
	}
	return all
}

// TestTrustedHeader: the header counts from the proxy's addresses alone.
func TestTrustedHeader(t *testing.T) {
	for _, c := range []struct {
		name   string
		from   string
		values []string
		want   string
	}{
		{"from the proxy", "127.0.0.0/8", []string{"jonas"}, "jonas"}, {"from elsewhere", "10.0.0.0/8", []string{"jonas"}, ""}, {"twice", "127.0.0.0/8", []string{"jonas", "root"}, ""},
		{"empty", "127.0.0.0/8", []string{""}, ""}, {"absent", "127.0.0.0/8", nil, ""}, {"too long", "127.0.0.0/8", []string{strings.Repeat("j", 129)}, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			hub := sceneHub()
			r := serve(t, hub, Access{Header: "X-Forwarded-User", From: prefixes(t, c.from)}).reader(t)
			r.header["X-Forwarded-User"] = c.values
			if got := into[sessionInfo](t, r.get("/api/v1/session")); got.User != c.want || got.Login || (got.By == "proxy") != (c.want != "") {
				t.Errorf("got %+v, want %q", got, c.want)
			}
			r.send("POST", "/api/v1/hold", scope{All: true})
			asked := hub.actions()
			if (len(asked) == 1) != (c.want != "") || len(asked) == 1 && asked[0].By != c.want {
				t.Errorf("asked %+v", asked)
			}
		})
	}
}

func TestClientAddress(t *testing.T) {
	g, err := newGate(Access{Header: "X-User", From: prefixes(t, "127.0.0.0/8", "10.1.0.0/16", "fd00::/8")})
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		name, remote string
		forwarded    []string
		want         string
	}{
		{"direct", "192.0.2.1:5", nil, "192.0.2.1"}, {"one who lies", "192.0.2.1:5", []string{"8.8.8.8"}, "192.0.2.1"},
		{"by the proxy", "127.0.0.1:5", []string{"192.0.2.7"}, "192.0.2.7"}, {"one who lies to the proxy", "127.0.0.1:5", []string{"8.8.8.8, 192.0.2.7"}, "192.0.2.7"},
		{"by two proxies", "[::ffff:127.0.0.1]:5", []string{"8.8.8.8", "192.0.2.7, 10.1.2.3"}, "192.0.2.7"}, {"junk", "127.0.0.1:5", []string{"unknown"}, "127.0.0.1"},
		{"IPv6 with a zone", "[fd00::1%eth0]:5", []string{"2001:db8::1"}, "2001:db8::1"}, {"no address", "@", nil, "invalid IP"},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := &http.Request{RemoteAddr: c.remote, Header: http.Header{"X-Forwarded-For": c.forwarded}}
			if got := g.client(r).String(); got != c.want {
				t.Errorf("got %s, want %s", got, c.want)
			}
		})
	}
}

func TestAccessMistakes(t *testing.T) {
	good := mira(t)
	for _, c := range []struct {
		name string
		a    Access
		want string
	}{
		{"nothing", Access{}, ""}, {"a user", Access{Users: []User{good}}, ""}, {"a plain password", Access{Users: []User{{"mira", "secret"}}}, "users[0].password_hash: not a hash of bcrypt"},
		{"twice", Access{Users: []User{good, good}}, `users[1].name: "mira"`}, {"no name", Access{Users: []User{{"", good.PasswordHash}}}, "users[0].name"},
		{"a header from nowhere", Access{Header: "X-User"}, "trusted_header"}, {"a header without name", Access{From: prefixes(t, "::/0")}, "trusted_header"},
		{"no link", Access{Link: "hub"}, "link: "}, {"a link", Access{Link: "https://hub.example:8443/x"}, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, err := newGate(c.a)
			if (err == nil) != (c.want == "") || err != nil && !strings.Contains(err.Error(), c.want) {
				t.Errorf("got %v, want %q", err, c.want)
			}
		})
	}
}

func TestSessionsEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, g := newSessions(), &gate{users: map[string]string{"mira": "h"}}
		secret := s.begin("mira", "h", time.Now())
		time.Sleep(sessionLife)
		if got := s.user(secret, g, time.Now()); got != "mira" {
			t.Errorf("at the very end: %q", got)
		}
		time.Sleep(time.Nanosecond)
		if got := s.user(secret, g, time.Now()); got != "" {
			t.Errorf("after the end: %q", got)
		}
		oldest := s.begin("mira", "h", time.Now())
		time.Sleep(time.Second)
		next := s.begin("mira", "h", time.Now())
		for range maxSessions - 1 {
			s.begin("mira", "h", time.Now())
		}
		if len(s.all) != maxSessions || s.user(oldest, g, time.Now()) != "" || s.user(next, g, time.Now()) == "" {
			t.Errorf("%d sessions; the oldest must have gone, and only it", len(s.all))
		}
	})
}

func TestAttempts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := newAttempts()
		try := func(address string) bool { return a.allow(netip.MustParseAddr(address), time.Now()) }
		for i := range attemptsAtOnce {
			if !try("192.0.2.1") || !try(fmt.Sprintf("2001:db8::%d", i)) {
				t.Fatalf("attempt %d is refused", i)
			}
		}
		if try("192.0.2.1") || try("2001:db8::ffff") || !try("192.0.2.2") || !try("2001:db8:0:1::") {
			t.Error("the sixth of one address, or the first of another, is judged wrongly")
		}
		time.Sleep(attemptEvery)
		if !try("192.0.2.1") || try("192.0.2.1") {
			t.Error("one more must be had after ten seconds")
		}
		for i := range maxAddresses {
			try(netip.AddrFrom4([4]byte{10, 0, byte(i >> 8), byte(i)}).String())
		}
		if len(a.of) != maxAddresses {
			t.Errorf("%d addresses are remembered", len(a.of))
		}
		time.Sleep(time.Minute)
		if !try("198.51.100.1") || len(a.of) > 2 {
			t.Errorf("%d addresses are remembered after all their allowances were whole again", len(a.of))
		}
		if !a.allow(netip.Addr{}, time.Now()) {
			t.Error("a connection without an address has no attempt")
		}
	})
}
