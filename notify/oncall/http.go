package oncall

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/ctwarden/ctwarden/internal/secret"
)

const (
	// maxAnswer is how much of an answer is read; more says nothing.
	maxAnswer = 8 << 10
	// dialTime is how long a connection may take to come about, so that a full table here leaves time for other attempts.
	dialTime = 5 * time.Second
)

// poster posts to servers of HTTP. The client is made anew when the files of TLS were replaced.
type poster struct {
	tls     TLSConfig
	timeout time.Duration
	agent   string

	mu     sync.Mutex
	client *http.Client
	stamp  string // of the files that the client was made with
}

func newPoster(t TLSConfig, timeout time.Duration, o Options) *poster {
	return &poster{tls: t, timeout: timeout, agent: o.Program}
}

// answer is what a server said.
type answer struct {
	code  int
	body  string
	after time.Duration // of Retry-After; zero: none
}

// post sends a body and returns the answer, whatever its code. An error says that there was none: it is retryable, and has
// nothing of the address but the host, since the rest may be a secret.
func (p *poster) post(ctx context.Context, address string, body []byte, header http.Header) (answer, error) {
	ctx, cancel := context.WithTimeout(ctx, p.timeout)
	defer cancel()
	client, err := p.get()
	if err != nil {
		return answer{}, retryAfter(0, "%w", err)
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, address, bytes.NewReader(body))
	if err != nil {
		return answer{}, retryAfter(0, "the address is no URL that can be posted to")
	}
	req.Header = header.Clone()
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("User-Agent", p.agent)
	resp, err := client.Do(req)
	if err != nil {
		return answer{}, retryAfter(0, "%s: %w", req.URL.Host, p.unanswered(err))
	}
	defer resp.Body.Close()
	// The code is the answer. A body that breaks off takes nothing back; who needs it sees that it is not whole.
	text, _ := io.ReadAll(io.LimitReader(resp.Body, maxAnswer))
	return answer{
		code: resp.StatusCode, body: line(strings.TrimSpace(string(text))),
		after: parseRetryAfter(resp.Header.Get("Retry-After"), time.Now()),
	}, nil
}

// unanswered is why there was no answer, without the address.
func (p *poster) unanswered(err error) error {
	var outer *url.Error
	if errors.As(err, &outer) {
		err = outer.Err
	}
	if errors.Is(err, context.DeadlineExceeded) {
		return fmt.Errorf("no answer within %s", p.timeout)
	}
	return err
}

// get is the client for the files as they are now.
func (p *poster) get() (*http.Client, error) {
	stamp, err := p.tls.stamp()
	if err != nil {
		return nil, err
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.client != nil && p.stamp == stamp {
		return p.client, nil
	}
	config, err := p.tls.load()
	if err != nil {
		return nil, err
	}
	if p.client != nil {
		p.client.CloseIdleConnections()
	}
	p.stamp, p.client = stamp, &http.Client{
		Transport: &http.Transport{
			Proxy: http.ProxyFromEnvironment, DialContext: (&net.Dialer{Timeout: dialTime}).DialContext, TLSClientConfig: config,
			TLSHandshakeTimeout: dialTime, MaxIdleConnsPerHost: 2, IdleConnTimeout: 2 * time.Minute, MaxResponseHeaderBytes: 64 << 10,
		},
		// What is posted goes to the address of the configuration and to no other.
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	return p.client, nil
}

// files are the paths of those that are set.
func (t TLSConfig) files() (ca, cert, key string, err error) {
	paths := [3]string{}
	for i, setting := range []string{t.CA, t.Cert, t.Key} {
		path, wrong := secret.Path(setting)
		err = errors.Join(err, wrong)
		paths[i] = path
	}
	return paths[0], paths[1], paths[2], err
}

// stamp changes when one of the files does.
func (t TLSConfig) stamp() (string, error) {
	ca, cert, key, err := t.files()
	if err != nil {
		return "", err
	}
	var b strings.Builder
	for _, path := range []string{ca, cert, key} {
		if path == "" {
			continue
		}
		info, err := os.Stat(path)
		if err != nil {
			return "", err
		}
		fmt.Fprintln(&b, path, info.Size(), info.ModTime().UnixNano())
	}
	return b.String(), nil
}

// load reads the files.
func (t TLSConfig) load() (*tls.Config, error) {
	ca, cert, key, err := t.files()
	if err != nil {
		return nil, err
	}
	config := &tls.Config{MinVersion: tls.VersionTLS12}
	if ca != "" {
		if config.RootCAs, err = authorities(ca); err != nil {
			return nil, err
		}
	}
	if cert == "" {
		return config, nil
	}
	if err := secret.Check(key); err != nil {
		return nil, err
	}
	pair, err := tls.LoadX509KeyPair(cert, key)
	if err != nil {
		return nil, fmt.Errorf("%s with %s: %w", cert, key, err)
	}
	config.Certificates = []tls.Certificate{pair}
	return config, nil
}

// authorities reads a PEM file of certificates.
func authorities(path string) (*x509.CertPool, error) {
	pem, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(pem) {
		return nil, fmt.Errorf("%s holds no certificate in PEM", path)
	}
	return pool, nil
}

// parseRetryAfter reads the header (RFC 9110, 10.2.3): whole seconds, or a date. What is neither, or has passed, is zero.
func parseRetryAfter(value string, now time.Time) time.Duration {
	value = strings.TrimSpace(value)
	if seconds, err := strconv.ParseUint(value, 10, 31); err == nil {
		return time.Duration(seconds) * time.Second
	}
	at, err := http.ParseTime(value)
	if err != nil {
		return 0
	}
	return max(at.Sub(now), 0)
}

// refused words the answer of a server that did not take the message.
func (a answer) refused(host string) error {
	text := fmt.Sprintf("%s answered %d %s", host, a.code, http.StatusText(a.code))
	if a.body != "" {
		text += ": " + cut(a.body, 200)
	}
	return errors.New(strings.TrimSpace(text))
}

// ok tells a code of success.
func (a answer) ok() bool { return a.code >= 200 && a.code <= 299 }

// passing tells a code that says nothing against the message: the server is busy, or away, or wants it slower.
func (a answer) passing() bool {
	return a.code >= 500 || a.code == http.StatusTooManyRequests || a.code == http.StatusRequestTimeout || a.code == http.StatusTooEarly
}

// hostOf is the part of an address that may be shown.
func hostOf(address string) string {
	u, err := url.Parse(address)
	if err != nil {
		return "(unreadable address)"
	}
	return u.Host
}
