package oncall

import (
	"errors"

	"go.uber.org/zap"
)

// New makes the sender of a configuration that was found valid. It does no I/O: files are read and connections are made
// when a notification is sent.
func New(c Config, o Options) (Sender, error) {
	if o.Program == "" {
		o.Program = "ctwarden"
	}
	c.setDefaults()
	switch {
	case c.Alertmanager != nil:
		return newAlertmanager(*c.Alertmanager, c.Timeout, o)
	case c.PagerDuty != nil:
		return newPagerDuty(*c.PagerDuty, c.Timeout, o)
	case c.Slack != nil:
		return newSlack(*c.Slack, c.Timeout, o)
	case c.Webhook != nil:
		return newWebhook(*c.Webhook, c.Timeout, o)
	case c.Mail != nil:
		return newMail(*c.Mail, c.Timeout, o)
	}
	return nil, errors.New("oncall: " + c.Name + " names no sender")
}

// Open makes the sender of a configuration and its queue.
func Open(c Config, o Options, log *zap.Logger) (*Queue, error) {
	s, err := New(c, o)
	if err != nil {
		return nil, err
	}
	q := NewQueue(c, s, log)
	q.may = o.May
	return q, nil
}
