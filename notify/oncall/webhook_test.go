package oncall

import (
	"bytes"
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"os"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/santhosh-tekuri/jsonschema/v6"

	"github.com/ctwarden/ctwarden/internal/testhost"
)

// TestSignature has the example of the specification.
func TestSignature(t *testing.T) {
	keys, err := parseKeys(testSecret)
	if err != nil {
		t.Fatal(err)
	}
	got := sign(keys, "msg_p5jXN8AQM9LWM0D4loKWxJek", time.Unix(1614265330, 0), []byte(`{"test": 2432232314}`))
	if want := "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
}

// verify is the receiver's side of the specification: the headers are there, the time is now, and one of the signatures is
// by the secret that the receiver knows.
func verify(q request, secret string) error {
	id, stamp := q.header.Get("webhook-id"), q.header.Get("webhook-timestamp")
	if !regexp.MustCompile(`^[A-Za-z0-9_-]+$`).MatchString(id) {
		return fmt.Errorf("webhook-id %q", id)
	}
	seconds, err := strconv.ParseInt(stamp, 10, 64)
	if age := time.Since(time.Unix(seconds, 0)); err != nil || age < -time.Minute || age > 5*time.Minute {
		return fmt.Errorf("webhook-timestamp %q", stamp)
	}
	key, err := base64.StdEncoding.DecodeString(strings.TrimPrefix(secret, "whsec_"))
	if err != nil {
		return err
	}
	mac := hmac.New(sha256.New, key)
	mac.Write([]byte(id + "." + stamp + "."))
	mac.Write(q.body)
	want := mac.Sum(nil)
	for signature := range strings.SplitSeq(q.header.Get("webhook-signature"), " ") {
		encoded, ok := strings.CutPrefix(signature, "v1,")
		got, err := base64.StdEncoding.DecodeString(encoded)
		if !ok || err != nil {
			return fmt.Errorf("signature %q", signature)
		}
		if subtle.ConstantTimeCompare(got, want) == 1 {
			return nil
		}
	}
	return fmt.Errorf("no signature of %q is by this secret", q.header.Get("webhook-signature"))
}

func pageSchema(t *testing.T) *jsonschema.Schema {
	t.Helper()
	raw, err := os.ReadFile("webhook.schema.json")
	if err != nil {
		t.Fatal(err)
	}
	doc, err := jsonschema.UnmarshalJSON(bytes.NewReader(raw))
	if err != nil {
		t.Fatal(err)
	}
	testhost.CloseObjects(doc)
	c := jsonschema.NewCompiler()
	c.AssertFormat()
	const id = "https://ctwarden.io/schemas/page-v1.json"
	if err := c.AddResource(id, doc); err != nil {
		t.Fatal(err)
	}
	s, err := c.Compile(id)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// TestWebhook sends every sample to a receiver that checks the signature, and the body by the schema.
func TestWebhook(t *testing.T) {
	schema := pageSchema(t)
	r := receive(t, plain, answerWith(200, ""))
	s := senderOf(t, Config{Webhook: &WebhookConfig{URL: r.URL + "/hook?a=b", Secret: secretIn(t, testSecret)}})
	for name, n := range samples() {
		t.Run(name, func(t *testing.T) {
			before := len(r.requests())
			for range 2 {
				if err := s.Send(context.Background(), n); err != nil {
					t.Fatal(err)
				}
			}
			heard := r.requests()[before:]
			if heard[0].header.Get("webhook-id") != heard[1].header.Get("webhook-id") || !bytes.Equal(heard[0].body, heard[1].body) {
				t.Error("a second attempt is another message")
			}
			if err := verify(heard[0], testSecret); err != nil {
				t.Error(err)
			}
			doc, err := jsonschema.UnmarshalJSON(bytes.NewReader(heard[0].body))
			if err != nil {
				t.Fatal(err)
			}
			if err := schema.Validate(doc); err != nil {
				t.Errorf("%v: %s", err, heard[0].body)
			}
			var body struct {
				Type string
				Data struct {
					ID, Key, Title, Text string
					Refused              uint64
					ThrownOut            uint64 `json:"thrown_out"`
				}
			}
			if err := json.Unmarshal(heard[0].body, &body); err != nil {
				t.Fatal(err)
			}
			if body.Type != "ctwarden.page."+string(n.Action) || body.Data.ID != n.ID || body.Data.Key != n.Key || body.Data.Title != Title(n) || body.Data.Text != Text(n) {
				t.Errorf("got %+v", body)
			}
			if body.Data.Refused != n.Refused || body.Data.ThrownOut != n.ThrownOut {
				t.Errorf("%d refused and %d thrown out, want %d and %d", body.Data.Refused, body.Data.ThrownOut, n.Refused, n.ThrownOut)
			}
		})
	}
}

// TestWebhookSecretIsReplaced: a receiver that knows the old secret and one that knows the new one both take the message
// while the file has both.
func TestWebhookSecretIsReplaced(t *testing.T) {
	file := secretIn(t, testSecret)
	r := receive(t, plain, answerWith(200, ""))
	s := senderOf(t, Config{Webhook: &WebhookConfig{URL: r.URL, Secret: file}})
	for i, c := range []struct {
		file     string
		old, new bool
	}{
		{testSecret, true, false}, {testSecret2 + "\n" + testSecret, true, true}, {testSecret2, false, true},
	} {
		if err := os.WriteFile(file, []byte(c.file+"\n"), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := s.Send(context.Background(), oneHost()); err != nil {
			t.Fatal(err)
		}
		q := r.requests()[i]
		for secret, want := range map[string]bool{testSecret: c.old, testSecret2: c.new} {
			if err := verify(q, secret); (err == nil) != want {
				t.Errorf("step %d: %v", i, err)
			}
		}
	}
}

func TestWebhookSecrets(t *testing.T) {
	for _, c := range []struct{ name, text, want string }{
		{"none", " \n ", "no secret"},
		{"no prefix", "MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", "secret 1 must be whsec_"},
		{"no base64", testSecret + "\nwhsec_!!", "secret 2 must be whsec_"},
		{"too short", "whsec_c2hvcnQ=", "24 to 64 bytes"},
		{"too long", "whsec_" + base64.StdEncoding.EncodeToString(make([]byte, 65)), "24 to 64 bytes"},
		{"too many", strings.Repeat(testSecret+"\n", 5), "at most 4"},
	} {
		t.Run(c.name, func(t *testing.T) {
			keys, err := parseKeys(c.text)
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("got %d keys, %v; want %q", len(keys), err, c.want)
			}
		})
	}
}

func TestWebhookRefusals(t *testing.T) {
	for _, c := range []struct {
		code  int
		again bool
	}{
		{400, true}, {401, true}, {403, true}, {404, true}, {409, true}, {410, false}, {413, true}, {422, true}, {304, true},
	} {
		t.Run(strconv.Itoa(c.code), func(t *testing.T) {
			r := receive(t, plain, answerWith(c.code, ""))
			err := senderOf(t, Config{Webhook: &WebhookConfig{URL: r.URL, Secret: secretIn(t, testSecret)}}).Send(context.Background(), oneHost())
			wantFailure(t, err, c.again, 0, "answered "+strconv.Itoa(c.code))
		})
	}
}
