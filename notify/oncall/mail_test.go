package oncall

import (
	"context"
	"fmt"
	"io"
	"mime"
	"mime/quotedprintable"
	"net"
	"net/mail"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"
	"unicode"
)

func mailConfig(s *mailServer) MailConfig {
	return MailConfig{Server: s.address, TLS: "none", From: "ctwarden <ctwarden@example.net>", To: []string{"oncall@example.net"}}
}

func mailSender(t *testing.T, c MailConfig) Sender {
	t.Helper()
	return senderOf(t, Config{Mail: &c})
}

// read parses a message as a reader of mail does.
func read(t *testing.T, m mail1) (*mail.Message, string) {
	t.Helper()
	for l := range strings.SplitSeq(m.data, "\n") {
		if len(l) > 998 || strings.ContainsFunc(l, func(r rune) bool { return r > '~' || r < ' ' && r != '\t' }) {
			t.Errorf("line %q", l)
		}
	}
	msg, err := mail.ReadMessage(strings.NewReader(m.data))
	if err != nil {
		t.Fatal(err)
	}
	body, err := io.ReadAll(quotedprintable.NewReader(msg.Body))
	if err != nil {
		t.Fatal(err)
	}
	return msg, strings.ReplaceAll(string(body), "\r\n", "\n")
}

// TestMail sends every sample and reads it as a reader of mail does.
func TestMail(t *testing.T) {
	for name, n := range samples() {
		t.Run(name, func(t *testing.T) {
			s := startMail(t, &mailServer{})
			c := mailConfig(s)
			c.To = []string{"oncall@example.net", "Über uns <team+ct@example.org>"}
			for range 2 {
				if err := mailSender(t, c).Send(context.Background(), n); err != nil {
					t.Fatal(err)
				}
			}
			mails := s.got()
			if len(mails) != 2 || mails[0].data != mails[1].data {
				t.Fatalf("a second attempt is another message: %q", mails)
			}
			if m := mails[0]; m.from != "ctwarden@example.net" || !slices.Equal(m.to, []string{"oncall@example.net", "team+ct@example.org"}) {
				t.Errorf("envelope %s to %v", m.from, m.to)
			}
			msg, body := read(t, mails[0])
			if body != Text(n) {
				t.Errorf("got\n%s\nwant\n%s", body, Text(n))
			}
			subject, err := new(mime.WordDecoder).DecodeHeader(msg.Header.Get("Subject"))
			if err != nil || subject != Title(n) {
				t.Errorf("subject %q, %v; want %q", subject, err, Title(n))
			}
			at, err := msg.Header.Date()
			if err != nil || at.Unix() != n.At.Unix() {
				t.Errorf("date %v, %v", at, err)
			}
			to, err := msg.Header.AddressList("To")
			if err != nil || len(to) != 2 || to[1].Name != "Über uns" {
				t.Errorf("to %v, %v", to, err)
			}
			want := []string{"Auto-Submitted", "Content-Transfer-Encoding", "Content-Type", "Date", "From", "In-Reply-To", "Message-Id", "Mime-Version", "References", "Subject", "To"}
			var have []string
			for name, values := range msg.Header {
				have = append(have, name)
				if len(values) != 1 {
					t.Errorf("%s stands there %d times", name, len(values))
				}
			}
			slices.Sort(have)
			if !slices.Equal(have, want) {
				t.Errorf("headers %v, want %v", have, want)
			}
			if id := msg.Header.Get("Message-ID"); !regexp.MustCompile(`^<[a-z0-9-]+@example\.net>$`).MatchString(id) {
				t.Errorf("Message-ID %s", id)
			}
		})
	}
}

