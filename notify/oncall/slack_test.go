package oncall

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"regexp"
	"strings"
	"testing"
)

// checkSlack refuses what Slack's documentation of blocks forbids.
func checkSlack(body []byte) error {
	var m struct {
		Text   string
		Blocks []struct {
			Type string
			Text struct {
				Type, Text string
				Verbatim   bool
			}
		}
	}
	d := json.NewDecoder(bytes.NewReader(body))
	d.DisallowUnknownFields()
	if err := d.Decode(&m); err != nil {
		return err
	}
	if m.Text == "" || len(m.Blocks) == 0 || len(m.Blocks) > 50 {
		return fmt.Errorf("text %q, %d blocks", m.Text, len(m.Blocks))
	}
	for _, text := range append([]string{m.Text}, texts(m.Blocks, func(i int) (string, string) { return m.Blocks[i].Text.Type, m.Blocks[i].Text.Text })...) {
		if bad := regexp.MustCompile(`[<>]|&([^agl]|$|a[^m]|[gl][^t])`).FindString(text); bad != "" {
			return fmt.Errorf("%q is not escaped in %q", bad, text)
		}
	}
	for _, b := range m.Blocks {
		length := len([]rune(b.Text.Text))
		switch {
		case b.Type == "header" && b.Text.Type == "plain_text" && length >= 1 && length <= 150:
		case b.Type == "section" && b.Text.Type == "mrkdwn" && length >= 1 && length <= 3000 && b.Text.Verbatim:
		default:
			return fmt.Errorf("block %+v of %d characters", b, length)
		}
	}
	return nil
}

// texts are those of the blocks in which characters have a meaning.
func texts[T any](blocks []T, of func(i int) (kind, text string)) (out []string) {
	for i := range blocks {
		if kind, text := of(i); kind == "mrkdwn" {
			out = append(out, text)
		}
	}
	return out
}

func TestSlack(t *testing.T) {
	huge := manyHosts()
	for range maxLines {
		huge.Did, huge.Next = append(huge.Did, strings.Repeat("&<", 600)), append(huge.Next, strings.Repeat(">& ", 400))
	}
	all := samples()
	all["huge"] = huge
	for name, n := range all {
		t.Run(name, func(t *testing.T) {
			r := receive(t, plain, answerWith(200, "ok"))
			if err := senderOf(t, Config{Slack: &SlackConfig{URL: secretIn(t, r.URL+testPath)}}).Send(context.Background(), n); err != nil {
				t.Fatal(err)
			}
			q := r.only(t)
			if q.path != testPath {
				t.Errorf("posted to %s", q.path)
			}
			if err := checkSlack(q.body); err != nil {
				t.Errorf("invalid_blocks: %v", err)
			}
			if strings.Contains(string(q.body), "<!") {
				t.Error("a name can call the whole channel")
			}
		})
	}
}

func TestSlackRefusals(t *testing.T) {
	for _, c := range []struct {
		code  int
		body  string
		again bool
	}{
		{400, "invalid_payload", false}, {400, "invalid_blocks", false}, {403, "action_prohibited", false}, {403, "invalid_token", false},
		{404, "no_service", false}, {404, "channel_not_found", false}, {410, "channel_is_archived", false},
		{408, "timeout", true}, {429, "rate_limited", true}, {500, "rollup_error", true},
		{200, "<html>please log in</html>", true}, {200, "", true}, {204, "", true},
	} {
		t.Run(fmt.Sprint(c.code, c.body), func(t *testing.T) {
			r := receive(t, plain, answerWith(c.code, c.body))
			err := senderOf(t, Config{Slack: &SlackConfig{URL: secretIn(t, r.URL+testPath)}}).Send(context.Background(), oneHost())
			wantFailure(t, err, c.again, 0, fmt.Sprintf("answered %d", c.code), c.body)
		})
	}
}

func TestSlackAddress(t *testing.T) {
	for _, text := range []string{"http://hooks.slack.com/services/verysecretpath", "not an address", "ftp://127.0.0.1/verysecretpath", "https://a\nhttps://b"} {
		err := senderOf(t, Config{Slack: &SlackConfig{URL: secretIn(t, text)}}).Send(context.Background(), oneHost())
		wantFailure(t, err, true, 0, "slack.url: the file must hold one address that begins with https://")
	}
}

func TestFit(t *testing.T) {
	for _, c := range []struct {
		text string
		most int
		want string
	}{
		{"abc", 3, "abc"}, {"abcd", 3, "ab…"}, {"ab&amp;cd", 6, "ab…"}, {"ab&amp;cd", 8, "ab&amp;…"}, {"äöüß", 3, "äö…"},
	} {
		if got := fit(c.text, c.most); got != c.want {
			t.Errorf("%q to %d: got %q, want %q", c.text, c.most, got, c.want)
		}
	}
}
