package oncall

import (
	"context"
	"encoding/json"
	"net/http"
	"strings"
	"time"

	"github.com/ctwarden/ctwarden/internal/secret"
)

// The bounds of a message, after Slack's documentation of blocks, in characters.
const (
	maxSlackHeader = 150
	maxSlackText   = 3000
	maxSlackBlocks = 50
)

// slack posts messages to an incoming webhook of Slack. Slack gives such messages no name, so each is a new one: an update
// cannot take the place of the one before.
type slack struct {
	config SlackConfig
	post   *poster
}

func newSlack(c SlackConfig, timeout time.Duration, o Options) (Sender, error) {
	return &slack{config: c, post: newPoster(c.TLS, timeout, o)}, nil
}

type slackMessage struct {
	Text   string       `json:"text"` // what notifications on a phone and screen readers say
	Blocks []slackBlock `json:"blocks"`
}

type slackBlock struct {
	Type string     `json:"type"`
	Text *slackText `json:"text"`
}

type slackText struct {
	Type string `json:"type"`
	Text string `json:"text"`
	// Verbatim keeps Slack from making links and names of what looks like them.
	Verbatim bool `json:"verbatim,omitempty"`
}

// Send posts one message. Slack answers 200 and "ok"; a code from 400 on comes with a word such as invalid_payload,
// channel_is_archived or no_service, and will be the same again, but for 429.
func (s *slack) Send(ctx context.Context, n Notification) error {
	address, err := secret.Read(s.config.URL)
	if err != nil {
		return retryAfter(0, "slack.url: %w", err)
	}
	if insecure(address) {
		return retryAfter(0, "slack.url: the file must hold one address that begins with https://")
	}
	body, err := json.Marshal(slackOf(n))
	if err != nil {
		return permanent("encode the message: %w", err)
	}
	got, err := s.post.post(ctx, address, body, http.Header{})
	if err != nil {
		return err
	}
	refused := got.refused(hostOf(address))
	switch {
	case got.code == http.StatusOK && got.body == "ok":
		return nil
	case got.code >= 400 && !got.passing():
		return permanent("%w", refused)
	}
	return retryAfter(got.after, "%w", refused)
}

// slackOf makes the message: the title as a header, the parts of the text, the commands as they are to be typed.
func slackOf(n Notification) slackMessage {
	n = n.bounded()
	title := Title(n)
	m := slackMessage{Text: escape(title)}
	m.Blocks = append(m.Blocks, slackBlock{Type: "header", Text: &slackText{Type: "plain_text", Text: cut(title, maxSlackHeader)}})
	for _, s := range sections(n) {
		text := "*" + s.name + "*\n" + escape(strings.Join(s.lines, "\n"))
		if s.name == "Run next" {
			text = "*" + s.name + "*\n```\n" + fit(escape(strings.Join(s.lines, "\n")), maxSlackText-30) + "\n```"
		}
		m.Blocks = append(m.Blocks, slackBlock{Type: "section", Text: &slackText{Type: "mrkdwn", Text: fit(text, maxSlackText), Verbatim: true}})
	}
	m.Blocks = m.Blocks[:min(len(m.Blocks), maxSlackBlocks)]
	return m
}

// escape writes the three characters that Slack gives a meaning.
func escape(s string) string {
	return strings.NewReplacer("&", "&amp;", "<", "&lt;", ">", "&gt;").Replace(s)
}

// fit cuts an escaped text, and not within an escape.
func fit(s string, most int) string {
	runes := []rune(s)
	if len(runes) <= most {
		return s
	}
	s = string(runes[:most-1])
	if i := strings.LastIndexByte(s, '&'); i >= 0 && !strings.Contains(s[i:], ";") {
		s = s[:i]
	}
	return s + "…"
}
