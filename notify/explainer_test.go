package notify

import (
	"encoding/base64"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/nats-io/nats.go"
)

// TestExplainerForgets: that credentials were revoked is over once they are let in again, or have expired.
func TestExplainerForgets(t *testing.T) {
	tests := []struct {
		name      string
		connected bool
		wait      time.Duration
		want      string
	}{
		{"still revoked", false, time.Minute, "its credentials were revoked at 2000-01-01T00:00:00Z"},
		{"let in again", true, time.Minute, "credentials that are missing, wrong, expired or revoked"},
		{"expired meanwhile", false, 2 * time.Hour, "its credentials expired at 2000-01-01T01:00:00Z"},
		{"let in again, expired later", true, 2 * time.Hour, "its credentials expired at 2000-01-01T01:00:00Z"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				file := filepath.Join(t.TempDir(), "x.creds")
				claims := base64.RawURLEncoding.EncodeToString(fmt.Appendf(nil, `{"exp":%d}`, time.Now().Add(time.Hour).Unix()))
				if err := os.WriteFile(file, []byte("-----BEGIN NATS USER JWT-----\na."+claims+".c\n------END NATS USER JWT------\n"), 0o600); err != nil {
					t.Fatal(err)
				}
				e := &Explainer{Dial: Dial{Credentials: file}}
				if err := e.Explain(nats.ErrAuthRevoked); !strings.Contains(err.Error(), "its credentials were revoked at") {
					t.Fatal(err)
				}
				if tt.connected {
					e.Connected()
				}
				time.Sleep(tt.wait)
				for _, met := range []error{nats.ErrAuthorization, nats.ErrAuthExpired} {
					if err := e.Explain(met); !strings.Contains(err.Error(), tt.want) {
						t.Errorf("%v: %v", met, err)
					}
				}
			})
		})
	}
}