// TestMailThread: messages of one trouble refer to one root, and no two of them share an ID.
func TestMailThread(t *testing.T) {
	s := startMail(t, &mailServer{})
	sender := mailSender(t, mailConfig(s))
	ids, roots := map[string]bool{}, map[string]bool{}
	all := samples()
	for _, name := range []string{"many_hosts", "acknowledged", "many_hosts_resolved", "silent_site"} {
		if err := sender.Send(context.Background(), all[name]); err != nil {
			t.Fatal(err)
		}
	}
	for _, m := range s.got() {
		msg, _ := read(t, m)
		ids[msg.Header.Get("Message-ID")] = true
		roots[msg.Header.Get("References")] = true
		if msg.Header.Get("References") != msg.Header.Get("In-Reply-To") {
			t.Errorf("headers %v", msg.Header)
		}
	}
	if len(ids) != 4 || len(roots) != 2 {
		t.Errorf("%d ids, %d roots", len(ids), len(roots))
	}
}

// TestMailLogIn goes through the ways to encrypt and to log in.
func TestMailLogIn(t *testing.T) {
	config, ca := authority(t)
	for _, c := range []struct {
		name           string
		server         *mailServer
		tls, auth, ca  string
		password, want string // want is in the error; empty: it gets through
		login          string
	}{
		{"STARTTLS and PLAIN", &mailServer{tls: config, auth: "PLAIN LOGIN"}, "", "", ca, testWord, "", "PLAIN secure=true"},
		{"STARTTLS and LOGIN", &mailServer{tls: config, auth: "LOGIN XOAUTH2"}, "starttls", "", ca, testWord, "", "LOGIN secure=true"},
		{"LOGIN by choice", &mailServer{tls: config, auth: "PLAIN LOGIN"}, "starttls", "login", ca, testWord, "", "LOGIN secure=true"},
		{"TLS from the start", &mailServer{tls: config, implicit: true, auth: "PLAIN"}, "implicit", "", ca, testWord, "", "PLAIN secure=true"},
		{"to this host in the clear", &mailServer{auth: "PLAIN"}, "none", "", "", testWord, "", "PLAIN secure=false"},
		{"to this host in the clear, LOGIN", &mailServer{auth: "LOGIN"}, "none", "", "", testWord, "", "LOGIN secure=false"},
		{"a wrong password", &mailServer{tls: config, auth: "PLAIN"}, "", "", ca, "wrong", "log in as me: 535", "PLAIN secure=true"},
		{"a way that we do not know", &mailServer{tls: config, auth: "GSSAPI"}, "", "", ca, testWord, `neither PLAIN nor LOGIN to log in with, but "GSSAPI"`, ""},
		{"no STARTTLS", &mailServer{auth: "PLAIN"}, "starttls", "", "", testWord, "offers no STARTTLS; nothing is sent in the clear", ""},
		{"an unknown authority", &mailServer{tls: config, auth: "PLAIN"}, "", "", "", testWord, "unknown authority", ""},
		{"an unknown authority from the start", &mailServer{tls: config, implicit: true}, "implicit", "", "", testWord, "unknown authority", ""},
		{"TLS where there is none", &mailServer{junk: true}, "implicit", "", ca, testWord, "first record does not look like a TLS handshake", ""},
		{"no password file", &mailServer{tls: config, auth: "PLAIN"}, "", "", ca, "", "mail.password: ", ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			c.server.user, c.server.password = "me", testWord
			s := startMail(t, c.server)
			m := mailConfig(s)
			m.TLS, m.Auth, m.CA, m.Username, m.Password = c.tls, c.auth, c.ca, "me", secretIn(t, c.password)
			err := mailSender(t, m).Send(context.Background(), oneHost())
			if c.want == "" && err != nil {
				t.Fatal(err)
			}
			if c.want != "" {
				wantFailure(t, err, true, 0, c.want) // all of these can be put right in the configuration
			}
			if got := strings.Join(s.logins, ", "); got != c.login {
				t.Errorf("log-ins %q, want %q", got, c.login)
			}
			if got := len(s.got()); (got == 1) != (c.want == "") {
				t.Errorf("%d messages", got)
			}
		})
	}
}

