package oncall

import (
	"encoding/base64"
	"fmt"
	"maps"
	"net"
	"net/mail"
	"net/url"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/ctwarden/ctwarden/internal/config"
)

// groupLabel is the label that tells troubles apart.
const groupLabel = "ctwarden_group"

// ownLabels are the labels that ctwarden itself gives an alert.
var ownLabels = []string{"alertname", groupLabel, "severity", "site"}

// Validate implements config.Validator for one entry. That names are not used twice is for [CheckNames].
func (c *Config) Validate(p *config.Problems) {
	if !regexp.MustCompile(`^[A-Za-z0-9_-]{1,64}$`).MatchString(c.Name) {
		p.Add("name", "must be 1 to 64 letters, digits, - or _; routes and metrics call the sender by it")
	}
	if n := c.senders(); n != 1 {
		p.Add("", "must have exactly one of alertmanager, pagerduty, slack, webhook and mail, with its keys below it; here are %d", n)
	}
	if c.Timeout != 0 && (c.Timeout < time.Second || c.Timeout > 5*time.Minute) {
		p.Add("timeout", "must be from 1s to 5m, or 0 for the default")
	}
	if c.PerMinute < 0 || c.PerMinute > 60_000 {
		p.Add("per_minute", "must be from 1 to 60000 messages a minute, or 0 for the default")
	}
}

func (c *Config) senders() (n int) {
	for _, set := range []bool{c.Alertmanager != nil, c.PagerDuty != nil, c.Slack != nil, c.Webhook != nil, c.Mail != nil} {
		if set {
			n++
		}
	}
	return n
}

// CheckNames reports names that stand twice in the list at key.
func CheckNames(p *config.Problems, key string, list []Config) {
	for i, c := range list {
		if c.Name != "" && slices.ContainsFunc(list[:i], func(other Config) bool { return other.Name == c.Name }) {
			p.Add(fmt.Sprintf("%s[%d].name", key, i), "is the name of another sender of the list; each needs its own")
		}
	}
}

// Validate implements config.Validator.
func (c *AlertmanagerConfig) Validate(p *config.Problems) {
	if len(c.URLs) == 0 {
		p.Add("urls", "must name at least one Alertmanager, such as http://alertmanager.example.net:9093, and all members of a cluster")
	}
	for i, u := range c.URLs {
		key := fmt.Sprintf("urls[%d]", i)
		webURL(p, key, u, "http://alertmanager.example.net:9093")
		if strings.Contains(u, "/api/v2") {
			p.Add(key, "must be the base address, without /api/v2")
		}
		if slices.Contains(c.URLs[:i], u) {
			p.Add(key, "is in the list twice")
		}
	}
	if c.Resend != 0 && (c.Resend < 5*time.Second || c.Resend > time.Hour) {
		p.Add("resend", "must be from 5s to 1h, or 0 for the default of 1m")
	}
	if (c.Username == "") != (c.Password == "") {
		p.Add("username", "goes together with password, which names the file of the password")
	}
	if c.Bearer != "" && c.Username != "" {
		p.Add("bearer", "is of no use beside username and password; keep one of the two")
	}
	secretFile(p, "password", c.Password)
	secretFile(p, "bearer", c.Bearer)
	for _, name := range slices.Sorted(maps.Keys(c.Labels)) {
		if !regexp.MustCompile(`^[a-zA-Z_][a-zA-Z0-9_]*$`).MatchString(name) {
			p.Add("labels."+name, "must be the name of a label: letters, digits and _, not beginning with a digit")
		} else if slices.Contains(ownLabels, name) {
			p.Add("labels."+name, "is set by ctwarden itself; choose another name than %s", strings.Join(ownLabels, ", "))
		}
	}
}

