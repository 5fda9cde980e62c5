package oncall

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/mail"
	"net/smtp"
	"net/textproto"
	"os"
	"strings"
	"time"

	"github.com/ctwarden/ctwarden/internal/secret"
)

// mailer hands messages to a mail server over SMTP. The connection is encrypted, by STARTTLS unless configured otherwise,
// and nothing is said before it is.
type mailer struct {
	config  MailConfig
	timeout time.Duration
	from    *mail.Address
	to      []*mail.Address
	taken   taken
}

func newMail(c MailConfig, timeout time.Duration, _ Options) (Sender, error) {
	m := &mailer{config: c, timeout: timeout}
	var err error
	if m.from, err = mail.ParseAddress(c.From); err != nil {
		return nil, fmt.Errorf("mail.from: %w", err)
	}
	for _, to := range c.To {
		a, err := mail.ParseAddress(to)
		if err != nil {
			return nil, fmt.Errorf("mail.to: %w", err)
		}
		m.to = append(m.to, a)
	}
	if c.Hello == "" {
		m.config.Hello = hello()
	}
	return m, nil
}

// hello is this host's name where it is one that a mail server takes.
func hello() string {
	name, err := os.Hostname()
	if err != nil || name == "" || strings.ContainsFunc(name, func(r rune) bool { return r <= ' ' || r > '~' }) {
		return "localhost"
	}
	return name
}

// Send hands in one message for all recipients. Where the server takes some of them and not others, those it takes get it,
// once, and those that it does not take for now are tried again for ten minutes.
// A refusal for now (4xx) is retryable and one for good (5xx) is not, unless it is of the log-in: that lies in the
// configuration, and the message goes out once that is mended.
func (m *mailer) Send(ctx context.Context, n Notification) error {
	ctx, cancel := context.WithTimeout(ctx, m.timeout)
	defer cancel()
	return m.taken.outcome(n.ID, m.attempt(ctx, n), time.Now())
}

func (m *mailer) attempt(ctx context.Context, n Notification) error {
	c, err := m.open(ctx)
	if err != nil {
		return retryAfter(0, "%s: %s", m.config.Server, m.told(ctx, err))
	}
	defer c.Close()
	defer context.AfterFunc(ctx, func() { c.Close() })() // wakes what waits for the server
	return m.hand(ctx, c, n)
}

// told is why the server was not heard to the end, in one line whatever it said.
func (m *mailer) told(ctx context.Context, err error) string {
	if errors.Is(ctx.Err(), context.DeadlineExceeded) || errors.Is(err, os.ErrDeadlineExceeded) || errors.Is(err, context.DeadlineExceeded) {
		return fmt.Sprintf("no answer within %s", m.timeout)
	}
	return line(err.Error())
}

// open connects, encrypts and logs in.
func (m *mailer) open(ctx context.Context) (*smtp.Client, error) {
	host, _, err := net.SplitHostPort(m.config.Server)
	if err != nil {
		return nil, err
	}
	config, err := TLSConfig{CA: m.config.CA}.load()
	if err != nil {
		return nil, err
	}
	config.ServerName = host
	conn, err := (&net.Dialer{Timeout: dialTime}).DialContext(ctx, "tcp", m.config.Server)
	if err != nil {
		return nil, err
	}
	if m.config.TLS == "implicit" {
		conn = tls.Client(conn, config)
	}
	if deadline, ok := ctx.Deadline(); ok {
		if err := conn.SetDeadline(deadline); err != nil {
			return nil, errors.Join(err, conn.Close())
		}
	}
	stop := context.AfterFunc(ctx, func() { conn.Close() })
	defer stop()
	c, err := smtp.NewClient(conn, host)
	if err != nil {
		return nil, errors.Join(err, conn.Close())
	}
	if err := m.greet(c, config); err != nil {
		return nil, errors.Join(err, c.Close())
	}
	return c, nil
}

// greet says hello, encrypts and logs in.
func (m *mailer) greet(c *smtp.Client, config *tls.Config) error {
	if err := c.Hello(m.config.Hello); err != nil {
		return err
	}
	if m.config.TLS == "" || m.config.TLS == "starttls" {
		if ok, _ := c.Extension("STARTTLS"); !ok {
			return errors.New("the server offers no STARTTLS; nothing is sent in the clear")
		}
		if err := c.StartTLS(config); err != nil {
			return fmt.Errorf("STARTTLS: %w", err)
		}
	}
	if m.config.Username == "" {
		return nil
	}
	return m.logIn(c)
}

