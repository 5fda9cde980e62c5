package main

import (
	"fmt"
	"net"
	"net/netip"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"unicode"

	"golang.org/x/crypto/bcrypt"

	"github.com/ctwarden/ctwarden/internal/config"
	"github.com/ctwarden/ctwarden/notify/hub/web"
)

// userSettings are a user who may acknowledge, silence and hold.
type userSettings struct {
	Name         string `yaml:"name"`
	PasswordHash string `yaml:"password_hash" config:"secret"`
}

// headerSettings are the header in which a proxy says who the user is.
type headerSettings struct {
	Name string   `yaml:"name"`
	From []string `yaml:"from"`
}

func (s settings) validatePage(p *config.Problems) {
	if s.Listen != "" && !isListen(s.Listen) {
		p.Add("listen", "must be host:port, such as %s, or empty for no page", defaultPage)
	}
	if u, err := url.Parse(s.Link); s.Link != "" && (err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "") {
		p.Add("link", "must be the address of the page, such as https://hub.example")
	}
	for i, from := range s.TrustedHeader.From {
		if _, err := netip.ParsePrefix(from); err != nil {
			p.Add("trusted_header.from["+strconv.Itoa(i)+"]", "must be a network, such as 192.0.2.7/32")
		}
	}
	if (s.TrustedHeader.Name == "") != (len(s.TrustedHeader.From) == 0) {
		p.Add("trusted_header", "name and from go together: who may send the header must be said")
	}
	for i, u := range s.Users {
		key := fmt.Sprintf("users[%d]", i)
		if u.Name == "" || len(u.Name) > 128 || strings.ContainsFunc(u.Name, unicode.IsControl) ||
			slices.ContainsFunc(s.Users[:i], func(o userSettings) bool { return o.Name == u.Name }) {
			p.Add(key+".name", "must be a name of up to 128 bytes, each once")
		}
		// Each login costs this much on the hub's CPU, and so does the refusal of a stranger.
		if cost, err := bcrypt.Cost([]byte(u.PasswordHash)); err != nil || cost > maxCost {
			p.Add(key+".password_hash", "must be a hash of bcrypt with a cost of at most %d; make one with htpasswd -nBC 12 NAME", maxCost)
		}
	}
}

// maxCost is the highest cost of a password's hash: a second or two of CPU.
const maxCost = 14

func isListen(text string) bool {
	host, port, err := net.SplitHostPort(text)
	if err != nil || host == "" {
		return false
	}
	_, err = strconv.ParseUint(port, 10, 16)
	return err == nil
}

// access is who may act on the page.
func (s settings) access() web.Access {
	a := web.Access{Header: s.TrustedHeader.Name, Link: s.Link}
	for _, u := range s.Users {
		a.Users = append(a.Users, web.User{Name: u.Name, PasswordHash: u.PasswordHash})
	}
	for _, from := range s.TrustedHeader.From {
		if prefix, err := netip.ParsePrefix(from); err == nil {
			a.From = append(a.From, prefix)
		}
	}
	return a
}