func TestMailRefusals(t *testing.T) {
	for _, c := range []struct {
		name    string
		replies map[string]string
		to      []string
		again   bool
		partly  bool
		want    string
	}{
		{"busy at the greeting", map[string]string{"": "421 4.3.2 too many connections"}, nil, true, false, "421"},
		{"nobody home", map[string]string{"": "554 no service"}, nil, true, false, "554"},
		{"no hello", map[string]string{"EHLO": "550 go away", "HELO": "550 go away"}, nil, true, false, "550"},
		{"the sender for now", map[string]string{"MAIL": "451 4.3.0 later"}, nil, true, false, "does not take the sender ctwarden@example.net: 451"},
		{"the sender for good", map[string]string{"MAIL": "553 5.7.1 not yours"}, nil, false, false, "553"},
		{"a log-in is needed", map[string]string{"MAIL": "530 5.7.0 log in"}, nil, true, false, "530"},
		{"greylisted", map[string]string{"RCPT": "450 4.2.0 greylisted"}, nil, true, false, "the recipient oncall@example.net: 450"},
		{"nobody of that name", map[string]string{"RCPT": "550 5.1.1 unknown"}, nil, false, false, "550"},
		{"one of two unknown", map[string]string{"RCPT TO:<b@x.net>": "550 5.1.1 unknown"}, []string{"a@x.net", "b@x.net"}, false, true, "the recipient b@x.net: 550"},
		{"one unknown, one later", map[string]string{"RCPT TO:<a@x.net>": "451 later", "RCPT TO:<b@x.net>": "550 unknown"}, []string{"a@x.net", "b@x.net"}, true, false, "b@x.net: 550"},
		{"no data now", map[string]string{"DATA": "451 later"}, nil, true, false, "the message: 451"},
		{"the message for now", map[string]string{".": "452 4.3.1 disk full"}, nil, true, false, "the message: 452"},
		{"the message for good", map[string]string{".": "554 5.7.1 spam"}, nil, false, false, "the message: 554"},
		{"hangs up at the greeting", map[string]string{"": "close"}, nil, true, false, "EOF"},
		{"hangs up in the middle", map[string]string{"RCPT": "close"}, nil, true, false, "the recipient"},
		{"hangs up at the end", map[string]string{".": "close"}, nil, true, false, "the message"},
		{"half an answer", map[string]string{"MAIL": "25"}, nil, true, false, "the sender"},
		{"another protocol", map[string]string{"": "HTTP/1.1 400 Bad Request"}, nil, true, false, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := startMail(t, &mailServer{replies: c.replies})
			m := mailConfig(s)
			if c.to != nil {
				m.To = c.to
			}
			err := mailSender(t, m).Send(context.Background(), oneHost())
			if c.partly {
				if !Delivered(err) || err == nil || !strings.Contains(err.Error(), c.want) || len(s.got()) != 1 {
					t.Errorf("got %v, %d messages", err, len(s.got()))
				}
				return
			}
			wantFailure(t, err, c.again, 0, c.want)
			if got := len(s.got()); got != 0 {
				t.Errorf("%d messages", got)
			}
		})
	}
}

// TestMailSlow: a server that says nothing more at any point of the conversation costs the timeout, and no more.
func TestMailSlow(t *testing.T) {
	for _, at := range []string{"", "EHLO", "MAIL", "RCPT", "DATA", "."} {
		t.Run("at "+at, func(t *testing.T) {
			s := startMail(t, &mailServer{replies: map[string]string{at: "hang"}})
			c := mailConfig(s)
			err := senderOf(t, Config{Mail: &c, Timeout: 300 * time.Millisecond}).Send(context.Background(), oneHost())
			wantFailure(t, err, true, 0, "no answer within 300ms")
		})
	}
}

func TestMailEnds(t *testing.T) {
	s := startMail(t, &mailServer{replies: map[string]string{"MAIL": "hang"}})
	ctx, cancel := context.WithCancel(context.Background())
	timer := time.AfterFunc(200*time.Millisecond, cancel)
	defer timer.Stop()
	wantFailure(t, mailSender(t, mailConfig(s)).Send(ctx, oneHost()), true, 0, s.address)
}

func TestMailDeadPort(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := &mailServer{address: l.Addr().String()}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	wantFailure(t, mailSender(t, mailConfig(s)).Send(context.Background(), oneHost()), true, 0, "connection refused")
}

