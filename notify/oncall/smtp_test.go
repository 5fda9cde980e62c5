package oncall

import (
	"bufio"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"encoding/pem"
	"fmt"
	"io"
	"math/big"
	"net"
	"net/textproto"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

// mailServer is an SMTP server of a test (RFC 5321, 3207, 4954). It insists on the order of commands, and on TLS and a
// log-in where it has them, and notes every message that it took.
type mailServer struct {
	address string
	// replies has what to answer instead, by the first words of a command: "RCPT TO:<b@x>", "DATA", "." (the end of the
	// message), "" (the greeting). "hang" says nothing any more, "close" hangs up.
	replies map[string]string
	// tls is nil where it has none; implicit: from the first byte on.
	tls      *tls.Config
	implicit bool
	// auth lists the ways to log in, user and password are what it takes.
	auth, user, password string

	// junk is true where the client may say what is no SMTP.
	junk bool

	t      *testing.T
	mu     sync.Mutex
	mails  []mail1
	logins []string // "PLAIN over TLS"
	faults []string
}

// mail1 is a message that was taken.
type mail1 struct {
	from string
	to   []string
	data string
}

func startMail(t *testing.T, s *mailServer) *mailServer {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s.t, s.address = t, l.Addr().String()
	var all sync.WaitGroup
	done := make(chan struct{})
	t.Cleanup(func() {
		close(done)
		_ = l.Close()
		all.Wait()
		if s.junk {
			return
		}
		for _, f := range s.faults {
			t.Errorf("the client broke the protocol: %s", f)
		}
	})
	all.Go(func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			all.Go(func() {
				ended := make(chan struct{})
				all.Go(func() {
					select {
					case <-done:
					case <-ended:
					}
					_ = conn.Close()
				})
				s.serve(conn)
				close(ended)
			})
		}
	})
	return s
}

// session is one connection.
type session struct {
	*mailServer
	conn     net.Conn
	r        *bufio.Reader
	secure   bool
	hello    bool
	loggedIn bool
	from     string
	to       []string
}

func (s *mailServer) serve(conn net.Conn) {
	c := &session{mailServer: s, conn: conn}
	if s.implicit {
		c.conn, c.secure = tls.Server(conn, s.tls), true
	}
	c.r = bufio.NewReader(c.conn)
	if !c.instead("") {
		c.say("220 mail.test ESMTP")
	}
	for {
		line, err := c.r.ReadString('\n')
		if err != nil {
			return
		}
		if !strings.HasSuffix(line, "\r\n") || strings.ContainsAny(strings.TrimSuffix(line, "\r\n"), "\r\n\x00") || len(line) > 512 {
			c.fault("line %q", line)
		}
		if !c.command(strings.TrimSuffix(line, "\r\n")) {
			return
		}
	}
}

func (c *session) say(text string) { fmt.Fprintf(c.conn, "%s\r\n", text) }

func (c *session) fault(format string, args ...any) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.faults = append(c.faults, fmt.Sprintf(format, args...))
}

// instead answers what the test has for a command, if it has something.
func (c *session) instead(command string) bool {
	c.mu.Lock()
	replies := c.replies
	c.mu.Unlock()
	for begin, reply := range replies {
		if command == begin || begin != "" && strings.HasPrefix(strings.ToUpper(command), strings.ToUpper(begin)) {
			switch reply {
			case "hang":
				_, _ = io.Copy(io.Discard, c.conn)
			case "close":
				_ = c.conn.Close()
			default:
				c.say(reply)
			}
			return true
		}
	}
	return false
}

func (c *session) command(line string) bool {
	verb, rest, _ := strings.Cut(line, " ")
	verb = strings.ToUpper(verb)
	if !slices.Contains([]string{"EHLO", "HELO", "QUIT", "*"}, verb) && !c.hello {
		c.fault("%s before EHLO", verb)
	}
	if c.tls != nil && !c.secure && !slices.Contains([]string{"EHLO", "HELO", "STARTTLS", "QUIT"}, verb) {
		c.fault("%s in the clear", verb)
	}
	if c.instead(line) {
		return true
	}
	switch verb {
	case "EHLO":
		c.hello = true
		c.greet(rest)
	case "STARTTLS":
		c.say("220 go ahead")
		secure := tls.Server(c.conn, c.tls)
		c.conn, c.r, c.secure, c.hello = secure, bufio.NewReader(secure), true, false
	case "AUTH":
		c.logIn(rest)
	case "MAIL", "RCPT", "DATA":
		c.transaction(verb, rest)
	case "*": // the client gives a log-in up
		c.say("501 as you like")
	case "QUIT":
		c.say("221 bye")
		return false
	default:
		c.fault("%s", line)
		c.say("500 what?")
	}
	return true
}

