package oncall

import (
	"errors"
	"os"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/ctwarden/ctwarden/internal/config"
)

// file is a configuration with nothing but on-call.
type file struct {
	Oncall []Config `yaml:"oncall"`
}

func (f *file) Validate(p *config.Problems) { CheckNames(p, "oncall", f.Oncall) }

func decode(t *testing.T, text string) (file, error) {
	t.Helper()
	var f file
	_, err := config.Decode("f", []byte(text), &f)
	return f, err
}

// TestExample has every key of the documented example, and the defaults that it names.
func TestExample(t *testing.T) {
	text, err := os.ReadFile("testdata/oncall.yaml")
	if err != nil {
		t.Fatal(err)
	}
	f, err := decode(t, string(text))
	if err != nil {
		t.Fatal(err)
	}
	if len(f.Oncall) != 5 {
		t.Fatalf("%d entries", len(f.Oncall))
	}
	for _, c := range f.Oncall {
		if c.Name != c.Kind() {
			t.Errorf("%s is of the kind %q", c.Name, c.Kind())
		}
		if _, err := New(c, Options{}); err != nil {
			t.Error(err)
		}
	}
	am, pd := f.Oncall[0], f.Oncall[1].PagerDuty
	var fresh Config
	fresh.Alertmanager = &AlertmanagerConfig{}
	fresh.setDefaults()
	if am.Timeout != fresh.Timeout || am.PerMinute != fresh.PerMinute || am.Alertmanager.Resend != defaultResend || pd.URL != DefaultPagerDutyURL {
		t.Errorf("the example's defaults are not the program's: %+v", am)
	}
	for _, schema := range []any{Config{}, AlertmanagerConfig{}, PagerDutyConfig{}, SlackConfig{}, WebhookConfig{}, MailConfig{}, TLSConfig{}} {
		for _, key := range config.Keys(schema) {
			_, last, found := strings.Cut(key, ".")
			if !found {
				last = key
			}
			if !strings.Contains(string(text), last+":") {
				t.Errorf("%T: %s is not in the example", schema, key)
			}
		}
	}
}

func TestDefaults(t *testing.T) {
	for _, c := range []struct {
		config    Config
		timeout   time.Duration
		perMinute int
	}{
		{Config{Alertmanager: &AlertmanagerConfig{}}, 10 * time.Second, 6000},
		{Config{PagerDuty: &PagerDutyConfig{}}, 10 * time.Second, 120},
		{Config{Slack: &SlackConfig{}}, 10 * time.Second, 60},
		{Config{Webhook: &WebhookConfig{}}, 10 * time.Second, 600},
		{Config{Mail: &MailConfig{}}, 30 * time.Second, 30},
		{Config{Mail: &MailConfig{}, Timeout: time.Second, PerMinute: 7}, time.Second, 7},
	} {
		t.Run(c.config.Kind(), func(t *testing.T) {
			c.config.setDefaults()
			if c.config.Timeout != c.timeout || c.config.PerMinute != c.perMinute {
				t.Errorf("got %v and %d", c.config.Timeout, c.config.PerMinute)
			}
		})
	}
}