// logIn authenticates with what is configured, or what the server offers.
func (m *mailer) logIn(c *smtp.Client) error {
	password, err := secret.Read(m.config.Password)
	if err != nil {
		return fmt.Errorf("mail.password: %w", err)
	}
	_, offered := c.Extension("AUTH")
	host, _, _ := net.SplitHostPort(m.config.Server)
	var auth smtp.Auth
	switch method := m.method(offered); method {
	case "plain":
		auth = smtp.PlainAuth("", m.config.Username, password, host)
	case "login":
		auth = &loginAuth{username: m.config.Username, password: password}
	default:
		return fmt.Errorf("the server offers neither PLAIN nor LOGIN to log in with, but %q", line(offered))
	}
	if err := c.Auth(auth); err != nil {
		return fmt.Errorf("log in as %s: %w", m.config.Username, err)
	}
	return nil
}

func (m *mailer) method(offered string) string {
	if m.config.Auth != "" {
		return m.config.Auth
	}
	for _, method := range []string{"PLAIN", "LOGIN"} {
		for word := range strings.FieldsSeq(offered) {
			if strings.EqualFold(word, method) {
				return strings.ToLower(method)
			}
		}
	}
	return ""
}

// loginAuth is the log-in called LOGIN: the server asks for the name, then for the password. It has no standard; servers
// ask in different words, so the order counts.
type loginAuth struct {
	username, password string
	asked              int
}

// Start implements smtp.Auth. As PLAIN it says the password only over TLS, or to this host.
func (a *loginAuth) Start(server *smtp.ServerInfo) (string, []byte, error) {
	if !server.TLS && !loopback(server.Name) {
		return "", nil, errors.New("unencrypted connection")
	}
	a.asked = 0
	return "LOGIN", nil, nil
}

// Next implements smtp.Auth.
func (a *loginAuth) Next(_ []byte, more bool) ([]byte, error) {
	if !more {
		return nil, nil
	}
	a.asked++
	switch a.asked {
	case 1:
		return []byte(a.username), nil
	case 2:
		return []byte(a.password), nil
	}
	return nil, errors.New("the server asks for more than a name and a password")
}

// hand hands the message over once the server is ready for one.
func (m *mailer) hand(ctx context.Context, c *smtp.Client, n Notification) error {
	if err := c.Mail(m.from.Address); err != nil {
		return m.refused(ctx, "the sender "+m.from.Address, err)
	}
	var refused []error
	var taken []string
	for _, to := range m.to {
		if m.taken.has(n.ID, to.Address) {
			continue
		}
		switch err := c.Rcpt(to.Address); {
		case err == nil:
			taken = append(taken, to.Address)
		case isReply(err):
			refused = append(refused, m.refused(ctx, "the recipient "+to.Address, err))
		default:
			return m.refused(ctx, "the recipient "+to.Address, err)
		}
	}
	if len(taken) == 0 {
		return together(refused)
	}
	w, err := c.Data()
	if err != nil {
		return m.refused(ctx, "the message", err)
	}
	if _, err := w.Write(m.message(n)); err != nil {
		return m.refused(ctx, "the message", err)
	}
	if err := w.Close(); err != nil {
		return m.refused(ctx, "the message", err)
	}
	_ = c.Quit() // the server has it, whatever it says to that
	if len(refused) == 0 {
		return nil
	}
	err = together(refused)
	if _, again := Retryable(err); again {
		m.taken.add(n.ID, taken, time.Now())
		return err
	}
	return &partial{err}
}

func isReply(err error) bool {
	var reply *textproto.Error
	return errors.As(err, &reply)
}

// refused tells a refusal for good from one for now.
func (m *mailer) refused(ctx context.Context, what string, err error) error {
	var reply *textproto.Error
	if !errors.As(err, &reply) {
		return retryAfter(0, "%s: %s: %s", m.config.Server, what, m.told(ctx, err))
	}
	text := fmt.Errorf("%s does not take %s: %d %s", m.config.Server, what, reply.Code, cut(line(reply.Msg), 200))
	if reply.Code >= 500 && !ofLogIn(reply.Code) {
		return permanent("%w", text)
	}
	return retryAfter(0, "%w", text)
}

// ofLogIn tells a code that asks to encrypt or to log in (RFC 4954, 6; RFC 3207, 4).
func ofLogIn(code int) bool {
	return code == 530 || code == 534 || code == 535 || code == 538
}