// FuzzMailServer has a server say anything at any point.
func FuzzMailServer(f *testing.F) {
	for _, seed := range []string{
		"220 x\r\n250 x\r\n250 ok\r\n250 ok\r\n354 go\r\n250 ok\r\n221 bye\r\n", "220-x\r\n220 x\r\n", "", "220 \x1b[2J\r\n250-AUTH PLAIN\r\n250 x\r\n550 \x00no\r\n",
		"999999999999 x\r\n", "220 x\r\n250 ok\r\n250 ok\r\n550 a\r\n",
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, said []byte) {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		defer l.Close()
		go func() {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			_, _ = conn.Write(said)
			_ = conn.(*net.TCPConn).CloseWrite()
			_, _ = io.Copy(io.Discard, conn)
			_ = conn.Close()
		}()
		c := MailConfig{Server: l.Addr().String(), TLS: "none", From: "a@example.net", To: []string{"b@example.net"}}
		s, err := newMail(c, 5*time.Second, Options{})
		if err != nil {
			t.Fatal(err)
		}
		err = s.Send(context.Background(), oneHost())
		if err != nil && strings.ContainsFunc(err.Error(), unicode.IsControl) {
			t.Errorf("got %q", err)
		}
	})
}

// TestMailForThoseWhoMissedIt: of three recipients the server takes one for now only (451): it is tried again, and nobody
// gets the message twice. It is given up for that one after a while, and no dead letter, since others have it.
func TestMailForThoseWhoMissedIt(t *testing.T) {
	s := startMail(t, &mailServer{replies: map[string]string{"RCPT TO:<b@x.net>": "451 4.7.1 greylisted"}})
	c := mailConfig(s)
	c.To = []string{"a@x.net", "b@x.net", "c@x.net"}
	sender := mailSender(t, c)
	first, other := samples()["one_host_full"], samples()["many_hosts"]
	for range 3 {
		if err := sender.Send(t.Context(), first); err == nil || Delivered(err) || !strings.Contains(err.Error(), "b@x.net") {
			t.Fatalf("got %v", err)
		} else if _, again := Retryable(err); !again {
			t.Fatalf("not retried: %v", err)
		}
	}
	if err := sender.Send(t.Context(), other); Delivered(err) {
		t.Fatalf("another message: %v", err)
	}
	s.mu.Lock()
	s.replies = nil
	s.mu.Unlock()
	for _, n := range []Notification{first, other} {
		if err := sender.Send(t.Context(), n); err != nil {
			t.Errorf("the last attempt: %v", err)
		}
	}
	var got []string
	for _, m := range s.got() {
		got = append(got, strings.Join(m.to, " "))
	}
	if want := []string{"a@x.net c@x.net", "a@x.net c@x.net", "b@x.net", "b@x.net"}; !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
}

func TestTakenIsBounded(t *testing.T) {
	now := time.Unix(1000, 0)
	var m taken
	later := retryAfter(0, "later")
	if err := m.outcome("x", later, now); Delivered(err) {
		t.Errorf("nobody has it: %v", err)
	}
	for i := range maxTaken + 7 {
		m.add(fmt.Sprint(i), []string{"a"}, now)
	}
	if len(m.byID) != maxTaken || len(m.oldest) != maxTaken || m.has("6", "a") || !m.has("7", "a") || m.has("7", "b") {
		t.Errorf("%d and %d kept", len(m.byID), len(m.oldest))
	}
	if err := m.outcome("7", later, now.Add(missedFor-1)); Delivered(err) || !m.has("7", "a") {
		t.Errorf("within the time: %v", err)
	}
	if err := m.outcome("7", later, now.Add(missedFor)); !Delivered(err) || err == nil || m.has("7", "a") {
		t.Errorf("given up: %v", err)
	}
	if err := m.outcome("8", permanent("no"), now); !Delivered(err) {
		t.Errorf("refused for good, and others have it: %v", err)
	}
	if len(m.byID) != len(m.oldest) {
		t.Errorf("%d and %d kept", len(m.byID), len(m.oldest))
	}
}
