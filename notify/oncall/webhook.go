package oncall

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"regexp"
	"strconv"
	"strings"
	"time"

	"github.com/ctwarden/ctwarden/internal/secret"
)

const (
	secretPrefix = "whsec_"
	// maxSecrets is how many secrets may be in use while they are replaced.
	maxSecrets = 4
)

// webhook posts notifications as the Standard Webhooks specification 1.0 has it (standardwebhooks.com): the headers
// webhook-id, webhook-timestamp and webhook-signature over a JSON body, whose schema is webhook.schema.json.
type webhook struct {
	config WebhookConfig
	post   *poster
}

func newWebhook(c WebhookConfig, timeout time.Duration, o Options) (Sender, error) {
	return &webhook{config: c, post: newPoster(c.TLS, timeout, o)}, nil
}

// webhookBody is the message. Its fields are a contract; webhook.schema.json describes them.
type webhookBody struct {
	Type      string      `json:"type"`
	Timestamp string      `json:"timestamp"`
	Data      webhookData `json:"data"`
}

type webhookData struct {
	Notification
	Title string `json:"title"`
	Text  string `json:"text"`
}

// Send posts it. After the specification any code of success is one, 410 says that nobody wants to hear of it any more, and
// any other may change.
func (w *webhook) Send(ctx context.Context, n Notification) error {
	keys, err := w.keys()
	if err != nil {
		return retryAfter(0, "webhook.secret: %w", err)
	}
	body, err := encodeWebhook(n)
	if err != nil {
		return permanent("encode the message: %w", err)
	}
	id, now := messageID(n.ID), time.Now()
	header := http.Header{}
	header.Set("webhook-id", id)
	header.Set("webhook-timestamp", strconv.FormatInt(now.Unix(), 10))
	header.Set("webhook-signature", sign(keys, id, now, body))
	a, err := w.post.post(ctx, w.config.URL, body, header)
	switch {
	case err != nil:
		return err
	case a.ok():
		return nil
	case a.code == http.StatusGone:
		return permanent("%w; the receiver wants no more messages", a.refused(hostOf(w.config.URL)))
	}
	return retryAfter(a.after, "%w", a.refused(hostOf(w.config.URL)))
}

func encodeWebhook(n Notification) ([]byte, error) {
	n = n.bounded()
	return json.Marshal(webhookBody{
		Type: "ctwarden.page." + string(n.Action), Timestamp: n.At.UTC().Format(time.RFC3339Nano),
		Data: webhookData{Notification: n, Title: Title(n), Text: Text(n)},
	})
}

// messageID is an ID that stands in a header and between the dots of what is signed.
func messageID(id string) string {
	if regexp.MustCompile(`^[A-Za-z0-9_-]{1,128}$`).MatchString(id) {
		return id
	}
	sum := sha256.Sum256([]byte(id))
	return "msg_" + hex.EncodeToString(sum[:16])
}

// sign makes the signatures of all keys: the receiver takes the message when it knows one of them.
func sign(keys [][]byte, id string, at time.Time, body []byte) string {
	signatures := make([]string, len(keys))
	for i, key := range keys {
		mac := hmac.New(sha256.New, key)
		fmt.Fprintf(mac, "%s.%d.", id, at.Unix())
		mac.Write(body)
		signatures[i] = "v1," + base64.StdEncoding.EncodeToString(mac.Sum(nil))
	}
	return strings.Join(signatures, " ")
}

// keys are the secrets of the file, one a line.
func (w *webhook) keys() ([][]byte, error) {
	text, err := secret.Read(w.config.Secret)
	if err != nil {
		return nil, err
	}
	return parseKeys(text)
}

func parseKeys(text string) (keys [][]byte, err error) {
	for i, l := range strings.Fields(text) {
		encoded, ok := strings.CutPrefix(l, secretPrefix)
		key, bad := base64.StdEncoding.DecodeString(encoded)
		if !ok || bad != nil || len(key) < 24 || len(key) > 64 {
			return nil, fmt.Errorf("the file's secret %d must be %s and base64 of 24 to 64 bytes", i+1, secretPrefix)
		}
		keys = append(keys, key)
	}
	if len(keys) > maxSecrets {
		return nil, fmt.Errorf("the file has %d secrets; at most %d can be in use at once", len(keys), maxSecrets)
	}
	if len(keys) == 0 {
		return nil, errors.New("the file has no secret")
	}
	return keys, nil
}
