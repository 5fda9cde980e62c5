package notify

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"os"
	"time"
)

// credentialsState says as much as can be known on this side of why the credentials are not accepted.
func (d Dial) credentialsState() string {
	if at := d.expired(); !at.IsZero() {
		return "its credentials expired at " + at.UTC().Format(time.RFC3339)
	}
	return "credentials that are missing, wrong, expired or revoked"
}

// expired is when the credentials expired; the zero time where they did not, or that cannot be known.
func (d Dial) expired() time.Time {
	path, err := SecretPath(d.Credentials)
	if err != nil || path == "" {
		return time.Time{}
	}
	text, err := os.ReadFile(path)
	if err != nil {
		return time.Time{}
	}
	if at := expiry(text); at.Before(time.Now()) {
		return at
	}
	return time.Time{}
}

// expiry is when the user's token in a .creds file ends; the zero time where it does not or there is none.
func expiry(creds []byte) time.Time {
	_, token, _ := bytes.Cut(creds, []byte("-----BEGIN NATS USER JWT-----"))
	token, _, _ = bytes.Cut(token, []byte("\n---"))
	_, payload, _ := bytes.Cut(bytes.TrimSpace(token), []byte("."))
	payload, _, _ = bytes.Cut(payload, []byte("."))
	claims, err := base64.RawURLEncoding.DecodeString(string(payload))
	var user struct {
		Expires int64 `json:"exp"`
	}
	if err != nil || json.Unmarshal(claims, &user) != nil || user.Expires == 0 {
		return time.Time{}
	}
	return time.Unix(user.Expires, 0)
}