func (c *session) greet(name string) {
	if name == "" {
		c.fault("EHLO without a name")
	}
	lines := []string{"mail.test", "8BITMIME"}
	if c.tls != nil && !c.secure {
		lines = append(lines, "STARTTLS")
	}
	if c.auth != "" && (c.secure || c.tls == nil) {
		lines = append(lines, "AUTH "+c.auth)
	}
	for i, l := range lines {
		sep := "-"
		if i == len(lines)-1 {
			sep = " "
		}
		c.say("250" + sep + l)
	}
}

func (c *session) logIn(rest string) {
	method, first, _ := strings.Cut(rest, " ")
	ask := func(challenge string) string {
		c.say("334 " + base64.StdEncoding.EncodeToString([]byte(challenge)))
		line, err := c.r.ReadString('\n')
		if err != nil {
			return ""
		}
		text, err := base64.StdEncoding.DecodeString(strings.TrimSpace(line))
		if err != nil {
			c.fault("%q is no base64", line)
		}
		return string(text)
	}
	var user, password string
	switch method {
	case "PLAIN":
		text, err := base64.StdEncoding.DecodeString(first)
		parts := strings.Split(string(text), "\x00")
		if err != nil || len(parts) != 3 {
			c.fault("AUTH PLAIN %q", first)
			return
		}
		user, password = parts[1], parts[2]
	case "LOGIN":
		user = ask("User Name\x00")
		password = ask("Password\x00")
	}
	c.mu.Lock()
	c.logins = append(c.logins, fmt.Sprintf("%s secure=%v", method, c.secure))
	c.mu.Unlock()
	if user != c.user || password != c.password {
		c.say("535 5.7.8 authentication failed")
		return
	}
	c.loggedIn = true
	c.say("235 welcome")
}

func (c *session) transaction(verb, rest string) {
	switch {
	case c.auth != "" && !c.loggedIn:
		c.say("530 5.7.0 authentication required")
	case verb == "MAIL":
		address, ok := strings.CutPrefix(rest, "FROM:<")
		if !ok || c.from != "" {
			c.fault("MAIL %s", rest)
		}
		c.from, _, _ = strings.Cut(address, ">")
		c.say("250 ok")
	case c.from == "":
		c.fault("%s before MAIL", verb)
	case verb == "RCPT":
		address, ok := strings.CutPrefix(rest, "TO:<")
		if !ok {
			c.fault("RCPT %s", rest)
		}
		c.to = append(c.to, strings.TrimSuffix(address, ">"))
		c.say("250 ok")
	case len(c.to) == 0:
		c.fault("DATA without a recipient")
		c.say("503 no recipient")
	default:
		c.data()
	}
}

func (c *session) data() {
	c.say("354 go on")
	text, err := textproto.NewReader(c.r).ReadDotBytes()
	if err != nil {
		return // the client gave up
	}
	if c.instead(".") {
		return
	}
	c.mu.Lock()
	c.mails = append(c.mails, mail1{c.from, c.to, string(text)})
	c.mu.Unlock()
	c.from, c.to = "", nil
	c.say("250 2.0.0 queued")
}

func (s *mailServer) got() []mail1 {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.mails)
}

// authority makes a certificate for 127.0.0.1 and the file of the authority that it is by: itself.
func authority(t *testing.T) (config *tls.Config, caFile string) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "mail.test"}, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	caFile = filepath.Join(t.TempDir(), "ca.pem")
	if err := os.WriteFile(caFile, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), 0o644); err != nil {
		t.Fatal(err)
	}
	return &tls.Config{Certificates: []tls.Certificate{{Certificate: [][]byte{der}, PrivateKey: key}}}, caFile
}