// Validate implements config.Validator.
func (t *TLSConfig) Validate(p *config.Problems) {
	if (t.Cert == "") != (t.Key == "") {
		p.Add("cert", "goes together with key")
	}
	secretFile(p, "ca", t.CA)
	secretFile(p, "cert", t.Cert)
	secretFile(p, "key", t.Key)
}

// Validate implements config.Validator.
func (c *PagerDutyConfig) Validate(p *config.Problems) {
	if c.RoutingKey == "" {
		p.Add("routing_key", "must name the file of the integration key of a PagerDuty service (Events API v2)")
	}
	secretFile(p, "routing_key", c.RoutingKey)
	if c.URL != "" && webURL(p, "url", c.URL, DefaultPagerDutyURL) && insecure(c.URL) {
		p.Add("url", "must begin with https://, since the routing key goes there")
	}
}

// Validate implements config.Validator.
func (c *SlackConfig) Validate(p *config.Problems) {
	if c.URL == "" {
		p.Add("url", "must name the file of the incoming webhook's address, which is a secret: https://hooks.slack.com/services/…")
	}
	secretFile(p, "url", c.URL)
}

// Validate implements config.Validator.
func (c *WebhookConfig) Validate(p *config.Problems) {
	webURL(p, "url", c.URL, "https://example.net/ctwarden")
	if c.Secret == "" {
		p.Add("secret", "must name the file of the secret that messages are signed with: whsec_ and base64 of 24 to 64 bytes")
	}
	secretFile(p, "secret", c.Secret)
}

// Validate implements config.Validator.
func (c *MailConfig) Validate(p *config.Problems) {
	host, port, err := net.SplitHostPort(c.Server)
	if err != nil || host == "" || !isPort(port) {
		p.Add("server", "must be host:port of a mail server, such as mail.example.net:587")
	}
	switch c.TLS {
	case "", "starttls", "implicit":
	case "none":
		if !loopback(host) {
			p.Add("tls", "none is for a mail server on this host alone (127.0.0.1, ::1 or localhost); must be starttls or implicit")
		}
	default:
		p.Add("tls", "must be starttls, implicit or none")
	}
	mailAddress(p, "from", c.From)
	if len(c.To) == 0 {
		p.Add("to", "must have at least one address")
	}
	for i, to := range c.To {
		mailAddress(p, fmt.Sprintf("to[%d]", i), to)
	}
	if (c.Username == "") != (c.Password == "") {
		p.Add("username", "goes together with password, which names the file of the password")
	}
	secretFile(p, "password", c.Password)
	secretFile(p, "ca", c.CA)
	if c.Auth != "" && c.Auth != "plain" && c.Auth != "login" {
		p.Add("auth", "must be plain or login, or empty for what the server offers")
	}
	if strings.ContainsFunc(c.Hello, func(r rune) bool { return r <= ' ' || r > '~' }) {
		p.Add("hello", "must be a host name, or empty for this host's")
	}
}

// webURL checks an address of HTTP and tells whether it is one.
func webURL(p *config.Problems, key, value, example string) bool {
	u, err := url.Parse(value)
	switch {
	case err != nil || u.Hostname() == "" || u.Scheme != "http" && u.Scheme != "https":
		p.Add(key, "must be a URL that begins with http:// or https://, such as %s", example)
	case u.Port() != "" && !isPort(u.Port()):
		p.Add(key, "has a port that is not from 1 to 65535")
	case u.User != nil:
		p.Add(key, "must not hold a user or a password; they belong in files of their own")
	case u.Fragment != "":
		p.Add(key, "must not have a part behind #")
	default:
		return true
	}
	return false
}

// insecure tells whether what goes to this address can be read on its way.
func insecure(address string) bool {
	u, err := url.Parse(address)
	return err != nil || u.Host == "" || u.Scheme != "https" && (u.Scheme != "http" || !loopback(u.Hostname()))
}

func loopback(host string) bool {
	ip := net.ParseIP(host)
	return host == "localhost" || ip != nil && ip.IsLoopback()
}

