package oncall

import (
	"errors"
	"fmt"
	"time"
)

// failure is an error of a sender, with what it means for another attempt.
type failure struct {
	err   error
	retry bool
	after time.Duration
}

func (f *failure) Error() string { return f.err.Error() }
func (f *failure) Unwrap() error { return f.err }

// Retryable tells whether another attempt may succeed, and the least time to wait before it, where the other end has
// named one. An error that does not say is retryable: a page too many is better than one that was given up.
func Retryable(err error) (after time.Duration, ok bool) {
	var f *failure
	if !errors.As(err, &f) {
		return 0, err != nil
	}
	return f.after, f.retry
}

// permanent is an error that no further attempt will change.
func permanent(format string, args ...any) error {
	return &failure{err: fmt.Errorf(format, args...)}
}

// retryAfter is an error that may pass; after is what the other end asked for, zero: nothing.
func retryAfter(after time.Duration, format string, args ...any) error {
	return &failure{err: fmt.Errorf(format, args...), retry: true, after: after}
}

// partial is an error of a notification that was delivered, but not to everybody.
type partial struct{ err error }

func (p *partial) Error() string { return p.err.Error() }
func (p *partial) Unwrap() error { return p.err }

// Delivered tells whether the notification reached somebody: err is nil, or says who was missed.
func Delivered(err error) bool {
	var p *partial
	return err == nil || errors.As(err, &p)
}
