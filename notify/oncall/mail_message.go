package oncall

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"mime"
	"mime/quotedprintable"
	"strings"
	"time"
)

// message is the mail (RFC 5322) with its headers, in plain text. The same notification is the same message at every
// attempt, byte for byte.
func (m *mailer) message(n Notification) []byte {
	var b bytes.Buffer
	recipients := make([]string, len(m.to))
	for i, to := range m.to {
		recipients[i] = to.String()
	}
	root := m.id("trouble", n.Key)
	for _, h := range [][2]string{
		{"From", m.from.String()},
		{"To", strings.Join(recipients, ",\r\n ")},
		{"Subject", subject(Title(n))},
		{"Date", n.At.UTC().Format(time.RFC1123Z)},
		{"Message-ID", m.id("page", n.ID)},
		// No message has the root's ID: it is what ties all messages of one trouble together, whichever of them arrives first.
		{"In-Reply-To", root},
		{"References", root},
		{"Auto-Submitted", "auto-generated"}, // RFC 3834: no absence notes, please
		{"MIME-Version", "1.0"},
		{"Content-Type", "text/plain; charset=utf-8"},
		{"Content-Transfer-Encoding", "quoted-printable"},
	} {
		fmt.Fprintf(&b, "%s: %s\r\n", h[0], h[1])
	}
	b.WriteString("\r\n")
	w := quotedprintable.NewWriter(&b)
	// Writing to memory does not fail.
	_, _ = w.Write([]byte(strings.ReplaceAll(Text(n), "\n", "\r\n")))
	_ = w.Close()
	return b.Bytes()
}

// id is a Message-ID, the same for the same name.
func (m *mailer) id(kind, name string) string {
	sum := sha256.Sum256([]byte(kind + "\x00" + name))
	_, domain, _ := strings.Cut(m.from.Address, "@")
	return "<ctwarden-" + kind + "-" + hex.EncodeToString(sum[:16]) + "@" + domain + ">"
}

// subject encodes a title that has no line ends, in words that lines can be folded between.
func subject(title string) string {
	return strings.ReplaceAll(mime.QEncoding.Encode("utf-8", title), "?= =?", "?=\r\n =?")
}
