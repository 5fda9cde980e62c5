package notify_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"go.uber.org/zap/zaptest"

	"github.com/ctwarden/ctwarden/notify"
)

// pair writes a self-signed certificate for 127.0.0.1 and its key.
func pair(t *testing.T) (cert, key string) {
	t.Helper()
	return pairFor(t, time.Hour)
}

// pairFor is pair with a certificate that lasts so long; a negative time: it has been over for so long.
func pairFor(t *testing.T, lasts time.Duration) (cert, key string) {
	t.Helper()
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(lasts),
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, IsCA: true, BasicConstraintsValid: true,
		KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageDigitalSignature,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, private.Public(), private)
	if err != nil {
		t.Fatal(err)
	}
	keyDER, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	cert, key = filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem")
	err = errors.Join(
		os.WriteFile(cert, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), 0o600),
		os.WriteFile(key, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: keyDER}), 0o600))
	if err != nil {
		t.Fatal(err)
	}
	return cert, key
}

func TestUnusablePEM(t *testing.T) {
	cert, key := pair(t)
	_, otherKey := pair(t)
	junk := filepath.Join(t.TempDir(), "junk.pem")
	if err := os.WriteFile(junk, []byte("no certificate"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		name string
		tls  notify.TLS
		want string
	}{
		{"all well", notify.TLS{CA: cert, Cert: cert, Key: key}, ""},
		{"ca", notify.TLS{CA: junk}, "nats.tls.ca: " + junk + " holds no certificate"},
		{"cert", notify.TLS{Cert: junk, Key: key}, "nats.tls.cert " + junk},
		{"key", notify.TLS{Cert: cert, Key: junk}, "nats.tls.key " + junk},
		{"the key of another", notify.TLS{Cert: cert, Key: otherKey}, "does not match"},
	} {
		t.Run(c.name, func(t *testing.T) {
			err := notify.Dial{Servers: []string{"tls://a"}, TLS: c.tls}.Check()
			if c.want == "" && err != nil || c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want)) {
				t.Errorf("got %v, want %q", err, c.want)
			}
		})
	}
}

// TestCertificateThatGoesBad spoils the file between the start and the first connection, and mends it again.
func TestCertificateThatGoesBad(t *testing.T) {
	cert, key := pair(t)
	mine, err := tls.LoadX509KeyPair(cert, key)
	if err != nil {
		t.Fatal(err)
	}
	good, err := os.ReadFile(cert)
	if err != nil {
		t.Fatal(err)
	}
	b := newLab(t, func(o *server.Options) {
		o.TLS, o.TLSConfig = true, &tls.Config{Certificates: []tls.Certificate{mine}}
	})
	b.start()
	p, err := notify.NewPublisher(notify.PublisherOptions{
		Dial: notify.Dial{Servers: []string{"tls://" + b.listen}, TLS: notify.TLS{CA: cert}}, Identity: me,
		Queue: newStore(t), Log: zaptest.NewLogger(t),
	})
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(cert, []byte("gone bad"), 0o600); err != nil {
		t.Fatal(err)
	}
	start(t, p)
	wantError(t, p, "holds no certificate in PEM form")
	if err := os.WriteFile(cert, good, 0o600); err != nil {
		t.Fatal(err)
	}
	eventually(t, func() string {
		if s := p.Status(); !s.Connected || s.Error != "" {
			return "not connected: " + s.Error
		}
		return ""
	})
}