func isPort(s string) bool {
	return regexp.MustCompile(`^[1-9][0-9]{0,4}$`).MatchString(s) && (len(s) < 5 || s <= "65535")
}

// mailAddress checks an address such as "Name <user@example.net>".
func mailAddress(p *config.Problems, key, value string) {
	a, err := mail.ParseAddress(value)
	switch {
	case err != nil:
		p.Add(key, "must be a mail address, such as oncall@example.net or \"On-call <oncall@example.net>\"")
	case strings.ContainsFunc(a.Address, func(r rune) bool { return r <= ' ' || r > '~' }):
		p.Add(key, "must have plain ASCII characters in the address itself")
	}
}

// secretFile checks the setting of a key that names a file.
func secretFile(p *config.Problems, key, setting string) {
	switch {
	case setting == "" || filepath.IsAbs(setting):
	case pasted(setting):
		p.Add(key, "must be the absolute path of a file, or the name of a systemd credential; the secret itself does not belong here")
	case strings.Contains(setting, "/"):
		p.Add(key, "must be the absolute path of a file, or the name of a systemd credential, which has no slash")
	}
}

// pasted tells the secret itself where its file should be named: an address, a signing secret, a key of PagerDuty or the
// text of a file.
func pasted(setting string) bool {
	if key, ok := strings.CutPrefix(setting, "whsec_"); ok {
		_, err := base64.StdEncoding.DecodeString(key)
		return err == nil
	}
	return strings.Contains(setting, "://") || len(setting) > 255 ||
		regexp.MustCompile(`^[0-9A-Za-z]{32}$|-----|\s|^eyJ`).MatchString(setting)
}

// setDefaults fills in what the configuration leaves out.
func (c *Config) setDefaults() {
	kind := c.Kind()
	if c.Timeout == 0 {
		c.Timeout = defaultTimeout
		if kind == "mail" {
			c.Timeout = defaultMailTimeout
		}
	}
	if c.PerMinute == 0 {
		c.PerMinute = map[string]int{"alertmanager": 6000, "pagerduty": 120, "slack": 60, "mail": 30}[kind]
	}
	if c.PerMinute == 0 {
		c.PerMinute = 600
	}
}

// SecretFile is a key of the configuration that names a file.
type SecretFile struct {
	// Key is relative to the entry, such as "pagerduty.routing_key"; Setting is a path or the name of a credential.
	Key, Setting string
	// Secret is true where not every user may read the file.
	Secret bool
}

// Files are the files that the entry names, for a check on the machine where it is to be used.
func (c Config) Files() []SecretFile {
	var all []SecretFile
	tls := func(section string, t TLSConfig) {
		all = append(all, SecretFile{section + ".tls.ca", t.CA, false}, SecretFile{section + ".tls.cert", t.Cert, false},
			SecretFile{section + ".tls.key", t.Key, true})
	}
	if a := c.Alertmanager; a != nil {
		all = append(all, SecretFile{"alertmanager.password", a.Password, true}, SecretFile{"alertmanager.bearer", a.Bearer, true})
		tls("alertmanager", a.TLS)
	}
	if d := c.PagerDuty; d != nil {
		all = append(all, SecretFile{"pagerduty.routing_key", d.RoutingKey, true})
		tls("pagerduty", d.TLS)
	}
	if s := c.Slack; s != nil {
		all = append(all, SecretFile{"slack.url", s.URL, true})
		tls("slack", s.TLS)
	}
	if w := c.Webhook; w != nil {
		all = append(all, SecretFile{"webhook.secret", w.Secret, true})
		tls("webhook", w.TLS)
	}
	if m := c.Mail; m != nil {
		all = append(all, SecretFile{"mail.password", m.Password, true}, SecretFile{"mail.ca", m.CA, false})
	}
	return slices.DeleteFunc(all, func(f SecretFile) bool { return f.Setting == "" })
}
