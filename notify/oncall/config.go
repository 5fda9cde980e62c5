package oncall

import "time"

// The addresses and times where the configuration gives none.
const (
	DefaultPagerDutyURL = "https://events.pagerduty.com/v2/enqueue"
	defaultTimeout      = 10 * time.Second
	defaultMailTimeout  = 30 * time.Second // greeting delays are a usual defence against junk mail
	defaultResend       = time.Minute
)

// Config is one entry of the list "oncall": a name and exactly one sender. Zero values stand for the defaults.
type Config struct {
	// Name is what routes, messages and metrics call it.
	Name         string              `yaml:"name"`
	Alertmanager *AlertmanagerConfig `yaml:"alertmanager"`
	PagerDuty    *PagerDutyConfig    `yaml:"pagerduty"`
	Slack        *SlackConfig        `yaml:"slack"`
	Webhook      *WebhookConfig      `yaml:"webhook"`
	Mail         *MailConfig         `yaml:"mail"`
	// Timeout is for one attempt. Default: 10s, for mail 30s.
	Timeout time.Duration `yaml:"timeout"`
	// PerMinute is the most messages a minute. Default: 60 for Slack, which takes one a second, 120 for PagerDuty, 30 for
	// mail, 6000 for Alertmanager, 600 for webhooks.
	PerMinute int `yaml:"per_minute"`
}

// AlertmanagerConfig is a Prometheus Alertmanager, or a cluster of them.
type AlertmanagerConfig struct {
	// URLs are the base addresses of all members of the cluster, without /api/v2: each is told, since they do not tell
	// each other.
	URLs []string `yaml:"urls"`
	// Resend is how often open alerts are told. Alertmanager takes an alert for over when it hears nothing for four times
	// as long. Default: 1m.
	Resend time.Duration `yaml:"resend"`
	// Username and Password are for basic authentication; Password and Bearer name files.
	Username string `yaml:"username"`
	Password string `yaml:"password" config:"secret"`
	Bearer   string `yaml:"bearer" config:"secret"`
	// Labels are added to each alert, for Alertmanager's routing.
	Labels map[string]string `yaml:"labels"`
	TLS    TLSConfig         `yaml:"tls"`
}

// TLSConfig names PEM files, by path or as systemd credentials.
type TLSConfig struct {
	// CA is the authority that the server's certificate is checked against. Empty: the system's.
	CA string `yaml:"ca"`
	// Cert and Key are what we show of ourselves. Empty: nothing.
	Cert string `yaml:"cert"`
	Key  string `yaml:"key"`
}

// PagerDutyConfig is a service at PagerDuty with an integration of the Events API v2.
type PagerDutyConfig struct {
	// RoutingKey names the file of the integration key.
	RoutingKey string `yaml:"routing_key" config:"secret"`
	// URL is where events go. Default: [DefaultPagerDutyURL]; for the EU: https://events.eu.pagerduty.com/v2/enqueue.
	URL string    `yaml:"url"`
	TLS TLSConfig `yaml:"tls"`
}

// SlackConfig is an incoming webhook of Slack.
type SlackConfig struct {
	// URL names the file of the webhook's address, which is a secret: who has it can post.
	URL string    `yaml:"url" config:"secret"`
	TLS TLSConfig `yaml:"tls"`
}

// WebhookConfig is any receiver of webhooks as the Standard Webhooks specification has them.
type WebhookConfig struct {
	URL string `yaml:"url"`
	// Secret names the file of the secret that messages are signed with: whsec_ and base64 of 24 to 64 bytes. While it is
	// replaced the file has the new and the old one, a line each, and messages carry both signatures.
	Secret string    `yaml:"secret" config:"secret"`
	TLS    TLSConfig `yaml:"tls"`
}

// MailConfig is a mail server that takes messages for submission.
type MailConfig struct {
	// Server is host:port; usually port 587, or 465 for tls: implicit.
	Server string `yaml:"server"`
	// TLS is starttls (the default), implicit, or none, which is for a server on this host alone.
	TLS string `yaml:"tls"`
	// CA names the PEM file of the authority that the server's certificate is checked against. Empty: the system's.
	CA   string   `yaml:"ca"`
	From string   `yaml:"from"`
	To   []string `yaml:"to"`
	// Username and the file of the password; empty: no authentication.
	Username string `yaml:"username"`
	Password string `yaml:"password" config:"secret"`
	// Auth is plain or login. Default: what the server offers, plain first.
	Auth string `yaml:"auth"`
	// Hello is the name that we give the server. Default: this host's.
	Hello string `yaml:"hello"`
}

// Kind is the sender's kind as its key in the file; empty where none is set.
func (c Config) Kind() string {
	switch {
	case c.Alertmanager != nil:
		return "alertmanager"
	case c.PagerDuty != nil:
		return "pagerduty"
	case c.Slack != nil:
		return "slack"
	case c.Webhook != nil:
		return "webhook"
	case c.Mail != nil:
		return "mail"
	}
	return ""
}
