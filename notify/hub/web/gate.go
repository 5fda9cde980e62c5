package web

import (
	"fmt"
	"net/http"
	"net/netip"
	"net/url"
	"strings"
	"unicode"

	"golang.org/x/crypto/bcrypt"
)

// Access is who may act. The zero value lets nobody: the page is for reading only.
type Access struct {
	// Users log in with a password.
	Users []User
	// Header names the request header in which a proxy says who the user is. It is believed from the addresses in From
	// alone; both or neither must be given.
	Header string
	From   []netip.Prefix
	// Link is the page's address as users see it, such as https://hub.example; requests that come from its pages are taken
	// also where a proxy changes the host they are for. Empty: only from the very host.
	Link string
}

// User is one who may log in.
type User struct {
	Name string
	// PasswordHash is bcrypt's, as "htpasswd -nBC 12 name" prints it behind the colon.
	PasswordHash string
}

// gate is an Access that has been checked.
type gate struct {
	users map[string]string // hashes by name
	// nobody is a hash of no password, as costly to compare with as the users' own.
	nobody  string
	header  string
	from    []netip.Prefix
	origins *http.CrossOriginProtection
}

func newGate(a Access) (*gate, error) {
	g := &gate{users: map[string]string{}, header: a.Header, from: a.From, origins: http.NewCrossOriginProtection()}
	if (a.Header == "") != (len(a.From) == 0) {
		return nil, fmt.Errorf("trusted_header: name and from go together: who may send the header must be said")
	}
	cost := bcrypt.MinCost
	for i, u := range a.Users {
		c, err := bcrypt.Cost([]byte(u.PasswordHash))
		if err != nil {
			return nil, fmt.Errorf("users[%d].password_hash: not a hash of bcrypt; make one with htpasswd -nBC 12 %s", i, u.Name)
		}
		if !goodName(u.Name) || g.users[u.Name] != "" {
			return nil, fmt.Errorf("users[%d].name: %q is empty, holds a control character, or is there twice", i, u.Name)
		}
		g.users[u.Name], cost = u.PasswordHash, max(cost, c)
	}
	if len(a.Users) > 0 {
		nobody, err := bcrypt.GenerateFromPassword([]byte("nobody"), cost)
		if err != nil {
			return nil, fmt.Errorf("make a hash to compare with: %w", err)
		}
		g.nobody = string(nobody)
	}
	return g, g.trustOrigin(a.Link)
}

func (g *gate) trustOrigin(link string) error {
	if link == "" {
		return nil
	}
	u, err := url.Parse(link)
	if err == nil {
		err = g.origins.AddTrustedOrigin(u.Scheme + "://" + u.Host)
	}
	if err != nil {
		return fmt.Errorf("link: %q is not the address of a page, such as https://hub.example: %w", link, err)
	}
	return nil
}

// goodName tells whether a name can stand in a journal.
func goodName(name string) bool {
	return name != "" && len(name) <= 128 && !strings.ContainsFunc(name, unicode.IsControl)
}

// peer is the address at the other end of the connection; not valid where that has none.
func peer(r *http.Request) netip.Addr {
	at, err := netip.ParseAddrPort(r.RemoteAddr)
	if err != nil {
		return netip.Addr{}
	}
	return at.Addr().Unmap().WithZone("")
}

func (g *gate) trusts(a netip.Addr) bool {
	for _, prefix := range g.from {
		if a.IsValid() && prefix.Contains(a) {
			return true
		}
	}
	return false
}

// named is the user that a trusted proxy names; empty: none does. A header that is there twice names nobody.
func (g *gate) named(r *http.Request) string {
	if g.header == "" || !g.trusts(peer(r)) {
		return ""
	}
	values := r.Header.Values(g.header)
	if len(values) != 1 || !goodName(values[0]) {
		return ""
	}
	return values[0]
}

// client is where a request came from, as far as trusted proxies say so: the last address in X-Forwarded-For that is not
// one of theirs.
func (g *gate) client(r *http.Request) netip.Addr {
	at := peer(r)
	hops := strings.Split(strings.Join(r.Header.Values("X-Forwarded-For"), ","), ",")
	for i := len(hops) - 1; i >= 0 && g.trusts(at); i-- {
		before, err := netip.ParseAddr(strings.TrimSpace(hops[i]))
		if err != nil {
			break
		}
		at = before.Unmap().WithZone("")
	}
	return at
}

// secure tells whether the browser came by TLS, itself or up to a proxy. Whoever lies about it locks out but himself.
func secure(r *http.Request) bool {
	return r.TLS != nil || strings.EqualFold(r.Header.Get("X-Forwarded-Proto"), "https")
}
