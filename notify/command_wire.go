package notify

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/ctwarden/ctwarden/remediate"
)

// Check tells what is wrong with an order in itself, whatever the time and whoever hears it.
func (c Command) Check() error {
	return errors.Join(
		checkID(c.ID), checkRev(c.Rev), checkText("by", c.By, 1, maxBy), checkText("why", c.Why, 0, maxWhy),
		checkTime("at", c.At), c.checkVerb(), c.checkUntil(),
	)
}

func (c Command) checkVerb() error {
	switch c.Verb {
	case CommandHold, CommandUnhold:
		if c.Mode != "" {
			return fmt.Errorf("%s takes no mode", c.Verb)
		}
	case CommandMode:
		if c.Mode != remediate.ModeObserve && c.Mode != remediate.ModeRemediate {
			return fmt.Errorf("mode %q; use observe or remediate", printable(string(c.Mode)))
		}
	default:
		return fmt.Errorf("verb %q; use hold, unhold or mode", printable(string(c.Verb)))
	}
	return nil
}

func (c Command) checkUntil() error {
	switch {
	case c.Until.IsZero():
		return nil
	case c.Verb == CommandUnhold:
		return errors.New("unhold takes no until")
	case !c.Until.After(c.At) || c.Until.Sub(c.At) > MaxHold:
		return fmt.Errorf("until: it must lie behind at, by %d days at most", int(MaxHold.Hours()/24))
	}
	return checkTime("until", c.Until)
}

// Encode gives the order's document. It refuses what [Command.Check] does.
func (c Command) Encode() ([]byte, error) {
	if err := c.Check(); err != nil {
		return nil, fmt.Errorf("encode order: %w", err)
	}
	c.At, c.Until = c.At.UTC(), c.Until.UTC()
	body, err := marshal(c)
	if err == nil && len(body) > MaxCommand {
		err = fmt.Errorf("encode order: %d bytes are more than %d", len(body), MaxCommand)
	}
	return body, err
}

// DecodeCommand reads an order. It is strict: what it does not know might narrow the order down. Where the document is
// an order's and says something that it may not, the order is returned with the error, for the answer's sake.
func DecodeCommand(body []byte) (Command, error) {
	var c Command
	if err := strict(body, &c); err != nil {
		return Command{}, fmt.Errorf("decode order: %w", err)
	}
	if err := c.Check(); err != nil {
		if checkID(c.ID) != nil {
			c.ID = ""
		}
		return c, fmt.Errorf("decode order: %w", err)
	}
	return c, nil
}

// Encode gives the answer's document. What it says is cut to a line that can be printed.
func (a Answer) Encode() ([]byte, error) {
	if err := errors.Join(CheckSite(a.Site), checkHost(a.Host)); err != nil {
		return nil, fmt.Errorf("encode answer: %w", err)
	}
	if a.ID != "" {
		if err := checkID(a.ID); err != nil {
			return nil, fmt.Errorf("encode answer: %w", err)
		}
	}
	a.At, a.Text = a.At.UTC(), cutText(printable(a.Text), maxWhy)
	body, err := marshal(a)
	if err == nil && len(body) > MaxCommand {
		err = fmt.Errorf("encode answer: %d bytes are more than %d", len(body), MaxCommand)
	}
	return body, err
}

// DecodeAnswer reads an answer from its subject and its document. It passes over fields that it does not know, which a
// newer host may send, and refuses an answer in another host's name: the subject is what the server's permissions vouch for.
func DecodeAnswer(subject string, body []byte) (Answer, error) {
	var a Answer
	if len(body) > MaxCommand {
		return Answer{}, fmt.Errorf("decode answer: %d bytes are more than %d", len(body), MaxCommand)
	}
	if err := json.Unmarshal(body, &a); err != nil {
		return Answer{}, fmt.Errorf("decode answer: %w", err)
	}
	if err := errors.Join(CheckSite(a.Site), checkHost(a.Host), checkTime("at", a.At)); err != nil {
		return Answer{}, fmt.Errorf("decode answer: %w", err)
	}
	if want := AnswerSubject(a.Site, a.Host); subject != want {
		return Answer{}, fmt.Errorf("decode answer: that of %s came on another subject than %s", printable(a.Host), want)
	}
	if a.ID != "" && checkID(a.ID) != nil || a.Rev > MaxRev {
		return Answer{}, errors.New("decode answer: no order has such an id or revision")
	}
	a.Text = cutText(printable(a.Text), maxWhy)
	return a, nil
}

// strict reads one JSON value without fields that are not known.
func strict(body []byte, into any) error {
	if len(body) > MaxCommand {
		return fmt.Errorf("%d bytes are more than %d", len(body), MaxCommand)
	}
	dec := json.NewDecoder(bytes.NewReader(body))
	dec.DisallowUnknownFields()
	if err := dec.Decode(into); err != nil {
		return err
	}
	if _, err := dec.Token(); !errors.Is(err, io.EOF) {
		return errors.New("there is more behind the first value")
	}
	return nil
}

func checkID(id string) error {
	bad := strings.IndexFunc(id, func(r rune) bool { return !isPlain(r) && r != '_' })
	if id == "" || bad >= 0 || len(id) > maxID {
		return fmt.Errorf("id: use 1 to %d letters, digits, - or _", maxID)
	}
	return nil
}

func checkRev(rev uint64) error {
	if rev == 0 || rev > MaxRev {
		return fmt.Errorf("rev %d; use 1 to %d", rev, uint64(MaxRev))
	}
	return nil
}

// checkText wants a line of so many bytes that can be shown as it is.
func checkText(key, text string, least, most int) error {
	hidden := strings.IndexFunc(text, func(r rune) bool { return !unicode.IsPrint(r) })
	if len(text) < least || len(text) > most || hidden >= 0 || !utf8.ValidString(text) {
		return fmt.Errorf("%s: use a line of %d to %d bytes", key, least, most)
	}
	return nil
}

func checkTime(key string, at time.Time) error {
	if y := at.UTC().Year(); at.IsZero() || y < 1 || y > 9999 {
		return fmt.Errorf("%s: no date of the years 1 to 9999", key)
	}
	return nil
}

// cutText is a text of at most so many bytes, whole characters.
func cutText(text string, most int) string {
	if len(text) <= most {
		return text
	}
	text = text[:most-len("…")]
	for !utf8.ValidString(text) {
		text = text[:len(text)-1]
	}
	return text + "…"
}
