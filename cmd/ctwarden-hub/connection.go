package main

import (
	"strings"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
	"go.uber.org/zap"

	"github.com/ctwarden/ctwarden/notify"
	"github.com/ctwarden/ctwarden/notify/hub"
)

// connection tells the log and the hub when the servers go away and come back. The connection is there before the hub.
type connection struct {
	log *zap.Logger
	// why puts errors into words.
	why *notify.Explainer

	mu   sync.Mutex
	nc   *nats.Conn
	hub  *hub.Hub
	said map[string]bool // what was logged, so that a refusal that is met again and again is said once
}

// follow has the hub told from now on.
func (c *connection) follow(nc *nats.Conn, h *hub.Hub) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.nc, c.hub = nc, h
}

// retrying says why the last attempt failed. The library keeps a handshake that failed to itself.
func (c *connection) retrying() {
	c.mu.Lock()
	nc := c.nc
	c.mu.Unlock()
	if nc == nil {
		return
	}
	if err := nc.LastError(); err != nil {
		c.once(err)
	}
}

func (c *connection) tell(connected bool) {
	c.mu.Lock()
	h := c.hub
	c.mu.Unlock()
	if h != nil {
		h.Connected(connected)
	}
}

// explain puts an error of the connection into words, which the hub shows while it is away.
func (c *connection) explain(err error) error {
	err = c.why.Explain(err)
	c.mu.Lock()
	h := c.hub
	c.mu.Unlock()
	if h != nil {
		h.Away(err)
	}
	return err
}

func (c *connection) options() []nats.Option {
	return []nats.Option{
		nats.DisconnectErrHandler(func(_ *nats.Conn, err error) {
			c.tell(false)
			if err != nil {
				c.log.Warn("nats_disconnected", zap.Error(c.explain(err)))
			}
		}),
		nats.CustomReconnectDelay(func(attempts int) time.Duration {
			c.retrying()
			return notify.ReconnectDelay(attempts)
		}),
		nats.ReconnectHandler(func(nc *nats.Conn) {
			c.why.Connected()
			c.log.Info("nats_connected", zap.String("server", notify.Redact(nc.ConnectedUrl())))
			c.tell(true)
			c.forget()
		}),
		nats.ReconnectErrHandler(func(_ *nats.Conn, err error) { c.once(err) }),
		nats.ErrorHandler(func(_ *nats.Conn, _ *nats.Subscription, err error) {
			c.once(err)
		}),
	}
}

// forget makes what was said news again: the connection stands.
func (c *connection) forget() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.said = nil
}

// maxSaid bounds what is remembered as said.
const maxSaid = 64

// once logs an error that has not been logged in this outage.
func (c *connection) once(err error) {
	if denial := notify.Denied(err); denial != nil {
		err = denial
	} else {
		err = c.explain(err)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.said == nil || len(c.said) > maxSaid {
		c.said = map[string]bool{}
	}
	text := strings.ToLower(err.Error()) // the same refusal comes in two spellings
	if !c.said[text] {
		c.said[text] = true
		c.log.Warn("nats_error", zap.String("problem", string(notify.ProblemOf(err))), zap.Error(err))
	}
}
