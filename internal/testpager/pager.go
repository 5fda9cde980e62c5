// Package testpager is a receiver of on-call webhooks for tests: it checks every message by the Standard Webhooks
// specification, with its own reckoning of the signature, and keeps what came.
package testpager

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"
)

// secret is base64 of what signs the messages.
const secret = "Y3R3YXJkZW4gdGVzdHMgc2lnbiB3aXRoIHRoaXMgbG9uZyBrZXk="

// Page is a message that was taken.
type Page struct {
	ID     string
	Action string
	Key    string
	Hosts  int
	Site   string
	Title  string
	At     time.Time
}

// Pager is the receiver.
type Pager struct {
	URL string
	// SecretFile is what the sender's webhook.secret names.
	SecretFile string

	t *testing.T

	mu    sync.Mutex
	pages []Page
	fail  func(Page) int
}

// Start starts a receiver that lasts as long as the test.
func Start(t *testing.T) *Pager {
	t.Helper()
	p := &Pager{t: t, SecretFile: filepath.Join(t.TempDir(), "secret")}
	if err := os.WriteFile(p.SecretFile, []byte("whsec_"+secret+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	srv := httptest.NewServer(http.HandlerFunc(p.serve))
	t.Cleanup(srv.Close)
	p.URL = srv.URL
	return p
}

// Answer has fn say with which code each message is answered; only those with 200 are kept.
func (p *Pager) Answer(fn func(Page) int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.fail = fn
}

// Pages are all that were taken, in order.
func (p *Pager) Pages() []Page {
	p.mu.Lock()
	defer p.mu.Unlock()
	return slices.Clone(p.pages)
}

// Count counts the pages of an action, each message as often as it was taken.
func (p *Pager) Count(action string) int {
	n := 0
	for _, page := range p.Pages() {
		if page.Action == action {
			n++
		}
	}
	return n
}

// Repeated are the ids of messages that were taken more than once, and the troubles that were begun more than once.
func (p *Pager) Repeated() []string {
	seen := map[string]int{}
	for _, page := range p.Pages() {
		seen["message "+page.ID]++
		if page.Action == "trigger" {
			seen["trigger of "+page.Key]++
		}
	}
	var out []string
	for what, n := range seen {
		if n > 1 {
			out = append(out, fmt.Sprintf("%s: %d times", what, n))
		}
	}
	slices.Sort(out)
	return out
}

func (p *Pager) serve(w http.ResponseWriter, r *http.Request) {
	page, err := read(r)
	if err != nil {
		p.t.Errorf("a message that is none: %v", err)
		w.WriteHeader(http.StatusBadRequest)
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.fail != nil {
		if code := p.fail(page); code != http.StatusOK {
			w.WriteHeader(code)
			return
		}
	}
	p.pages = append(p.pages, page)
}

func read(r *http.Request) (Page, error) {
	body, err := io.ReadAll(io.LimitReader(r.Body, 1<<20))
	if err != nil {
		return Page{}, err
	}
	id, stamp := r.Header.Get("webhook-id"), r.Header.Get("webhook-timestamp")
	if r.Method != http.MethodPost || id == "" || !strings.HasPrefix(r.Header.Get("Content-Type"), "application/json") {
		return Page{}, fmt.Errorf("%s with id %q and type %q", r.Method, id, r.Header.Get("Content-Type"))
	}
	sent, err := strconv.ParseInt(stamp, 10, 64)
	if err != nil || time.Since(time.Unix(sent, 0)).Abs() > 5*time.Minute {
		return Page{}, fmt.Errorf("timestamp %q", stamp)
	}
	key, err := base64.StdEncoding.DecodeString(secret)
	if err != nil {
		return Page{}, err
	}
	mac := hmac.New(sha256.New, key)
	mac.Write([]byte(id + "." + stamp + "." + string(body)))
	if want := "v1," + base64.StdEncoding.EncodeToString(mac.Sum(nil)); !slices.Contains(strings.Fields(r.Header.Get("webhook-signature")), want) {
		return Page{}, fmt.Errorf("signature %q", r.Header.Get("webhook-signature"))
	}
	var m struct {
		Type string `json:"type"`
		Data struct {
			ID         string `json:"id"`
			Key        string `json:"key"`
			Action     string `json:"action"`
			Site       string `json:"site"`
			HostsTotal int    `json:"hosts_total"`
			Title      string `json:"title"`
		} `json:"data"`
	}
	if err := json.Unmarshal(body, &m); err != nil {
		return Page{}, err
	}
	if m.Type != "ctwarden.page."+m.Data.Action || m.Data.Key == "" || m.Data.Title == "" {
		return Page{}, fmt.Errorf("body %s", body)
	}
	return Page{
		ID: m.Data.ID, Action: m.Data.Action, Key: m.Data.Key, Hosts: m.Data.HostsTotal, Site: m.Data.Site, Title: m.Data.Title, At: time.Now(),
	}, nil
}
