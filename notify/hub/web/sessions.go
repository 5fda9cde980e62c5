package web

import (
	"crypto/rand"
	"crypto/sha256"
	"net/http"
	"sync"
	"time"
)

// Sessions.
const (
	cookieName  = "ctwarden_session"
	sessionLife = 12 * time.Hour // a shift
	maxSessions = 1024
)

// sessions are those who logged in here. They end with the hub; another hub does not know them.
type sessions struct {
	mu sync.Mutex
	// all are by the hash of the cookie, so that looking one up tells nothing of another by its time.
	all map[[sha256.Size]byte]session
}

type session struct {
	user, hash string // the password's hash at login: with another one the session is over
	until      time.Time
}

func newSessions() *sessions { return &sessions{all: map[[sha256.Size]byte]session{}} }

// begin makes a session and returns its secret. Where there are too many, the one that ends first goes.
func (s *sessions) begin(user, hash string, now time.Time) (secret string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	var (
		first [sha256.Size]byte
		until time.Time
	)
	for key, one := range s.all {
		if one.until.Before(now) {
			delete(s.all, key)
		} else if until.IsZero() || one.until.Before(until) {
			first, until = key, one.until
		}
	}
	if len(s.all) >= maxSessions {
		delete(s.all, first)
	}
	secret = rand.Text() + rand.Text()
	s.all[sha256.Sum256([]byte(secret))] = session{user, hash, now.Add(sessionLife)}
	return secret
}

// user is whose session a secret is of; empty: of none.
func (s *sessions) user(secret string, g *gate, now time.Time) string {
	s.mu.Lock()
	defer s.mu.Unlock()
	one, known := s.all[sha256.Sum256([]byte(secret))]
	if !known || now.After(one.until) || g.users[one.user] != one.hash {
		return ""
	}
	return one.user
}

func (s *sessions) end(secret string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.all, sha256.Sum256([]byte(secret)))
}

// setCookie hands the secret to the browser; an empty one takes it back.
func setCookie(w http.ResponseWriter, r *http.Request, secret string) {
	c := &http.Cookie{
		Name: cookieName, Value: secret, Path: "/", HttpOnly: true, SameSite: http.SameSiteStrictMode, Secure: secure(r),
		MaxAge: int(sessionLife.Seconds()),
	}
	if secret == "" {
		c.MaxAge = -1
	}
	http.SetCookie(w, c)
}
