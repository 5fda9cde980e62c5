package agent

import (
	"context"
	"errors"
	"fmt"
	"time"

	"go.uber.org/zap"

	"github.com/ctwarden/ctwarden/notify"
	"github.com/ctwarden/ctwarden/remediate"
)

// orderWithin bounds what one order of the fleet may take.
const orderWithin = 10 * time.Second

// order carries out an order of the fleet, or says why not. It is called from the publisher's listener, one order at a
// time. What is heard is in force when it returns.
func (a *Agent) order(ctx context.Context, c notify.Command, broken error) notify.Answer {
	ctx, cancel := context.WithTimeout(ctx, orderWithin)
	defer cancel()
	var v verdict
	var err error
	text := ""
	if broken != nil {
		v = unfit(notify.CommandBroken, "%v", broken)
	} else {
		v, err = ask(ctx, a, func() verdict { return a.fleet.heard.judge(c, time.Now(), a.awaits()) })
	}
	if err == nil && v.reason == "" {
		text, err = a.doOrder(ctx, c)
	}
	if err != nil {
		v = unfit(notify.CommandFailed, "%v", err)
	}
	rev, err := ask(ctx, a, func() uint64 { return a.bookOrder(c, v) })
	if err != nil && v.reason == "" {
		v = unfit(notify.CommandFailed, "%v", err)
	}
	a.sayOrder(c, v, text)
	if v.reason != "" {
		text = v.text
	}
	return notify.Answer{Rev: rev, Done: v.reason == "", Reason: v.reason, Text: text}
}

// doOrder does what may wait for a disk. It returns the answer's text.
func (a *Agent) doOrder(ctx context.Context, c notify.Command) (string, error) {
	places := a.cfg.fleetHoldPlaces()
	var do func() Reply
	switch c.Verb {
	case notify.CommandHold:
		h := remediate.Hold{Since: c.At, Until: c.Until, By: c.By, Why: c.Why, Fleet: true}
		do = func() Reply {
			unkept, err := places.Set(h)
			return reported(h.Text()+places.Unkept(unkept, time.Now()), err)
		}
	case notify.CommandUnhold:
		do = func() Reply {
			was, err := places.Clear()
			if !was {
				return reported("the fleet did not hold this host", err)
			}
			return reported("the fleet's hold is released", err)
		}
	default:
		return "mode " + string(c.Mode), nil
	}
	r, err := withDisk(ctx, do)
	if err == nil && !r.Done {
		err = errors.New(r.Text)
	}
	return r.Text, err
}

func reported(text string, err error) Reply {
	if err != nil {
		return Reply{Text: err.Error()}
	}
	return Reply{Done: true, Text: text}
}

// bookOrder has the loop go by an order from now on, and keeps it. It returns the highest revision heard.
func (a *Agent) bookOrder(c notify.Command, v verdict) uint64 {
	now := time.Now()
	a.fleet.readAt = time.Time{} // the hold may be another, also where something failed
	if v.reason == "" || v.reason == notify.CommandNotAwaited {
		a.fleet.heard.book(c, v, now)
		a.fleet.unsaved = true
		a.noteIf(noteFleet, nil)
		if a.applyMode(now) {
			a.cfg.Log.Info("mode changed", zap.String("mode", string(a.cfg.Policy.Mode)), zap.String("because", "the fleet said so"))
		}
		a.save(true)
	}
	a.fleetHeldNow(now)
	a.shareChanges(now)
	return a.fleet.heard.rev()
}

// sayOrder journals an order in the host's log.
func (a *Agent) sayOrder(c notify.Command, v verdict, text string) {
	fields := []zap.Field{
		zap.String("order", c.ID), zap.String("verb", string(c.Verb)), zap.Uint64("rev", c.Rev), zap.String("by", c.By),
		zap.String("why", c.Why),
	}
	if !c.Until.IsZero() {
		fields = append(fields, zap.Time("until", c.Until))
	}
	switch v.reason {
	case "":
		a.cfg.Log.Info("order of the fleet", append(fields, zap.String("text", text))...)
	case notify.CommandBroken: // its fields may be anything
		a.cfg.Log.Warn("order of the fleet refused", zap.String("reason", string(v.reason)), zap.String("text", fmt.Sprintf("%.300q", v.text)))
	default:
		a.cfg.Log.Warn("order of the fleet refused", append(fields, zap.String("reason", string(v.reason)), zap.String("text", v.text))...)
	}
}