func TestMistakes(t *testing.T) {
	const (
		am    = "  - name: x\n    alertmanager: "
		pd    = "  - name: x\n    pagerduty: "
		slack = "  - name: x\n    slack: "
		hook  = "  - name: x\n    webhook: "
		mail  = "  - name: x\n    mail: "
		good  = "server: mail.example.net:587, from: a@example.net, to: [b@example.net]"
	)
	for _, c := range []struct{ name, text, key, want string }{
		{"no name", "  - slack: {url: /f}", "oncall[0].name", "1 to 64 letters"},
		{"a name with blanks", "  - name: on call\n    slack: {url: /f}", "oncall[0].name", "1 to 64 letters"},
		{"no sender", "  - name: x", "oncall[0]", "exactly one of alertmanager, pagerduty, slack, webhook and mail, with its keys below it; here are 0"},
		{"two senders", slack + "{url: /f}\n    pagerduty: {routing_key: /f}", "oncall[0]", "here are 2"},
		{"the same name twice", slack + "{url: /f}\n" + slack + "{url: /g}", "oncall[1].name", "is the name of another sender"},
		{"a timeout too short", slack + "{url: /f}\n    timeout: 10ms", "oncall[0].timeout", "from 1s to 5m"},
		{"a rate too high", slack + "{url: /f}\n    per_minute: 100000", "oncall[0].per_minute", "from 1 to 60000"},
		{"an unknown sender", slack + "{url: /f}\n    pager: {}", "oncall[0].pager", "unknown key"},
		{"an unknown key", slack + "{url: /f, channel: ops}", "oncall[0].slack.channel", "unknown key; allowed: url, tls"},

		{"no Alertmanager", am + "{urls: []}", "oncall[0].alertmanager.urls", "at least one Alertmanager"},
		{"no URL", am + "{urls: [am1:9093]}", "oncall[0].alertmanager.urls[0]", "begins with http:// or https://"},
		{"another scheme", am + "{urls: [ftp://am1]}", "oncall[0].alertmanager.urls[0]", "begins with http:// or https://"},
		{"a bad port", am + "{urls: ['http://am1:99999']}", "oncall[0].alertmanager.urls[0]", "from 1 to 65535"},
		{"with the path of the API", am + "{urls: ['http://am1:9093/api/v2']}", "oncall[0].alertmanager.urls[0]", "without /api/v2"},
		{"twice", am + "{urls: ['http://am1', 'http://am1']}", "oncall[0].alertmanager.urls[1]", "in the list twice"},
		{"a password in the URL", am + "{urls: ['http://me:hunter2@am1']}", "oncall[0].alertmanager.urls[0]", "must not hold a user or a password"},
		{"resent too often", am + "{urls: ['http://am1'], resend: 1s}", "oncall[0].alertmanager.resend", "from 5s to 1h"},
		{"a user without password", am + "{urls: ['http://am1'], username: me}", "oncall[0].alertmanager.username", "goes together with password"},
		{"two log-ins", am + "{urls: ['http://am1'], username: me, password: /f, bearer: /g}", "oncall[0].alertmanager.bearer", "keep one of the two"},
		{"a label of ours", am + "{urls: ['http://am1'], labels: {severity: page}}", "oncall[0].alertmanager.labels.severity", "is set by ctwarden itself"},
		{"no name of a label", am + "{urls: ['http://am1'], labels: {1st: page}}", "oncall[0].alertmanager.labels.1st", "must be the name of a label"},
		{"a certificate without key", am + "{urls: ['http://am1'], tls: {cert: /f}}", "oncall[0].alertmanager.tls.cert", "goes together with key"},
		{"a relative path", am + "{urls: ['http://am1'], tls: {ca: certs/ca.pem}}", "oncall[0].alertmanager.tls.ca", "absolute path"},

		{"no routing key", pd + "{}", "oncall[0].pagerduty.routing_key", "must name the file of the integration key"},
		{"the key itself", pd + "{routing_key: 0123456789abcdef0123456789abcdef}", "oncall[0].pagerduty.routing_key", "the secret itself does not belong here"},
		{"in the clear", pd + "{routing_key: /f, url: 'http://events.pagerduty.com/v2/enqueue'}", "oncall[0].pagerduty.url", "must begin with https://"},

		{"no address of Slack", slack + "{}", "oncall[0].slack.url", "must name the file of the incoming webhook's address"},
		{"the address itself", slack + "{url: 'https://hooks.slack.com/services/T0/B0/verysecretpath'}", "oncall[0].slack.url", "the secret itself does not belong here"},

		{"no URL of a webhook", hook + "{secret: /f}", "oncall[0].webhook.url", "begins with http:// or https://"},
		{"no secret", hook + "{url: 'https://example.net'}", "oncall[0].webhook.secret", "must name the file of the secret"},
		{"the secret itself", hook + "{url: 'https://example.net', secret: whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw}", "oncall[0].webhook.secret", "the secret itself does not belong here"},
		{"a fragment", hook + "{url: 'https://example.net/#x', secret: /f}", "oncall[0].webhook.url", "behind #"},

		{"no port", mail + "{server: mail.example.net, from: a@example.net, to: [b@example.net]}", "oncall[0].mail.server", "must be host:port"},
		{"nothing encrypted, to elsewhere", mail + "{" + good + ", tls: none}", "oncall[0].mail.tls", "on this host alone"},
		{"another way to encrypt", mail + "{" + good + ", tls: ssl}", "oncall[0].mail.tls", "must be starttls, implicit or none"},
		{"no sender of mail", mail + "{server: 'm:25', to: [b@example.net]}", "oncall[0].mail.from", "must be a mail address"},
		{"no recipient", mail + "{server: 'm:25', from: a@example.net}", "oncall[0].mail.to", "at least one address"},
		{"a recipient with a line end", mail + `{server: 'm:25', from: a@example.net, to: ["b@example.net\nBcc: c@example.net"]}`, "oncall[0].mail.to[0]", "must be a mail address"},
		{"an address with umlauts", mail + "{server: 'm:25', from: ä@example.net, to: [b@example.net]}", "oncall[0].mail.from", "plain ASCII"},
		{"no password of mail", mail + "{" + good + ", username: me}", "oncall[0].mail.username", "goes together with password"},
		{"another log-in", mail + "{" + good + ", auth: cram-md5}", "oncall[0].mail.auth", "must be plain or login"},
		{"no name", mail + `{` + good + `, hello: "a b"}`, "oncall[0].mail.hello", "must be a host name"},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, err := decode(t, "oncall:\n"+c.text+"\n")
			var bad *config.Error
			if !errors.As(err, &bad) {
				t.Fatalf("got %v", err)
			}
			if len(bad.Problems) != 1 || bad.Problems[0].Key != c.key || !strings.Contains(bad.Problems[0].Text, c.want) {
				t.Errorf("got %v; want %s: %s", err, c.key, c.want)
			}
			for _, word := range []string{testKey, testSecret, "verysecretpath", "hunter2"} {
				if strings.Contains(err.Error(), word) {
					t.Errorf("the secret %s is in: %v", word, err)
				}
			}
		})
	}
}

