package fleet

import (
	"net/netip"
	"strings"
)

// shared has the addresses of carriers' networks behind NAT (RFC 6598), which like private ones are used in many places.
var shared = netip.MustParsePrefix("100.64.0.0/10")

// talkerKey is what an address is known by that leads at a site. A private one (10/8, 172.16/12, 192.168/16, fc00::/7), one
// of a carrier's NAT, of a link or of the host itself is another machine at each site.
func talkerKey(siteName, address string) string {
	if address == "" {
		return ""
	}
	a, err := netip.ParseAddr(address)
	if err != nil {
		return address
	}
	a = a.Unmap().WithZone("")
	if a.IsPrivate() || a.IsLinkLocalUnicast() || a.IsLoopback() || a.IsUnspecified() || shared.Contains(a) {
		return address + talkerSite + siteName
	}
	return address
}

// talkerSite stands before the site in a key.
const talkerSite = "\x00"

// talkerKey is the key of the address that leads on an incident; empty: none does.
func (i *incident) talkerKey() string { return talkerKey(i.host.site.name, i.talker()) }

// setTalker makes a group that of an address. One that is an address at one site alone has the site among its values.
func (f *Fleet) setTalker(g *group, key string) {
	address, siteName, private := strings.Cut(key, talkerSite)
	g.talker, g.talkerKey = address, key
	if private && g.key == "" {
		g.by = map[string]string{GroupBySite: siteName}
	}
}