func TestFiles(t *testing.T) {
	tls := TLSConfig{CA: "/ca", Cert: "/cert", Key: "/key"}
	for _, c := range []struct {
		config Config
		want   []SecretFile
	}{
		{Config{Alertmanager: &AlertmanagerConfig{Password: "/p", TLS: tls}}, []SecretFile{
			{"alertmanager.password", "/p", true}, {"alertmanager.tls.ca", "/ca", false}, {"alertmanager.tls.cert", "/cert", false}, {"alertmanager.tls.key", "/key", true},
		}},
		{Config{Alertmanager: &AlertmanagerConfig{Bearer: "b"}}, []SecretFile{{"alertmanager.bearer", "b", true}}},
		{Config{PagerDuty: &PagerDutyConfig{RoutingKey: "/k"}}, []SecretFile{{"pagerduty.routing_key", "/k", true}}},
		{Config{Slack: &SlackConfig{URL: "/u"}}, []SecretFile{{"slack.url", "/u", true}}},
		{Config{Webhook: &WebhookConfig{Secret: "/s", TLS: TLSConfig{CA: "/ca"}}}, []SecretFile{{"webhook.secret", "/s", true}, {"webhook.tls.ca", "/ca", false}}},
		{Config{Mail: &MailConfig{Password: "/p", CA: "/ca"}}, []SecretFile{{"mail.password", "/p", true}, {"mail.ca", "/ca", false}}},
		{Config{}, nil},
	} {
		t.Run(c.config.Kind(), func(t *testing.T) {
			if got := c.config.Files(); !reflect.DeepEqual(got, c.want) && len(got)+len(c.want) > 0 {
				t.Errorf("got %v, want %v", got, c.want)
			}
		})
	}
}
